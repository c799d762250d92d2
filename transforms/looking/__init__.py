"""Looking into a backup without a broker: what is there, which object holds a message, and its records."""
