"""A worker inside the test's own process.

Nothing heavy is imported at the top: pytest loads this with the plugin, in projects too that do
not use it.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jtask.runtime import WorkerInfo
    from jtask.tasks import Task
    from jtask.worker.lifetime import WorkerLifetime

_CONCURRENCY = 10
_STOP_SECONDS = 10.0  # a test that waits longer than this has failed


class RunningWorker:
    """A worker that shares this process's connection; made by `start_worker`."""

    def __init__(self, lifetime: "WorkerLifetime") -> None:
        self._lifetime = lifetime
        self._worker = lifetime.worker

    @property
    def info(self) -> "WorkerInfo":
        """What it serves, and from where."""
        return self._worker.info

    def problem(self) -> str | None:
        """Say why it cannot get runs right now; None while all is well."""
        return self._worker.run_on_io(self._problem())

    def stop(self, timeout: float = _STOP_SECONDS) -> int:
        """Take nothing new, wait for what is executing, release the rest.

        Args:
            timeout: Seconds that runs may take to finish.

        Returns:
            int: How many runs were released.
        """
        return self._lifetime.stop(timeout)

    async def _problem(self) -> str | None:
        return self._worker.problem()


def start_worker(
    *tasks: "Task[..., Any]", concurrency: int = _CONCURRENCY, prefetch: int | None = None
) -> RunningWorker:
    """Start a worker on this process's broker and return once it takes runs.

    Args:
        tasks: What to serve.
        concurrency: How many runs at once.
        prefetch: How many runs to hold beyond that; None follows the pace.

    Raises:
        TargetError: Nothing to serve, or something that is not a task.
        ConfigurationError: A number or a setting is wrong.
        BrokerUnavailable: The broker cannot be reached.
    """
    from jtask.task_worker import check_numbers, check_servable
    from jtask.worker.lifetime import WorkerLifetime

    check_servable(tasks)
    check_numbers(concurrency, prefetch)
    return RunningWorker(WorkerLifetime(tasks, concurrency, prefetch))


@contextmanager
def run_worker(
    *tasks: "Task[..., Any]", concurrency: int = _CONCURRENCY, prefetch: int | None = None
) -> Generator[RunningWorker]:
    """Run a worker inside the block; the arguments are those of `start_worker`."""
    worker = start_worker(*tasks, concurrency=concurrency, prefetch=prefetch)
    try:
        yield worker
    finally:
        worker.stop()
