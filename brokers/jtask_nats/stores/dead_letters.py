"""Runs that will not be executed any more."""

from collections.abc import AsyncIterator

from jtask.contract import DeadLetter, is_name
from jtask.ids import is_run_id
from jtask_nats.client import headers
from jtask_nats.client.direct_reads import StoredMessage, find_last_message, read_all
from jtask_nats.client.purging import purge
from jtask_nats.streams.session import Session
from jtask_nats.streams.stream_configs import Stream


class NatsDeadLetters:
    """A `jtask.contract.DeadLetters`.

    Args:
        session: To the server.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    async def read(self) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters, oldest first."""
        session = self._session
        await session.topology.ensure(Stream.DEAD_LETTERS)
        stream = session.topology.stream_name(Stream.DEAD_LETTERS)
        subject = session.subjects.all_dead_letters
        async for stored in read_all(session.connection, stream, subject, to_the_last=True):
            if (letter := _dead_letter(stored)) is not None:
                yield letter

    async def get(self, run_id: str) -> DeadLetter | None:
        """Return the dead letter of one run, or None when there is none."""
        if not is_run_id(run_id):
            return None  # it could address the letters of others
        session = self._session
        await session.topology.ensure(Stream.DEAD_LETTERS)
        stream = session.topology.stream_name(Stream.DEAD_LETTERS)
        subject = session.subjects.dead_letter("*", run_id)
        stored = await find_last_message(session.connection, stream, subject)
        return None if stored is None else _dead_letter(stored)

    async def drop(self, run_id: str) -> bool:
        """Delete one dead letter; False when there is none."""
        if not is_run_id(run_id):
            return False  # it could address the letters of others
        session = self._session
        await session.topology.ensure(Stream.DEAD_LETTERS)
        stream = session.topology.stream_name(Stream.DEAD_LETTERS)
        return await purge(session.connection, stream, session.subjects.dead_letter("*", run_id))


def _dead_letter(stored: StoredMessage) -> DeadLetter | None:
    queue, run_id = stored.subject.split(".")[-2:]
    if not (is_name(queue) and is_run_id(run_id)):
        return None  # it was put there by hand, and cannot be addressed
    return DeadLetter(run_id, queue, headers.reason_of(stored.headers), stored.at, stored.body)
