"""Runs that will not be executed any more."""

from collections.abc import AsyncIterator

from jtask.contract import DeadLetter
from jtask_nats.client import headers
from jtask_nats.client.direct_reads import read_all
from jtask_nats.streams.session import Link
from jtask_nats.streams.topology import Store


class NatsDeadLetters:
    """A `jtask.contract.DeadLetters`.

    Args:
        link: To the server.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    async def letters(self) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters, oldest first."""
        link = self._link
        await link.topology.ensure(Store.DEAD_LETTERS)
        stream = link.topology.stream(Store.DEAD_LETTERS)
        async for stored in read_all(link.connection, stream, link.subjects.all_letters):
            queue, run_id = stored.subject.split(".")[-2:]
            reason = headers.reason_of(stored.headers)
            yield DeadLetter(run_id, queue, reason, stored.at, stored.body)

    async def drop_letter(self, run_id: str) -> bool:
        """Forget one dead letter; False when there is none."""
        link = self._link
        await link.topology.ensure(Store.DEAD_LETTERS)
        stream = link.topology.stream(Store.DEAD_LETTERS)
        answer = await link.connection.api(
            f"STREAM.PURGE.{stream}", {"filter": link.subjects.letter("*", run_id)}
        )
        return bool(answer["purged"])
