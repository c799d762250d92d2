"""PTransforms that back up Apache Pulsar topics to object storage, and the pure code under them."""
