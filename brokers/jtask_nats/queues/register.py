"""Which queues have got runs: what has no consumer yet can be counted only by its name.

Without the names, the subjects of a stream would have to be listed, one for each run that waits. A
server with a million of them stands still for seconds meanwhile.
"""

import asyncio
import logging
import time

from jtask.background import BackgroundTasks
from jtask.contract import is_name
from jtask.errors import JTaskError, PermissionDenied
from jtask_nats.client import headers
from jtask_nats.client.direct_reads import read_all
from jtask_nats.streams.session import Session
from jtask_nats.streams.stream_configs import Stream
from jtask_nats.streams.subjects import last_token

_TTL = 90 * 86_400.0  # seconds after which a queue is forgotten that gets nothing more
_AGAIN = 86_400.0  # seconds after which a process writes down once more what it uses
_RETRY = 60.0  # seconds
_LAST_CHANCE = 1.0  # seconds that a closing process waits for what it has just begun to write

_log = logging.getLogger("jtask")


class QueueRegister:
    """Write down the queues that this process puts runs on, and read those of all.

    Nothing waits for it, and no run depends on it.

    Args:
        session: To the server.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._noted: dict[str, float] = {}  # until when, by the monotonic clock
        self._background = BackgroundTasks()
        self._loop = asyncio.get_running_loop()

    def note(self, queue: str) -> None:
        """Write down a queue that gets a run, if need be; on the loop."""
        if not self._knows(queue):
            self._noted[queue] = time.monotonic() + _AGAIN
            self._background.start(self._write(queue))

    def note_from_thread(self, queue: str) -> None:
        """Do `note` from any thread but the loop's."""
        if not self._knows(queue):
            self._loop.call_soon_threadsafe(self.note, queue)

    async def names(self) -> set[str]:
        """Return the queues that any process has written down, as far as the stream has them.

        Raises:
            BrokerUnavailable: No answer.
        """
        session = self._session
        stream = session.topology.stream_name(Stream.RECORDS)
        subject = session.subjects.registered("*")
        found = {
            last_token(stored.subject)
            async for stored in read_all(session.connection, stream, subject)
        }
        return {name for name in found if is_name(name)}.union(self._noted)

    async def close(self) -> None:
        """Let what has begun to be written arrive, and write nothing more."""
        if tasks := list(self._background):
            await asyncio.wait(tasks, timeout=_LAST_CHANCE)
        self._background.cancel()
        await self._background.wait()

    def _knows(self, queue: str) -> bool:
        return self._noted.get(queue, 0.0) > time.monotonic()

    async def _write(self, queue: str) -> None:
        session = self._session
        try:
            await session.topology.ensure(Stream.RECORDS)
            subject = session.subjects.registered(queue)
            await session.publisher.publish(subject, b"", headers.ttl(_TTL))
        except PermissionDenied:
            _log.debug("no permission to write down the queue %s", queue)
        except JTaskError as error:
            _log.debug("the queue %s cannot be written down now: %s", queue, error)
            self._noted[queue] = time.monotonic() + _RETRY
