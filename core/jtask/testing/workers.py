"""A worker inside the test's own process.

Nothing heavy is imported at the top: pytest loads this with the plugin, in projects too that do
not use it.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jtask.client.client import Client
    from jtask.runtime import WorkerInfo
    from jtask.tasks import Task
    from jtask.worker.worker import Worker

_CONCURRENCY = 10
_STOP_SECONDS = 10.0


class RunningWorker:
    """A worker that shares this process's connection; made by `start_worker`."""

    def __init__(self, client: "Client", worker: "Worker") -> None:
        self._client = client
        self._worker = worker
        self._stopped = False

    @property
    def info(self) -> "WorkerInfo":
        """What it serves, and from where."""
        return self._worker.info

    def problem(self) -> str | None:
        """Say why it cannot get runs right now; None while all is well."""
        return self._client.io.run(self._problem())

    def stop(self, timeout: float = _STOP_SECONDS) -> int:
        """Take nothing new, wait for what is executing, hand the rest back.

        Args:
            timeout: Seconds that runs may take to finish.

        Returns:
            int: How many runs were handed back.
        """
        if self._stopped:
            return 0
        self._stopped = True
        from jtask.plugins import call_logged, get_plugins

        call_logged(get_plugins().caller("jtask_worker_stopping"), worker=self.info)
        handed_back = self._client.io.run(self._stop(timeout))
        call_logged(get_plugins().caller("jtask_worker_stopped"), worker=self.info)
        return handed_back

    async def _problem(self) -> str | None:
        return self._worker.problem()

    async def _stop(self, timeout: float) -> int:
        import asyncio

        return await self._worker.stop(timeout, asyncio.Event())


def start_worker(
    *tasks: "Task[..., Any]", concurrency: int = _CONCURRENCY, prefetch: int | None = None
) -> RunningWorker:
    """Start a worker on this process's broker and return once it wants runs.

    Args:
        tasks: What to serve.
        concurrency: How many runs at once.
        prefetch: How many runs to hold beyond that; None follows the pace.

    Raises:
        TargetError: Nothing to serve, or something that is no task.
        BrokerUnavailable: The broker cannot be reached.
    """
    from jtask.client.client import get_client
    from jtask.plugins import call_logged, get_plugins
    from jtask.task_worker import check_servable
    from jtask.worker.worker import Worker

    check_servable(tasks)
    client = get_client()

    async def started() -> Worker:
        worker = Worker(client, tasks, concurrency, prefetch)
        await worker.start()
        return worker

    worker = client.io.run(started())
    call_logged(get_plugins().caller("jtask_worker_started"), worker=worker.info)
    return RunningWorker(client, worker)


@contextmanager
def run_worker(
    *tasks: "Task[..., Any]", concurrency: int = _CONCURRENCY, prefetch: int | None = None
) -> Generator[RunningWorker]:
    """Have a worker inside the block; the arguments are those of `start_worker`."""
    worker = start_worker(*tasks, concurrency=concurrency, prefetch=prefetch)
    try:
        yield worker
    finally:
        worker.stop()
