"""Other runs among what a run is called with: it waits for their ends, and takes their values.

The state in which one has ended stands for its value as well.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from jtask.client.submitted_upstreams import value_of_state, value_of_submitted
from jtask.declaration.task_info import TaskInfo
from jtask.errors import ArgumentError, ConfigurationError, SerializationError
from jtask.futures import Future
from jtask.needs import Needs
from jtask.nested_values import find_nested, replace_nested
from jtask.plugins import get_plugins
from jtask.runs import Run
from jtask.serialization.arguments import ArgumentCodec
from jtask.serialization.codecs import codecs_of
from jtask.serialization.holes import Hole
from jtask.serialization.iterables import refuse_to_read_again
from jtask.states import State

_KINDS = (Future, State)
_NO_NAMES: Mapping[str, Any] = {}
_IN_PICKLES = b"jtask"  # in any pickle that a handle or a state is in


class EncodedCall(NamedTuple):
    """The arguments of one call.

    Attributes:
        payload: As they are sent.
        args: Positional arguments, with a hole for each run among them.
        kwargs: Keyword arguments, likewise.
        needs: What the run waits for.
    """

    payload: bytes
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = _NO_NAMES
    needs: Needs | None = None


def encode_call(
    task: TaskInfo[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    wait_for: Sequence[Any] = (),
) -> EncodedCall:
    """Check and encode the arguments of one call, with a hole for each run among them.

    Args:
        task: The task.
        args: Positional arguments.
        kwargs: Keyword arguments.
        wait_for: Runs that are only to be waited for; anywhere inside.

    Raises:
        ArgumentError: They do not fit.
        SerializationError: One would not survive the trip.
        ConfigurationError: No loaded plugin knows how to wait for runs.
        RunNotReady: A run of this process, or a state, did not complete.
    """
    codec = codecs_of(task).arguments
    try:
        payload = codec.encode(args, kwargs)
    except (ArgumentError, SerializationError):
        # Only now, so that calls without any pay nothing: a handle cannot be encoded, nor a state
        # that is not taken as such.
        call = _OpenCall(task, args, kwargs)
        if not call.is_other:
            raise
    else:
        if task.serializer == "json" or _IN_PICKLES not in payload:
            needs = _needs(task, {}, wait_for, _Uses()) if wait_for else None
            return EncodedCall(payload, args, kwargs, needs)
        call = _OpenCall(task, args, kwargs)
    payload, arguments = call.encode(codec)
    needs = _needs(task, arguments, wait_for, call.uses)
    return EncodedCall(payload, call.args, call.kwargs, needs)


def encode_plain_calls(
    task: TaskInfo[..., Any], calls: Sequence[tuple[Any, ...]]
) -> list[bytes] | None:
    """Check and encode many calls, each given by its positional arguments, all at once.

    Args:
        task: The task.
        calls: The arguments of each.

    Returns:
        list[bytes] | None: The payloads; None where a run is among the arguments, or something is
        wrong with them: `encode_call` tells which.

    Raises:
        ArgumentError: Something is, and an iterator among them cannot be read again.
    """
    if task.serializer == "json":
        with contextlib.suppress(ArgumentError, SerializationError):
            return codecs_of(task).arguments.encode_many(calls)
        refuse_to_read_again(task.name, calls)
    return None


class _Uses:
    """Which runs were met, and which of them need not complete."""

    def __init__(self) -> None:
        self._strict: set[str] = set()
        self._lenient: set[str] = set()

    def add(self, future: Run[Any], *, allowed: bool) -> str:
        (self._lenient if allowed else self._strict).add(future.run_id)
        return future.run_id

    @property
    def may_fail(self) -> frozenset[str]:
        return frozenset(self._lenient - self._strict)


class _OpenCall:
    """A call with holes in place of runs."""

    def __init__(
        self, task: TaskInfo[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self._task = task
        self.uses = _Uses()
        self.args: tuple[Any, ...] = replace_nested(args, _KINDS, self._stand_in)
        self.kwargs: Mapping[str, Any] = replace_nested(kwargs, _KINDS, self._stand_in)
        self.is_other = self.args is not args or self.kwargs is not kwargs

    def encode(self, codec: ArgumentCodec) -> tuple[bytes, dict[str, tuple[str, ...]]]:
        """Return the payload, and by parameter name the runs whose values go there."""
        payload = codec.encode_open(self.args, self.kwargs)
        record = codec.by_name(self.args, self.kwargs)
        found = {name: find_nested(value, Hole) for name, value in record.items()}
        return payload, {
            name: tuple(dict.fromkeys(hole.run_id for hole in holes))
            for name, holes in found.items()
            if holes
        }

    def _stand_in(self, one: Future[Any] | State, allowed: bool) -> Any:
        if isinstance(one, Run):
            _refuse_pickle(self._task, one)
            return Hole(self.uses.add(one, allowed=allowed))
        return _value_here(self._task, one, allowed=allowed)


def _value_here(task: TaskInfo[..., Any], one: Future[Any] | State, *, allowed: bool) -> Any:
    take = value_of_state if isinstance(one, State) else value_of_submitted
    return take(task, cast("Any", one), allowed=allowed)


def _awaited(task: TaskInfo[..., Any], wait_for: Sequence[Any], uses: _Uses) -> tuple[str, ...]:
    found: list[str] = []

    def note(one: Future[Any] | State, allowed: bool) -> None:
        if isinstance(one, Run):
            found.append(uses.add(one, allowed=allowed))
        else:
            _value_here(task, one, allowed=allowed)

    replace_nested(list(wait_for), _KINDS, note)
    return tuple(dict.fromkeys(found))


def _needs(
    task: TaskInfo[..., Any],
    arguments: Mapping[str, tuple[str, ...]],
    wait_for: Sequence[Any],
    uses: _Uses,
) -> Needs | None:
    awaited = _awaited(task, wait_for, uses)
    needs = Needs(arguments, awaited, uses.may_fail)
    if not needs:
        return None
    if get_plugins().caller("jtask_resolve") is None:
        raise ConfigurationError(
            "a run is to wait for another, which no loaded plugin knows how to do: "
            "add 'dependencies' to JTASK_PLUGINS"
        )
    return needs


def _refuse_pickle(task: TaskInfo[..., Any], future: Run[Any]) -> None:
    other = future.task
    if other is not None and other.serializer != "json" and task.serializer == "json":
        raise SerializationError(
            f"the result of task {other.name!r} is encoded with {other.serializer!r}, and task "
            f"{task.name!r} takes JSON: declare both with the same serializer"
        )
