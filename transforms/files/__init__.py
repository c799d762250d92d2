"""What stands in a file, where it is cut and how it is named."""
