"""Renewing leases on NATS, in the worker and in its lease guard alike."""

import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jtask_nats.client.connection import Connection
from jtask_nats.server.gate import EmbeddedGate

IN_PROGRESS = b"+WPI"  # starts ack_wait anew
_CONNECT_TIMEOUT = 10.0  # seconds


class GuardAccess(NamedTuple):
    """How a process reaches the server.

    Attributes:
        servers: URLs, each with the user if need be.
        user: User name.
        password: Its password.
        credentials: Path of a .creds file.
        home: Data folder of the embedded server, which says as whom to log in there.
    """

    servers: Sequence[str]
    user: str | None = None
    password: str | None = None
    credentials: str | None = None
    home: str | None = None

    @property
    def gate(self) -> EmbeddedGate | None:
        """What decides about logins to the embedded server."""
        return None if self.home is None else EmbeddedGate(Path(self.home))


@asynccontextmanager
async def open_renewer(
    config: Mapping[str, Any],
) -> AsyncGenerator[Callable[[Sequence[str]], None]]:
    """Connect the lease guard: what core's `LeaseGuard` calls in its process.

    Args:
        config: A GuardAccess, by its fields.

    Raises:
        BrokerError: The server refuses, or does not answer.
    """
    access = GuardAccess(**config)
    connection = await Connection.open(
        access.servers,
        name=f"jtask lease guard of {os.getppid()}",
        connect_timeout=_CONNECT_TIMEOUT,
        user=access.user,
        password=access.password,
        credentials=Path(access.credentials) if access.credentials else None,
        gate=access.gate,
    )
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
