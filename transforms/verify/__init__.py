"""Proving a backup: what is wrong with it, told from names, manifests, run records and contents. Only reads."""
