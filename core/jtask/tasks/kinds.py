"""Tasks by what their functions are: each kind is called as its function is."""

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from jtask.tasks.task import Task

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
Y = TypeVar("Y")


# The overloads of `__get__`: taken from the class, where checkers leave `cls` with a class method;
# then from an object a method, a class method, a static method.


class SyncTask(Task[P, R]):
    """A task made of a plain function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run here and now, like the function it is, and return its value."""
        from jtask.execution.direct_call import call

        return cast("R", call(self, (*self.bound, *args), kwargs, _begin_recording))

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

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Run here and now, like the coroutine function it is: await the answer."""
        from jtask.execution.direct_call import call_async

        running = call_async(self, (*self.bound, *args), kwargs, _begin_recording)
        return cast("Coroutine[Any, Any, R]", running)

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


class GeneratorTask(Task[P, R], Generic[P, Y, R]):
    """A task made of a generator function; `Y` is what it yields, `R` what it returns."""

    is_generator = True

    @property
    def body(self) -> Callable[..., Any]:
        """What reads the generator to its end, and sends its items."""
        from jtask.execution.exhausting import exhausting

        return exhausting(self.fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Generator[Y, Any, R]:
        """Run here and now, like the generator function it is: iterate over the answer."""
        from jtask.execution.direct_call import stream

        return stream(self, (*self.bound, *args), kwargs, _begin_recording)

    def __get__(self, instance: Any, owner: type | None = None) -> "GeneratorTask[..., Y, R]":
        return cast("GeneratorTask[..., Y, R]", self._bind(instance, owner))


class AsyncGeneratorTask(Task[P, None], Generic[P, Y]):
    """A task made of an asynchronous generator function; `Y` is what it yields."""

    is_async = True
    is_generator = True

    @property
    def body(self) -> Callable[..., Any]:
        """What reads the generator to its end, and sends its items."""
        from jtask.execution.exhausting import exhausting_async

        return exhausting_async(self.fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Y, Any]:
        """Run here and now, like the generator function it is: `async for` over the answer."""
        from jtask.execution.direct_call import stream_async

        return stream_async(self, (*self.bound, *args), kwargs, _begin_recording)

    def __get__(self, instance: Any, owner: type | None = None) -> "AsyncGeneratorTask[..., Y]":
        return cast("AsyncGeneratorTask[..., Y]", self._bind(instance, owner))


def _begin_recording() -> None:
    from jtask.client.direct_calls import begin_recording

    begin_recording()
