"""This process's link to the broker: connect, enqueue runs, wait for their ends, cancel them."""

from typing import TYPE_CHECKING

from jtask.lazy_names import lazy_names

if TYPE_CHECKING:
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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "jtask.client.client": ["Client"],
        "jtask.client.leased_slots": ["slot_of"],
        "jtask.client.process_client": [
            "close_client",
            "connected_client",
            "current_client",
            "get_client",
            "get_run",
        ],
    },
)
