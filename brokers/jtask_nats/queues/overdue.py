"""Runs whose time came while the server had no room for them.

The server then leaves a run where it waits for its time, and comes back to it only once it is
started anew, or another server leads (seen with nats-server 2.15.1). So whoever was refused for
want of room looks for such runs once there is some, and puts them on their queues.
"""

import asyncio
import logging
import secrets
import time

from jtask.background import end_all
from jtask.errors import BrokerError, BrokerFull, BrokerUnavailable
from jtask.randomness import RANDOM
from jtask_nats.client import headers
from jtask_nats.client.direct_reads import StoredMessage, read_pages
from jtask_nats.client.protocol import CRLF
from jtask_nats.queues.firing import fire
from jtask_nats.queues.waiting_runs import fires_at
from jtask_nats.streams.session import Session
from jtask_nats.streams.stream_configs import Stream
from jtask_nats.streams.subjects import last_token

# Seconds between two looks whether there is room; not all who were refused look together.
_PAUSE = (5.0, 15.0)
_LATE = 5.0  # seconds that the server may be late with what it does not forget
_OWN = b"Jtask-"
_log = logging.getLogger("jtask")


class OverdueRuns:
    """Bring runs to their queues that the server has forgotten while it was full.

    Args:
        session: To the server.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._looking: asyncio.Task[None] | None = None
        self._refusals = 0
        session.publisher.on_full(self._begin)

    async def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            await end_all([self._looking])

    def _begin(self) -> None:
        self._refusals += 1
        if self._looking is None or self._looking.done():
            self._looking = self._loop.create_task(self._look_until_done())

    async def _look_until_done(self) -> None:
        refusals = -1
        while refusals != self._refusals:
            await asyncio.sleep(RANDOM.uniform(*_PAUSE))
            refusals = self._refusals
            try:
                await self._look()
            except (BrokerFull, BrokerUnavailable) as error:
                _log.debug("what has come due cannot be looked for yet: %s", error)
                refusals = -1
            except BrokerError as error:
                _log.warning("runs that came due while the server was full may wait: %s", error)

    async def _look(self) -> None:
        topology = self._session.topology
        await self._store_anything()
        # What comes due from now on finds room.
        before = topology.clock.to_server(time.time())
        await asyncio.sleep(_LATE)
        for stream in topology.run_streams.names:
            for subject in self._subjects():
                connection = self._session.connection
                async for page in read_pages(connection, stream, subject, to_the_last=True):
                    due = (one for one in page if _is_due(one, before))
                    await asyncio.gather(*map(self._bring, due))

    async def _store_anything(self) -> None:
        """Return if there is room: a record is stored that nobody reads, and that goes at once."""
        session, unique = self._session, secrets.token_hex(12)
        await session.topology.ensure(Stream.RECORDS)
        lines = headers.message_id(unique) + headers.ttl(1)
        await session.publisher.publish(session.subjects.record("room", unique), b"", lines)

    def _subjects(self) -> tuple[str, str]:
        subjects = self._session.subjects
        return subjects.schedule("*", "*", "*"), subjects.parked("*", None, "*")

    async def _bring(self, forgotten: StoredMessage) -> None:
        """Replace a schedule by what it should have produced."""
        block, sequence = forgotten.headers, forgotten.sequence
        lines = b"".join(line + CRLF for line in block.split(CRLF) if line.startswith(_OWN))
        lines += headers.message_id(f"{last_token(forgotten.subject)}:{sequence}:overdue")
        if ttl := headers.text(block, b"Nats-Schedule-TTL"):
            lines += headers.line(b"Nats-TTL", ttl)
        target = headers.text(block, b"Nats-Schedule-Target")
        await fire(self._session, forgotten, target, lines)


def _is_due(stored: StoredMessage, before: float) -> bool:
    instant = fires_at(stored)
    return instant is not None and instant < before
