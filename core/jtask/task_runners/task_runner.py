"""What a task runner is, and which one `.submit()` uses."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Self, TypeVar

from jtask.declaration.task_info import TaskInfo
from jtask.execution.awaited_futures import gathered
from jtask.futures.completion import wait, wait_async
from jtask.futures.future import Future
from jtask.futures.future_list import FutureList
from jtask.outcomes import CANCEL_MESSAGE
from jtask.task_runners.mapping import calls_of
from jtask.task_runners.submitted import Call

R = TypeVar("R")
entered: "ContextVar[TaskRunner | None]" = ContextVar("jtask_task_runner", default=None)
"""The task runner of the innermost `with` block of a context."""


class TaskRunner(ABC):
    """Where submitted runs are executed.

    As a context manager it is the one that `.submit()` and `.map()` use in the block, also in the
    runs that these start; at the end of the block it waits for its runs.
    """

    def __init__(self) -> None:
        # Those that are not over.
        self._unfinished: dict[str, Future[Any]] = {}
        self._tokens: list[Token[TaskRunner | None]] = []

    @abstractmethod
    def start(self, call: Call) -> Future[Any]:
        """Begin a run, or have it begin once what it waits for is over; returns at once.

        Args:
            call: What to run.

        Raises:
            ArgumentError: The arguments do not fit the signature.
        """

    @abstractmethod
    def duplicate(self) -> Self:
        """Return a task runner of the same kind and size that has no runs."""

    def submit(
        self,
        task: TaskInfo[..., R],
        parameters: Mapping[str, Any] | None = None,
        wait_for: Iterable[Any] | None = None,
    ) -> Future[R]:
        """Run a task; returns at once.

        Args:
            task: The task.
            parameters: Arguments by name.
            wait_for: Runs that have to complete first.

        Returns:
            Future: The run's handle.

        Raises:
            ArgumentError: The arguments do not fit the signature.
            TypeError: What is to be run is no task, or the parameters are no mapping.
        """
        _check(task, parameters)
        return self.submit_call(Call(task, task.bound, dict(parameters or {}), wait_for))

    def map(
        self,
        task: TaskInfo[..., R],
        parameters: Mapping[str, Any],
        wait_for: Iterable[Any] | None = None,
    ) -> FutureList[R]:
        """Run a task once for each element of its arguments; see `Task.map`.

        Args:
            task: The task.
            parameters: Arguments by name.
            wait_for: Runs that have to complete first.

        Raises:
            TypeError: What is to be run is no task, or the parameters are no mapping.
        """
        _check(task, parameters)
        awaited = gathered(wait_for)
        return FutureList(
            self.submit_call(Call(task, (*task.bound, *args), kwargs, awaited))
            for args, kwargs in calls_of(task, (), dict(parameters))
        )

    def submit_call(self, call: Call) -> Future[Any]:
        """Do what `start` does, and keep the run in mind."""
        future = self.start(call)
        self._unfinished[future.run_id] = future
        if not future.when_over(lambda _: self._unfinished.pop(future.run_id, None)):
            self._unfinished.pop(future.run_id, None)
        return future

    def wait(self, timeout: float | None = None) -> bool:
        """Block until no run of this task runner is left.

        Args:
            timeout: Seconds; None waits for ever.

        Returns:
            bool: Whether none is left.
        """
        while unfinished := self._not_done():
            if wait(unfinished, timeout).not_done:
                return False
        return True

    def cancel_all(self, message: str = CANCEL_MESSAGE) -> None:
        """Cancel all runs of this task runner that are not over."""
        for future in self._not_done():
            future.cancel(message)

    def _not_done(self) -> list[Future[Any]]:
        return [future for future in list(self._unfinished.values()) if not future.done()]

    def __enter__(self) -> Self:
        self._tokens.append(entered.set(self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        entered.reset(self._tokens.pop())
        self.wait()

    async def wait_async(self, timeout: float | None = None) -> bool:
        """Do what `wait` does without blocking the event loop."""
        while unfinished := self._not_done():
            if (await wait_async(unfinished, timeout)).not_done:
                return False
        return True

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        entered.reset(self._tokens.pop())
        await self.wait_async()


def _check(task: object, parameters: object) -> None:
    if not isinstance(task, TaskInfo):
        raise TypeError(f"a task runner executes tasks, got {task!r}: declare it with @task")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise TypeError(
            f"task {task.name!r} takes its parameters as a dict of arguments by name, "
            f"got {parameters!r:.100}"
        )
