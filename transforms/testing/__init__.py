"""Real servers for tests: a COS server, a Pulsar broker, a Flink cluster."""
