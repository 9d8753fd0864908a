"""Which workers live: one message each, whose TTL ends unless it is renewed."""

import secrets

from jtask_nats.client import headers
from jtask_nats.client.direct_reads import read_all
from jtask_nats.streams.session import Session
from jtask_nats.streams.stream_configs import Stream
from jtask_nats.streams.subjects import decode_token, last_token


class NatsHeartbeats:
    """A `jtask.contract.Heartbeats`.

    Args:
        session: To the server.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    async def beat(self, worker: str, info: bytes, ttl: float) -> None:
        """Say that a worker lives."""
        session = self._session
        await session.topology.ensure(Stream.WORKERS)
        # The publisher sends again what is not answered, and needs an id for it.
        lines = headers.ttl(ttl) + headers.message_id(secrets.token_hex(12))
        await session.publisher.publish(session.subjects.worker(worker), info, lines)

    async def living(self) -> list[tuple[str, bytes]]:
        """List the living workers and what they said of themselves."""
        session = self._session
        await session.topology.ensure(Stream.WORKERS)
        stream = session.topology.stream_name(Stream.WORKERS)
        found = read_all(session.connection, stream, session.subjects.all_workers)
        return [(decode_token(last_token(one.subject)), one.body) async for one in found]
