"""Fixtures for tests with a server of their own."""

from nats_clients import connect, connected, run, with_brokers
from nats_cluster import start_cluster
from nats_publishing import publishing
from nats_servers import nats_server, proxy, start_nats

__all__ = [
    "connect",
    "connected",
    "nats_server",
    "proxy",
    "publishing",
    "run",
    "start_cluster",
    "start_nats",
    "with_brokers",
]
