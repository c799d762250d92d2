"""What a backup costs, beside a bare loop of the client: the parts of ``benchmarks.backup_speed``."""
