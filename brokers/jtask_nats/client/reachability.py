"""Wait for a connection that is lost before something is asked that would not survive it."""

import asyncio

from jtask_nats.client.connection import Connection
from jtask_nats.client.nats_errors import no_answer


async def until_up_within(connection: Connection, subject: str, seconds: float) -> None:
    """Return once a connection is there.

    Args:
        connection: To any server.
        subject: On which something will be asked; the error names it.
        seconds: How long to wait at most.

    Raises:
        BrokerUnavailable: It is not back in time, or closed for good.
    """
    try:
        async with asyncio.timeout(seconds):
            await connection.until_up()
    except TimeoutError:
        raise no_answer(subject, connection.url, seconds, "not connected") from None
