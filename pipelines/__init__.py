"""What a person runs: the backup job and its command line."""
