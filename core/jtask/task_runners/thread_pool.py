"""The task runner that executes runs in threads of this process."""

from functools import partial
from typing import Any, Self, cast

from jtask.errors import ConfigurationError
from jtask.futures.future import Future
from jtask.numbers import is_within
from jtask.runtime.blocking import holding
from jtask.settings import get_settings
from jtask.task_runners.places import HeldPlace, Places
from jtask.task_runners.submitted import Call, Submitted
from jtask.task_runners.task_runner import TaskRunner
from jtask.task_runners.threads import in_thread


class ThreadPoolTaskRunner(TaskRunner):
    """Execute runs in threads; those of coroutine functions on an event loop of their own there.

    A run that waits for other runs gives its place to another meanwhile, so that tasks may submit
    tasks and wait for them at any depth, whatever the size.

    Args:
        max_workers: How many runs execute at once; None takes the setting `runner_threads`.
    """

    def __init__(self, max_workers: int | None = None) -> None:
        super().__init__()
        self._max_workers = checked_size(max_workers)
        self._places = Places[Submitted](max_workers or get_settings().runner_threads)

    def start(self, call: Call) -> Future[Any]:
        """Begin a run, or have it begin once what it waits for is over; returns at once."""
        submitted = Submitted(call, ThreadPool(self._places))
        submitted.begin()
        return submitted.future

    def duplicate(self) -> Self:
        """Return a task runner of the same size that has no runs."""
        return type(self)(self._max_workers)


ConcurrentTaskRunner = ThreadPoolTaskRunner
"""Prefect's other name for it."""


class ThreadPool:
    """Execute submitted runs in threads, as many at once as there are places.

    Args:
        places: The places.
    """

    def __init__(self, places: Places[Submitted]) -> None:
        self._places = places

    def start(self, run: Submitted) -> None:
        """Have an attempt of a run made as soon as there is a place for it; returns at once."""
        if self._places.enter(run):
            self._start_thread(run)

    def _start_thread(self, run: Submitted) -> None:
        following: Submitted | None = run
        while following is not None:
            try:
                in_thread(partial(self._execute, [following]))
                return
            except RuntimeError as error:  # the machine gives no more threads
                following.give_up(error)
                following = self._places.leave()

    def _execute(self, begun: list[Submitted]) -> None:
        # Taken out: the thread would hold its first run, and the value of that, until the last.
        following: Submitted | None = begun.pop()
        # One after the other in this thread: to wake another one takes longer than many a run.
        while following is not None:
            with holding(HeldPlace(self._places, self._start_thread)):
                following.execute_in_thread()
            following = self._places.leave()


def checked_size(max_workers: Any) -> int | None:
    """Return the size of a task runner.

    Raises:
        ConfigurationError: It is none.
    """
    if max_workers is None or is_within(max_workers, least=1, whole=True):
        return cast("int | None", max_workers)
    raise ConfigurationError(
        f"max_workers must be a whole number of at least 1, got {max_workers!r}"
    )
