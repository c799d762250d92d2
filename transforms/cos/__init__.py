"""The COS sink."""
