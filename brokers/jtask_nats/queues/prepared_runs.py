"""A group of runs that only has to be sent."""

from collections.abc import Awaitable, Callable

from jtask.errors import BrokerUnavailable
from jtask_nats.client.batches import AtomicBatch
from jtask_nats.client.nats_errors import DUPLICATE_IN_BATCH, ApiError
from jtask_nats.streams.session import Session


class PreparedBatch:
    """A `jtask.contract.PreparedRuns`.

    Args:
        session: To the server.
        batch: Their messages.
    """

    def __init__(self, session: Session, batch: AtomicBatch) -> None:
        self._session = session
        self._batch = batch
        self._rest: Callable[[], Awaitable[None]] | None = None

    def begin(self) -> None:
        """Send them, from any thread but the loop's, unless too many are on the way."""
        self._rest = self._session.publisher.begin_from_thread(self._batch)

    async def finish(self) -> None:
        """Send them if that was not done, and wait until they are stored; on the loop."""
        try:
            await self.store()
        except BrokerUnavailable:
            # Somebody may have removed the stream: check at the next use.
            self._session.topology.forget()
            raise

    async def store(self) -> None:
        """Do `finish`, and leave it to the caller to doubt the stream where nothing answers."""
        publisher, batch = self._session.publisher, self._batch
        try:
            await (publisher.publish_prepared(batch) if self._rest is None else self._rest())
        except ApiError as error:
            if error.err_code != DUPLICATE_IN_BATCH:
                raise
            # Some are stored already, by an earlier call: add what is missing. The others are
            # recognised by their ids.
            await publisher.publish_each(batch.messages)
