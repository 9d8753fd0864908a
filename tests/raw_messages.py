"""Messages as somebody sends them who keeps to no rule: raw bytes, any subject."""

from typing import Any, cast

from in_process import on_io

from jtask.contract import Broker
from jtask.ids import get_run_ids


def send_raw(subject: bytes, *bodies: bytes, headers: bytes = b"", wait: bool = True) -> None:
    """Publish to the server of this process's client, past every check, and wait until it has it.

    Args:
        subject: Any bytes but blanks and line ends.
        bodies: Of the messages.
        headers: Header lines, each with its line end.
        wait: Return only when the server has it.
    """

    async def send(broker: Broker) -> None:
        # The connection is the broker's own business; nothing else here has the credentials.
        connection = cast("Any", broker)._connection
        for body in bodies:
            connection.write(_command(subject, headers, body))
        if wait:
            await connection.flush()

    on_io(send)


def run_id_bytes() -> bytes:
    """Return a new run id."""
    return get_run_ids().new().encode()


def record_raw(bucket: str, key: str, body: bytes) -> None:
    """Store any body as a record, where it may be read on any broker."""

    async def put(broker: Broker) -> bool:
        return await broker.records.put(bucket, key, body)

    on_io(put)


def _command(subject: bytes, headers: bytes, body: bytes) -> bytes:
    if not headers:
        return b"PUB %b %d\r\n%b\r\n" % (subject, len(body), body)
    block = b"NATS/1.0\r\n%b\r\n" % headers
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (
        subject,
        len(block),
        len(block) + len(body),
        block,
        body,
    )
