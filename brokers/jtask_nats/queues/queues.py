"""How the queues stand, and their pauses."""

from jtask.contract import check_queue
from jtask_nats.queues.queue_counts import QueueCounts
from jtask_nats.queues.waiting_runs import WaitingRuns
from jtask_nats.streams.stream_configs import Stream


class NatsQueues(QueueCounts, WaitingRuns):
    """A `jtask.contract.Queues`.

    Args:
        session: To the server.
        register: Knows the queues that nobody serves.
    """

    async def pause(self, queue: str, until: float | None = None) -> None:
        """Deliver nothing of a queue until an instant; None is until `resume`."""
        check_queue(queue)
        session = self._session
        await session.topology.ensure_runs(queue)
        await session.topology.ensure(Stream.RECORDS)
        await session.topology.pauses.pause(session.publisher, queue, until)

    async def resume(self, queue: str) -> bool:
        """End a pause; False when there was none."""
        check_queue(queue)
        topology = self._session.topology
        await topology.ensure_runs(queue)
        await topology.ensure(Stream.RECORDS)
        return await topology.pauses.resume(queue)
