"""The embedded nats-server: find it, start it, share it."""
