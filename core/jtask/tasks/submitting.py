"""The verbs of a task that run it in this process, beside the caller: `submit` and `map`."""

import functools
from collections.abc import Callable, Iterable
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    NamedTuple,
    ParamSpec,
    TypeVar,
    cast,
    overload,
)

from jtask.declaration.task_info import TaskInfo
from jtask.first_uses import first_use
from jtask.states import State

if TYPE_CHECKING:
    from jtask.futures import Future, FutureList
    from jtask.task_runners import TaskRunner
    from jtask.task_runners.submitted import Call

P = ParamSpec("P")
R = TypeVar("R")
Awaited = Iterable[Any] | None


class SubmittableTask(TaskInfo[P, R]):
    """A task that task runners can run."""

    @overload
    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> "Future[R]": ...
    @overload
    def submit(
        self, /, *args: Any, return_state: Literal[True], wait_for: Awaited = None, **kwargs: Any
    ) -> State: ...
    @overload
    def submit(self, /, *args: Any, wait_for: Awaited, **kwargs: Any) -> "Future[R]": ...
    def submit(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run by the current task runner: return at once, with a handle.

        Takes the function's own arguments. Handles anywhere in them are waited for and replaced by
        their values before the function is called.

        Args:
            args: Positional arguments.
            kwargs: Keyword arguments; and `wait_for`, runs that have to complete first, and
                `return_state`, True to wait for the run's end and return its final state.

        Raises:
            ArgumentError: The arguments do not fit the signature.
        """
        # Not parameters: type checkers want those of the function, and it has none of these names.
        wait_for, return_state = kwargs.pop("wait_for", None), kwargs.pop("return_state", False)
        future = self._submitted((*self.bound, *args), kwargs, wait_for)
        if not return_state:
            return future
        future.wait()
        return future.state

    @overload
    def map(
        self,
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Awaited = None,
        deferred: bool = False,
        **kwargs: Any,
    ) -> list[State]: ...
    @overload
    def map(
        self,
        /,
        *args: Any,
        return_state: Literal[False] = False,
        wait_for: Awaited = None,
        deferred: bool = False,
        **kwargs: Any,
    ) -> "FutureList[R]": ...
    def map(
        self,
        /,
        *args: Any,
        wait_for: Awaited = None,
        return_state: bool = False,
        deferred: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Run once for each element of the arguments that can be iterated over.

        All of these must have one length. Strings, bytes and what is `unmapped(...)` go to each run
        as they are; of a mapping, the keys are taken.

        Args:
            args: Positional arguments, each a collection or a value for all runs.
            wait_for: Runs that have to complete first.
            return_state: Wait for all runs, and return their final states.
            deferred: Run in the background, as `delay_many` does, all or none up to 1,000.
            kwargs: Keyword arguments, likewise.

        Returns:
            FutureList: A handle for each run, in order.

        Raises:
            MappingLengthMismatch: What is mapped over has several lengths.
            MappingMissingIterable: Nothing can be mapped over.
            ArgumentError: The arguments do not fit the signature.
        """
        from jtask.execution.awaited_futures import gathered
        from jtask.futures import FutureList
        from jtask.task_runners.mapping import calls_of

        awaited = gathered(wait_for)
        calls = calls_of(cast("TaskInfo[..., Any]", self), args, kwargs)
        futures: FutureList[R]
        if deferred:
            futures = self._deferred(calls, awaited)
        else:
            bound = self.bound
            futures = FutureList(self._submitted((*bound, *a), k, awaited) for a, k in calls)
        if not return_state:
            return futures
        futures.wait()
        return [future.state for future in futures]

    def _deferred(
        self, calls: list[tuple[tuple[Any, ...], dict[str, Any]]], wait_for: Awaited
    ) -> "FutureList[R]":
        raise NotImplementedError

    def _submitted(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Awaited
    ) -> "Future[R]":
        needed = _needed()
        task = cast("TaskInfo[..., Any]", self)
        call = needed.call(task, args, kwargs, wait_for, needed.begin_recording)
        return needed.current_task_runner().submit_call(call)


class _Needed(NamedTuple):
    call: "type[Call]"
    current_task_runner: "Callable[[], TaskRunner]"
    begin_recording: "Callable[[], None]"


# Not at the top, for a program that only declares tasks is spared them.
@functools.cache
def _needed() -> _Needed:
    with first_use():
        from jtask.client.direct_calls import begin_recording
        from jtask.task_runners.current import current_task_runner
        from jtask.task_runners.submitted import Call

    return _Needed(Call, current_task_runner, begin_recording)
