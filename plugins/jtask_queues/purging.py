"""The workers' part in purging a queue: each cancels the runs of it that it has not begun.

A run in a worker's prefetch has been delivered already: the worker would start it although its
message was taken off the queue.
"""

import json
import re
from typing import TYPE_CHECKING

from jtask.client.cancel_requests import kept_message
from jtask.client.questions import ask_patiently
from jtask.contract import Broker, Subscription
from jtask.wire.fields import known_fields

if TYPE_CHECKING:
    from jtask.runtime import WorkerHandle

_PURGED = "purged-queues"
"""The topic under which workers are notified of a purge."""

# Seconds. Nobody knows how many workers there are, so this is always waited in full. A worker that
# is late, for its I/O thread has been held up, goes on with the runs that it holds.
_ASK_SECONDS = 0.5
_COUNT = re.compile(rb"\d{1,9}")


class PurgeListener:
    """Answers purges for one worker; on the I/O thread only.

    Args:
        worker: Whose runs are cancelled.
    """

    def __init__(self, worker: "WorkerHandle") -> None:
        self._worker = worker
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Subscribe to purges.

        Raises:
            BrokerError: The broker refuses the subscription.
        """
        self._subscription = await self._worker.broker.requests.listen(_PURGED, self._cancel_queue)

    async def close(self) -> None:
        """Close the subscription."""
        if self._subscription is not None:
            await self._subscription.close()

    def _cancel_queue(self, question: bytes) -> bytes:
        asked = known_fields(question)
        queue, message = asked.get("queue"), kept_message(str(asked.get("message", "")))
        cancelled = 0
        # A copy is iterated, for each cancelled run leaves the list; none can start meanwhile, as
        # this is the thread that starts them.
        for run in self._worker.held():
            if not run.has_slot and run.queue == queue:
                self._worker.cancel(run.run_id, message)
                cancelled += 1
        return b"%d" % cancelled


async def cancel_unstarted(broker: Broker, queue: str, message: str) -> int:
    """Have the workers cancel the runs of a queue that they have not begun.

    Args:
        broker: Reaches the workers.
        queue: The queue.
        message: Why, kept with the state of each run.

    Returns:
        int: How many runs the workers that answered in time have cancelled.
    """
    facts = {"queue": queue, "message": kept_message(message)}
    answers = await ask_patiently(broker, _PURGED, json.dumps(facts).encode(), timeout=_ASK_SECONDS)
    return sum(int(answer) for answer in answers if _COUNT.fullmatch(answer))
