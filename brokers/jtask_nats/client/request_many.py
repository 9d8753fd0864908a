"""One request, the answers of many (ADR-47)."""

import asyncio
from collections.abc import Callable

from jtask_nats.client.connection import Connection
from jtask_nats.client.nats_errors import no_answer
from jtask_nats.client.protocol import NO_RESPONDERS, status_of


async def request_many(
    connection: Connection,
    subject: str,
    payload: bytes,
    timeout: float,
    take: Callable[[bytes], bool],
) -> None:
    """Send a request; return when the time is up, nobody listens or enough have answered.

    Args:
        connection: To the server.
        subject: Where the responders listen.
        payload: The request.
        timeout: Seconds.
        take: Called with each answer; True when no more are needed.

    Raises:
        BrokerUnavailable: The server cannot be reached within the timeout.
    """
    enough = asyncio.Event()

    def receive(subject: str, reply: str, data: bytes, block: bytes | None) -> None:
        del subject, reply
        # The server reports no responders only when nobody subscribes at all: those who do not
        # answer are waited for until the timeout.
        if status_of(block)[0] == NO_RESPONDERS or (not enough.is_set() and take(data)):
            enough.set()

    # Not by `Connection.request`, which takes the first reply only.
    inbox = connection.new_inbox()
    subscription = connection.subscribe(inbox, receive)
    try:
        async with asyncio.timeout(timeout):
            # What is sent with a reply subject while disconnected would be dropped.
            await connection.until_up()
            connection.send(subject, payload, reply=inbox)
            await enough.wait()
    except TimeoutError:
        if not connection.is_connected:
            raise no_answer(subject, connection.url, timeout, "not connected") from None
    finally:
        subscription.unsubscribe()
