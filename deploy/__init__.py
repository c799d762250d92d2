"""Flink on Kubernetes: an image, manifests, and their check."""
