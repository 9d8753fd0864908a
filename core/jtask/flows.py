"""`@flow` and what it makes: tasks that are the parents of other runs."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar, Unpack, overload

from jtask.declaration.definition import (
    TaskOptions,
    function_name,
    is_async_generator_function,
    is_coroutine_function,
    is_generator_function,
)
from jtask.errors import TaskDefinitionError
from jtask.tasks import AsyncTask, SyncTask, Task
from jtask.tasks.declaring import declare

P = ParamSpec("P")
R = TypeVar("R")


class SyncFlow(SyncTask[P, R]):
    """A flow made of a plain function: a task, and the parent of the runs that it starts."""

    is_flow = True


class AsyncFlow(AsyncTask[P, R]):
    """A flow made of a coroutine function."""

    is_flow = True


@overload
def flow(  # type: ignore[overload-overlap] # the coroutine function is the closer match
    fn: Callable[P, Coroutine[Any, Any, R]], /
) -> AsyncFlow[P, R]: ...
@overload
def flow(fn: Callable[P, R], /) -> SyncFlow[P, R]: ...
@overload
def flow(
    *,
    flow_run_name: str | Callable[..., str] | None = None,
    options: Mapping[str, object] | None = None,
    **given: Unpack[TaskOptions],
) -> "_Decorator": ...
def flow(
    fn: Any = None,
    /,
    *,
    flow_run_name: str | Callable[..., str] | None = None,
    options: Mapping[str, object] | None = None,
    **given: Any,
) -> Any:
    """Make a flow of a function: a task whose run is the parent of those that it starts.

    All that a task can do, a flow can: it is called, submitted, deferred (`.delay`) and served, and
    takes the options of `@task`. Its arguments are checked, and converted, by the annotations also
    where it is called directly (`validate_parameters`). A flow called inside of another is a
    subflow.

    Args:
        fn: The function, when used as `@flow` without parentheses.
        flow_run_name: The option `task_run_name`, under Prefect's name for it.
        options: See `task`.
        given: See `task`.

    Raises:
        TaskDefinitionError: Not a function that can be a flow, an unknown option, or a value that
            is not acceptable.
        TaskKeyConflict: Another task of this process has the key.
    """
    if flow_run_name is not None:
        given["task_run_name"] = flow_run_name
    return declare(fn, options, given, _class_of)


class _Decorator(Protocol):
    """What `@flow(...)` returns; a class, so that the overloads survive the parentheses."""

    @overload
    def __call__(  # type: ignore[overload-overlap] # as for `flow`
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncFlow[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> SyncFlow[P, R]: ...


def _class_of(fn: Callable[..., Any]) -> type[Task[..., Any]]:
    if is_generator_function(fn) or is_async_generator_function(fn):
        raise TaskDefinitionError(
            f"{function_name(fn)!r} is a generator function, and generators cannot be flows: "
            f"declare it with @task, or return a list"
        )
    return AsyncFlow if is_coroutine_function(fn) else SyncFlow
