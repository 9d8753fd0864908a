"""This process's link to the broker: connect, enqueue runs, wait for their ends, cancel them."""

from jtask.client.client import Client
from jtask.client.leased_slots import slot_of
from jtask.client.process_client import (
    close_client,
    connected_client,
    current_client,
    get_client,
    get_run,
)

__all__ = [
    "Client",
    "close_client",
    "connected_client",
    "current_client",
    "get_client",
    "get_run",
    "slot_of",
]
