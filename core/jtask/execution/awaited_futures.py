"""What a run waits for: handles and states among its arguments, and what `wait_for` names."""

from collections.abc import Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from jtask.annotations import Annotation, StandIns
from jtask.declaration.task_info import TaskInfo
from jtask.errors import JTaskError, RunNotReady, SerializationError
from jtask.execution.attempt import finish
from jtask.futures.future import Future
from jtask.ids import is_run_id
from jtask.lifecycle import Finish, describe
from jtask.nested_values import PLAIN, replace_nested
from jtask.outcomes import Outcome
from jtask.plugins import TaskHooks
from jtask.runtime import RunContext
from jtask.states import State, StateName

_KINDS = (Future, State)
_STATE = "a state that it takes or waits for"


class _End(NamedTuple):
    """How something that was waited for has ended."""

    value: Any = None
    error: BaseException | None = None
    said: str = ""


@dataclass(slots=True)
class AwaitedFutures:
    """What a run waits for, and its arguments, in which the values are to be put.

    Attributes:
        futures: The runs that it waits for, each once.
        args: Positional arguments.
        kwargs: Keyword arguments.
        wait_for: What has to complete, and is not passed.
        troubles: Why the ends of some cannot be known here.
    """

    futures: list[Future[Any]]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    wait_for: Any = None
    troubles: dict[Future[Any], JTaskError] = field(default_factory=dict["Future[Any]", JTaskError])


def find_awaited(
    args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Iterable[Any] | None = None
) -> AwaitedFutures | None:
    """Return what a run waits for; None, as for nearly all, where nothing is to be replaced.

    Args:
        args: Positional arguments.
        kwargs: Keyword arguments.
        wait_for: Handles, states, or collections of them.
    """
    if wait_for is None and not (StandIns.exist or State in map(type, (*args, *kwargs.values()))):
        return None
    if wait_for is None and PLAIN.issuperset(map(type, args)) and _is_plain(kwargs):
        return None
    futures: dict[Future[Any], None] = {}
    has_states = False

    def keep(one: Any, _: bool) -> Any:
        nonlocal has_states
        if isinstance(one, Future):
            futures[one] = None
        else:
            has_states = True
        return cast("Any", one)

    wait_for = gathered(wait_for)
    bare = replace_nested((args, kwargs), _KINDS, keep)
    replace_nested(wait_for, _KINDS, keep)
    if not futures and not has_states and bare[0] is args and bare[1] is kwargs:
        return None
    return AwaitedFutures(list(futures), args, kwargs, wait_for)


def gathered(wait_for: Any) -> Any:
    """Return what a run has to wait for as what can be gone through several times.

    Raises:
        TypeError: Something in it was meant as a run, and is no handle of one.
    """
    several = list(wait_for) if _is_several(wait_for) else wait_for
    # Values are no mistake: a direct call returns one where `.submit()` returns a handle.
    for one in _parts(several, set()):
        if isinstance(one, TaskInfo | Coroutine) or (isinstance(one, str) and is_run_id(one)):
            raise TypeError(
                f"wait_for: only handles of runs can be waited for, got {one!r:.100}: pass what "
                f".submit() or .delay() has returned, or get_run(run_id) for an id"
            )
    return several


def _parts(value: Any, above: set[int]) -> Iterator[Any]:
    """Yield a value, and what is in it if it is a container."""
    yield value
    inner: Iterable[Any] = ()
    if isinstance(value, Mapping):
        inner = cast("Mapping[object, Any]", value).values()
    elif isinstance(value, list | tuple | set | frozenset):
        inner = cast("Iterable[Any]", value)
    place = id(cast("object", value))
    if place not in above:
        for part in inner:
            yield from _parts(part, {*above, place})


def _is_several(wait_for: object) -> bool:
    # A mapping can be gone through as it is, and has runs among its values.
    return isinstance(wait_for, Iterable) and not isinstance(wait_for, Annotation | Mapping | str)


async def fill_in(run: RunContext, hooks: TaskHooks, awaited: AwaitedFutures) -> Outcome | None:
    """Give a run its arguments, with what it waits for replaced by values.

    Args:
        run: The run, in state Pending.
        hooks: Those of its task.
        awaited: What it waits for; where that is not over yet, it is waited for here.

    Returns:
        Outcome | None: The run's end if something did not complete; else None.
    """
    ends = [await _end_of(one, awaited, blocking=run.blocking) for one in awaited.futures]
    try:
        run.args, run.kwargs = _filled(awaited, dict(zip(awaited.futures, ends, strict=True)))
    except RunNotReady as error:
        return await finish(run, hooks, Finish(StateName.NOT_READY, str(error)), error)
    except SerializationError as error:  # something cannot hold a value in place of a handle
        return await finish(run, hooks, Finish(StateName.FAILED, str(error)), error)
    return None


def _is_plain(kwargs: Mapping[str, Any]) -> bool:
    return not kwargs or PLAIN.issuperset(map(type, kwargs.values()))


async def _end_of(future: Future[Any], awaited: AwaitedFutures, *, blocking: bool) -> _End:
    try:
        if trouble := awaited.troubles.get(future):
            raise trouble
        if blocking:
            error = future.exception()
            value = None if error is not None else future.result()
        else:
            await future.wait_async()
            error = future.exception()
            value = None if error is not None else await future.result_async()
    except Exception as unknown:  # it is over, and its value cannot be had
        said = f"upstream run {future.run_id} has no value: {describe(unknown)}"
        return _End(None, unknown, said)
    if error is None:
        return _End(value)
    name = future.state.name if blocking else (await future.state_async()).name
    return _End(None, error, f"upstream run {future.run_id} ended as {name}: {describe(error)}")


def _end_of_state(state: State) -> _End:
    if state.is_completed():
        return _End(state.result())
    if not state.is_final():
        return _End(None, RunNotReady(), f"{_STATE} is {state.name}, which is not final")
    error = state.result(raise_on_failure=False)
    return _End(None, error, f"{_STATE} is {state.name}: {describe(error)}")


def _filled(
    awaited: AwaitedFutures, ends: Mapping[Future[Any], _End]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    def fill(one: Any, is_allowed: bool) -> Any:
        end = ends[one] if isinstance(one, Future) else _end_of_state(one)
        if end.error is None:
            return end.value
        if is_allowed:
            return end.error
        raise RunNotReady(f"the run was not started: {end.said}") from end.error

    replace_nested(awaited.wait_for, _KINDS, fill)
    args, kwargs = replace_nested((awaited.args, awaited.kwargs), _KINDS, fill)
    return args, kwargs
