"""How a worker is: what it says itself, asked on its I/O thread."""

import asyncio
import time
from typing import Any

from jtask.errors import JTaskError
from jtask.runtime import WorkerInfo

# A probe waits as long. An I/O thread that is alive answers within milliseconds, so this is not cut
# finer: a thread that waits for the processor on a busy machine is not stuck.
_ANSWER_SECONDS = 2.0


class WorkerStatus:
    """What can be said of one worker; from any thread but the I/O thread, which would block itself.

    Args:
        info: The worker.
    """

    def __init__(self, info: WorkerInfo) -> None:
        self._info = info
        self._worker = info.worker
        self._started = time.time()

    @property
    def is_stopping(self) -> bool:
        """Whether the worker takes nothing new because it was told to stop."""
        return self._worker.is_stopping

    def problem(self) -> str | None:
        """Say in one sentence why the worker gets no runs; None while it does.

        Blocks for two seconds at most.
        """
        if self.is_stopping:
            return "the worker is stopping"
        try:
            return self._worker.run_on_io(self._problem(), timeout=_ANSWER_SECONDS)
        except TimeoutError:
            return f"the thread that talks to the broker has not answered for {_ANSWER_SECONDS:g} s"
        except RuntimeError:  # its loop is closed
            return "the thread that talks to the broker has ended"

    def report(self) -> dict[str, Any]:
        """Return all that is known, as JSON has it; times in seconds.

        Blocks for four seconds at most.
        """
        now = time.time()
        problem = self.problem()
        return {
            "worker": self._info.name,
            "ready": problem is None,
            "problem": problem,
            "uptime": now - self._started,
            "tasks": [task.name for task in self._info.tasks],
            "queues": self._depths(),
            "concurrency": self._info.concurrency,
            "executing": [
                {
                    "run_id": run.run_id,
                    "task": run.task_name,
                    "attempt": run.attempt,
                    # Not set while plugins are asked whether the run may start.
                    "age": now - (run.attempt_started_at or now),
                }
                for run in self._worker.executing()
            ],
        }

    async def _problem(self) -> str | None:
        return self._worker.problem()

    def _depths(self) -> dict[str, int | None]:
        queues = self._info.queues
        try:
            depths = self._worker.run_on_io(self._fetch_depths(), timeout=_ANSWER_SECONDS)
        except (JTaskError, TimeoutError, RuntimeError):
            # The rest is still worth telling, above all to somebody who looks for the cause.
            return dict.fromkeys(queues)
        return dict(zip(queues, depths, strict=True))

    async def _fetch_depths(self) -> list[int]:
        depth = self._worker.broker.queues.depth
        return list(await asyncio.gather(*(depth(queue) for queue in self._info.queues)))
