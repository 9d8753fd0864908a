"""How the queues stand."""

from jtask_nats.queues.queue_counts import QueueCounts
from jtask_nats.queues.waiting_runs import WaitingRuns
from jtask_nats.streams.session import Session


class NatsQueues(QueueCounts, WaitingRuns):
    """A `jtask.contract.Queues`.

    Args:
        session: To the server.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
