"""What a worker does when a queue is purged: it gives up the runs that it has not begun."""

import json
from typing import TYPE_CHECKING

from jtask.contract import Control, Watch

if TYPE_CHECKING:
    from jtask.runtime import WorkerHandle

_PURGED = "purged-queues"
"""The topic under which workers hear of it."""

_ASK_SECONDS = 0.5  # every worker that lives answers by then


class PurgeListener:
    """One worker's ear for purges; on the I/O thread only.

    Args:
        worker: Whose runs are given up.
    """

    def __init__(self, worker: "WorkerHandle") -> None:
        self._worker = worker
        self._watch: Watch | None = None

    async def start(self) -> None:
        """Hear of purges."""
        self._watch = await self._worker.broker.listen(_PURGED, self._cancel_queue)

    async def close(self) -> None:
        """Hear of nothing more."""
        if self._watch is not None:
            await self._watch.close()

    def _cancel_queue(self, question: bytes) -> bytes:
        asked = json.loads(question)
        cancelled = 0
        for run in self._worker.held():
            if not run.has_slot and run.queue == asked["queue"]:
                self._worker.cancel(run.run_id, asked["message"])
                cancelled += 1
        return b"%d" % cancelled


async def cancel_unstarted(broker: Control, queue: str, message: str) -> int:
    """Have the workers give up the runs of a queue that they have not begun; return how many."""
    question = json.dumps({"queue": queue, "message": message}).encode()
    return sum(map(int, await broker.ask(_PURGED, question, timeout=_ASK_SECONDS)))
