"""`@task`."""

from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Mapping,
)
from typing import Any, ParamSpec, Protocol, TypeVar, Unpack, overload

from jtask.declaration.definition import (
    TaskOptions,
    is_async_generator_function,
    is_coroutine_function,
    is_generator_function,
)
from jtask.tasks.declaring import declare
from jtask.tasks.kinds import AsyncGeneratorTask, AsyncTask, GeneratorTask, SyncTask
from jtask.tasks.task import Task

P = ParamSpec("P")
R = TypeVar("R")
Y = TypeVar("Y")


@overload
def task(  # type: ignore[overload-overlap] # the coroutine function is the closer match
    fn: Callable[P, Coroutine[Any, Any, R]], /
) -> AsyncTask[P, R]: ...
@overload
def task(  # type: ignore[overload-overlap] # likewise
    fn: Callable[P, Generator[Y, Any, R]], /
) -> GeneratorTask[P, Y, R]: ...
@overload
def task(  # type: ignore[overload-overlap] # likewise
    fn: Callable[P, AsyncIterator[Y]], /
) -> AsyncGeneratorTask[P, Y]: ...
@overload
def task(  # type: ignore[overload-overlap] # likewise
    fn: Callable[P, Iterator[Y]], /
) -> GeneratorTask[P, Y, Any]: ...
@overload
def task(fn: Callable[P, R], /) -> SyncTask[P, R]: ...
@overload
def task(
    *, options: Mapping[str, object] | None = None, **given: Unpack[TaskOptions]
) -> "_Decorator": ...
def task(fn: Any = None, /, *, options: Mapping[str, object] | None = None, **given: Any) -> Any:
    """Make a task of a function: plain, coroutine, generator, method, static or class method.

    For a static or class method `@task` stands above `@staticmethod` or `@classmethod`.

    Args:
        fn: The function, when used as `@task` without parentheses.
        options: Options of other plugins by name. They can be written as keywords too, but type
            checkers know only those of the plugins that come with jtask.
        given: See `jtask.declaration.definition.OwnOptions`, and options that plugins declare.

    Raises:
        TaskDefinitionError: Not a function that can be a task, an unknown option, or a value that
            is not acceptable.
        TaskKeyConflict: Another task of this process has the key.
    """
    return declare(fn, options, given, _class_of)


class _Decorator(Protocol):
    """What `@task(...)` returns; a class, so that the overloads survive the parentheses."""

    @overload
    def __call__(  # type: ignore[overload-overlap] # as for `task`
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Generator[Y, Any, R]], /
    ) -> GeneratorTask[P, Y, R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, AsyncIterator[Y]], /
    ) -> AsyncGeneratorTask[P, Y]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Iterator[Y]], /
    ) -> GeneratorTask[P, Y, Any]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> SyncTask[P, R]: ...


def _class_of(fn: Callable[..., Any]) -> type[Task[..., Any]]:
    if is_generator_function(fn):
        return GeneratorTask
    if is_async_generator_function(fn):
        return AsyncGeneratorTask
    return AsyncTask if is_coroutine_function(fn) else SyncTask
