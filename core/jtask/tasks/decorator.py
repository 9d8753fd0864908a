"""`@task`."""

from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from typing import Any, ParamSpec, Protocol, TypeVar, Unpack, overload

from jtask.declaration.builtin_options import BuiltinOptions
from jtask.declaration.definition import (
    SerializerName,
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
    *,
    name: str | None = None,
    key: str | None = None,
    description: str | None = None,
    tags: Iterable[str] | None = None,
    version: str | None = None,
    queue: str | None = None,
    priority: int = 0,
    serializer: SerializerName | None = None,
    options: Mapping[str, object] | None = None,
    **builtin: Unpack[BuiltinOptions],
) -> "_Decorator": ...
def task(fn: Any = None, /, *, options: Mapping[str, object] | None = None, **given: Any) -> Any:
    """Make a task of a function: plain, coroutine, generator, method, static or class method.

    For a static or class method `@task` stands above `@staticmethod` or `@classmethod`.

    Args:
        fn: The function, when used as `@task` without parentheses.
        name: For people; default: the function's name.
        key: What workers know it by; default: the name and a hash of it and of the function's
            qualified name.
        description: Default: the docstring.
        tags: Kept with every run.
        version: A free text kept with every run.
        queue: Where runs wait; default: a queue of the task's own.
        priority: 0 to 9; a worker takes higher ones first.
        serializer: `"json"` (default), or `"cloudpickle"` for what JSON cannot carry.
        options: Options of other plugins by name. They can be written as keywords too, but type
            checkers know only those of the plugins that come with jtask.
        given: All of the above but `fn` and `options`; and options that plugins declare.

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
