"""The broker contract on NATS JetStream."""
