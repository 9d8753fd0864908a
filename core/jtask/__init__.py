"""Background tasks for Python on NATS JetStream."""
