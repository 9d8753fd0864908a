"""Hold queues up and let them go on."""

import asyncio
import secrets

from jtask_nats.client import headers
from jtask_nats.streams.pauses import pause_body, pause_of
from jtask_nats.streams.session import Session
from jtask_nats.streams.topology import Stream, consumer_name


class NatsPausing:
    """The part of a `jtask.contract.Queues` that changes something.

    Args:
        session: To the server.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    async def pause_queue(self, queue: str, until: float | None = None) -> None:
        """Deliver nothing of a queue until an instant; None is for ever."""
        session = self._session
        await session.topology.ensure(Stream.RECORDS, Stream.RUNS)
        await session.publisher.publish(
            session.subjects.pause(queue),
            pause_body(until),
            headers.message_id(secrets.token_hex(12)),
        )
        await self._lay_on_all(queue)

    async def resume_queue(self, queue: str) -> bool:
        """End a pause; False when there was none."""
        session = self._session
        await session.topology.ensure(Stream.RECORDS, Stream.RUNS)
        paused = await session.topology.pauses.until(queue)
        stream = session.topology.stream_name(Stream.RECORDS)
        answer = await session.connection.api(
            f"STREAM.PURGE.{stream}", {"filter": session.subjects.pause(queue)}
        )
        # Also what somebody left behind who died on the way.
        left = await self._lay_on_all(queue)
        return left or (paused is not None and bool(answer["purged"]))

    async def _lay_on_all(self, queue: str) -> bool:
        found = await self._session.topology.priorities([queue])
        return any(await asyncio.gather(*(self._lay_on(*one) for one in found)))

    async def _lay_on(self, queue: str, priority: int) -> bool:
        topology = self._session.topology
        info = await topology.consumer_info(queue, priority)
        if info is None:
            return False
        name = f"{topology.stream_of(queue)}.{consumer_name(queue, priority)}"
        return await topology.pauses.lay_on(queue, name, pause_of(info))
