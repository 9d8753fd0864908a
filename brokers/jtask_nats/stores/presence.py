"""Which workers live: one message each, which dies with them."""

import secrets

from jtask_nats.client import headers
from jtask_nats.client.direct_reads import read_all
from jtask_nats.streams.session import Link
from jtask_nats.streams.subjects import last_token, plain
from jtask_nats.streams.topology import Store


class NatsPresence:
    """A `jtask.contract.Presence`.

    Args:
        link: To the server.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    async def announce(self, worker: str, info: bytes, ttl: float) -> None:
        """Say that a worker lives."""
        link = self._link
        await link.topology.ensure(Store.WORKERS)
        lines = headers.ttl(ttl) + headers.message_id(secrets.token_hex(12))
        await link.publisher.publish(link.subjects.worker(worker), info, lines)

    async def workers(self) -> list[tuple[str, bytes]]:
        """List the living workers and what they said of themselves."""
        link = self._link
        await link.topology.ensure(Store.WORKERS)
        stream = link.topology.stream(Store.WORKERS)
        found = read_all(link.connection, stream, link.subjects.all_workers)
        return [(plain(last_token(one.subject)), one.body) async for one in found]
