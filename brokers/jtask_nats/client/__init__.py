"""The connection to a server: publish, request, subscribe, read. All that touches nats-py."""
