"""Tasks by what their functions are: each kind is called as its function is."""

import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import ModuleType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    TypeVar,
    cast,
    overload,
)

from jtask.first_uses import first_use
from jtask.states import State
from jtask.tasks.submitting import Awaited
from jtask.tasks.task import Task

if TYPE_CHECKING:
    from jtask.futures import Future, FutureList

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
Y = TypeVar("Y")


# The overloads of `__get__`: taken from the class, where checkers leave `cls` with a class method;
# then from an object a method, a class method, a static method.


class SyncTask(Task[P, R]):
    """A task made of a plain function."""

    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def __call__(
        self, /, *args: Any, return_state: Literal[True], wait_for: Awaited = None, **kwargs: Any
    ) -> State: ...
    @overload
    def __call__(self, /, *args: Any, wait_for: Awaited, **kwargs: Any) -> R: ...
    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run here and now, like the function it is, and return its value.

        Takes the function's own arguments; `wait_for=` and `return_state=` as `submit` does.
        """
        asked = _asked(kwargs) if kwargs else {}
        return _direct_call().call(self, (*self.bound, *args), kwargs, _begin_recording, **asked)

    @overload
    def __get__(self, instance: None, owner: type) -> "SyncTask[P, R]": ...
    @overload
    def __get__(
        self: "SyncTask[Concatenate[S, Q], R]", instance: S, owner: type | None = None
    ) -> "SyncTask[Q, R]": ...
    @overload
    def __get__(
        self: "SyncTask[Concatenate[type[S], Q], R]", instance: S, owner: type | None = None
    ) -> "SyncTask[Q, R]": ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> "SyncTask[P, R]": ...
    def __get__(self, instance: Any, owner: type | None = None) -> "SyncTask[..., R]":
        return cast("SyncTask[..., R]", self._bind(instance, owner))


class AsyncTask(Task[P, R]):
    """A task made of a coroutine function."""

    is_async = True

    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]: ...
    @overload
    def __call__(
        self, /, *args: Any, return_state: Literal[True], wait_for: Awaited = None, **kwargs: Any
    ) -> Coroutine[Any, Any, State]: ...
    @overload
    def __call__(
        self, /, *args: Any, wait_for: Awaited, **kwargs: Any
    ) -> Coroutine[Any, Any, R]: ...
    def __call__(self, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Run here and now, like the coroutine function it is: await the answer.

        Takes the function's own arguments; `wait_for=` and `return_state=` as `submit` does.
        """
        asked = _asked(kwargs) if kwargs else {}
        called: Any = _direct_call().call_async(
            self, (*self.bound, *args), kwargs, _begin_recording, **asked
        )
        # What Python warns of as "never awaited", and what asyncio shows as its task.
        called.__qualname__ = self.name
        return cast("Coroutine[Any, Any, Any]", called)

    @overload
    def __get__(self, instance: None, owner: type) -> "AsyncTask[P, R]": ...
    @overload
    def __get__(
        self: "AsyncTask[Concatenate[S, Q], R]", instance: S, owner: type | None = None
    ) -> "AsyncTask[Q, R]": ...
    @overload
    def __get__(
        self: "AsyncTask[Concatenate[type[S], Q], R]", instance: S, owner: type | None = None
    ) -> "AsyncTask[Q, R]": ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> "AsyncTask[P, R]": ...
    def __get__(self, instance: Any, owner: type | None = None) -> "AsyncTask[..., R]":
        return cast("AsyncTask[..., R]", self._bind(instance, owner))


class _YieldingTask(Task[P, R], Generic[P, Y, R]):
    """A task made of a generator function, asynchronous or not."""

    is_generator = True

    # In the background a run's value is what the function returns: its items may be too many.
    @overload  # type: ignore[override]
    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> "Future[list[Y]]": ...
    @overload
    def submit(
        self, /, *args: Any, return_state: Literal[True], wait_for: Awaited = None, **kwargs: Any
    ) -> State: ...
    @overload
    def submit(self, /, *args: Any, wait_for: Awaited, **kwargs: Any) -> "Future[list[Y]]": ...
    def submit(self, /, *args: Any, **kwargs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Do what `Task.submit` does; the run's value is the list of what the generator yields."""
        submit: Callable[..., Any] = super().submit
        return submit(*args, **kwargs)

    @overload  # type: ignore[override]
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
        deferred: Literal[True],
        return_state: Literal[False] = False,
        wait_for: Awaited = None,
        **kwargs: Any,
    ) -> "FutureList[R]": ...
    @overload
    def map(
        self,
        /,
        *args: Any,
        return_state: Literal[False] = False,
        wait_for: Awaited = None,
        deferred: Literal[False] = False,
        **kwargs: Any,
    ) -> "FutureList[list[Y]]": ...
    def map(self, /, *args: Any, **kwargs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Do what `Task.map` does; the values of submitted runs are lists, see `submit`."""
        run_each: Callable[..., Any] = super().map
        return run_each(*args, **kwargs)


class GeneratorTask(_YieldingTask[P, Y, R]):
    """A task made of a generator function; `Y` is what it yields, `R` what it returns."""

    @property
    def body(self) -> Callable[..., Any]:
        """What reads the generator to its end, and sends its items."""
        from jtask.execution.exhausting import exhausting

        return exhausting(self.fn)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Generator[Y, Any, R]:
        """Run here and now, like the generator function it is: iterate over the answer."""
        from jtask.execution.direct_stream import stream

        asked = _asked_of_stream(self, kwargs) if kwargs else {}
        return stream(self, (*self.bound, *args), kwargs, _begin_recording, **asked)

    def __get__(self, instance: Any, owner: type | None = None) -> "GeneratorTask[..., Y, R]":
        return cast("GeneratorTask[..., Y, R]", self._bind(instance, owner))


class AsyncGeneratorTask(_YieldingTask[P, Y, None]):
    """A task made of an asynchronous generator function; `Y` is what it yields."""

    is_async = True

    @property
    def body(self) -> Callable[..., Any]:
        """What reads the generator to its end, and sends its items."""
        from jtask.execution.exhausting import exhausting_async

        return exhausting_async(self.fn)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Y, Any]:
        """Run here and now, like the generator function it is: `async for` over the answer."""
        from jtask.execution.direct_stream import stream_async

        asked = _asked_of_stream(self, kwargs) if kwargs else {}
        return stream_async(self, (*self.bound, *args), kwargs, _begin_recording, **asked)

    def __get__(self, instance: Any, owner: type | None = None) -> "AsyncGeneratorTask[..., Y]":
        return cast("AsyncGeneratorTask[..., Y]", self._bind(instance, owner))


def _asked(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Take what is meant for the call itself out of its arguments; no function has these names."""
    return {name: kwargs.pop(name) for name in ("wait_for", "return_state") if name in kwargs}


def _asked_of_stream(task: Task[..., Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    asked = _asked(kwargs)
    if asked.pop("return_state", False):
        raise ValueError(
            f"task {task.name!r} is a generator, and a call of it gives its items: "
            f"use .submit(...) or .delay(...), and look at the state of the run"
        )
    return asked


@functools.cache
def _direct_call() -> ModuleType:
    with first_use():
        from jtask.execution import direct_call

    return direct_call


def _begin_recording() -> None:
    from jtask.client.direct_calls import begin_recording

    begin_recording()
