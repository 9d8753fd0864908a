"""Renewing leases on NATS, in the worker and in its lease guard alike."""

import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from jtask_nats.access import Access
from jtask_nats.client.connection import Connection

IN_PROGRESS = b"+WPI"  # starts ack_wait anew
_CONNECT_TIMEOUT = 10.0  # seconds


@asynccontextmanager
async def open_renewer(
    config: Mapping[str, Any],
) -> AsyncGenerator[Callable[[Sequence[str]], None]]:
    """Connect the lease guard: what core's `LeaseGuard` calls in its process.

    Args:
        config: An Access, by its fields.

    Raises:
        BrokerError: The server refuses, or does not answer.
    """
    name = f"jtask lease guard of {os.getppid()}"
    connection = await Access(**config).connect(name, _CONNECT_TIMEOUT)
    try:
        yield renewer_on(connection)
    finally:
        await connection.close()


def renewer_on(connection: Connection) -> Callable[[Sequence[str]], None]:
    """Return a function that renews leases by their ack subjects."""
    send = connection.send

    def renew(ack_subjects: Sequence[str]) -> None:
        for subject in ack_subjects:
            # No answer is asked for: one that is lost is followed by another.
            send(subject, IN_PROGRESS)

    return renew
