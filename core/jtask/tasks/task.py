"""`Task`: a task's facts with its verbs."""

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Never,
    ParamSpec,
    Self,
    TypeVar,
    Unpack,
    cast,
)

from jtask.declaration.binding import arguments_by_name
from jtask.declaration.builtin_options import BuiltinOptions
from jtask.declaration.definition import (
    Definition,
    Instant,
    SerializerName,
)
from jtask.errors import TaskDefinitionError
from jtask.first_uses import first_use
from jtask.options import no_option_of_a_call
from jtask.tasks.state_hooks import HookedTask, checked_options
from jtask.tasks.submitting import Awaited, SubmittableTask

if TYPE_CHECKING:
    from jtask.client.client import Client
    from jtask.client.enqueueing import Call, RunBuilder
    from jtask.futures import FutureList
    from jtask.plugins import TaskHooks
    from jtask.runs import Run
    from jtask.serialization.codecs import CallCodecs

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")


class Task(SubmittableTask[P, R], HookedTask[P, R]):
    """A function that can be called, and delayed to a worker.

    Made by `@task`; its facts are those of `jtask.declaration.task_info.TaskInfo`: `name`, `key`,
    `queue`, `tags`, `version`, `priority`, `serializer`, `options`, `description`, `fn`.
    """

    def __init__(self, fn: Callable[..., Any], definition: Definition) -> None:
        super().__init__(fn, definition, checked_options(definition, fn))

    @property
    def codecs(self) -> "CallCodecs":
        """What writes and reads its arguments and results."""
        from jtask.serialization.codecs import codecs_of

        return codecs_of(self)

    @property
    def hooks(self) -> "TaskHooks":
        """The plugins' hooks that concern it."""
        from jtask.plugins import hooks_of

        return hooks_of(self)

    def with_options(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        version: str | None = None,
        queue: str | None = None,
        priority: int | None = None,
        serializer: SerializerName | None = None,
        delay: float | timedelta | None = None,
        eta: datetime | float | None = None,
        expires: Instant | None = None,
        flow_run_name: str | Callable[..., str] | None = None,
        options: Mapping[str, object] | None = None,
        **builtin: Unpack[BuiltinOptions],
    ) -> Self:
        """Return a copy of the task with some options replaced; the key stays.

        A run that it delays carries those options that can travel; `delay` refuses the others.

        Args:
            name: As for `task`; likewise the next six, `options` and `builtin`.
            description: See `task`.
            tags: Replace the task's tags.
            version: See `task`.
            queue: See `task`.
            priority: See `task`.
            serializer: See `task`; workers must declare the same.
            delay: Start runs no sooner than this many seconds after the call.
            eta: Start runs no sooner than this instant.
            expires: Do not start runs later than this: an instant, or seconds after the call.
            flow_run_name: Of a flow, see `jtask.flow`.
            options: See `task`.
            builtin: See `task`.

        Raises:
            TaskDefinitionError: An unknown option, or a value that is not acceptable.
        """
        given = {**builtin, **(options or {})}
        if flow_run_name is not None:
            given["task_run_name" if self.is_flow else "flow_run_name"] = flow_run_name
        changed = self.definition.with_options(
            given,
            name=name,
            description=description,
            tags=tags,
            version=version,
            queue=queue,
            priority=priority,
            serializer=serializer,
            delay=delay,
            eta=eta,
            expires=expires,
            key=self.key,
        )
        checked = checked_options(changed, self.fn) if given else self.options
        overrides = dict(self.overrides) if name is None else {**self.overrides, "name": name}
        for option in given:
            overrides[option] = checked[option]
        # Not registered: it has the key of this task, by which a worker finds this one.
        return self.copied(changed, checked, overrides)

    def delay(self, /, *args: P.args, **kwargs: P.kwargs) -> "Run[R]":
        """Run in the background: return as soon as the run is durably stored.

        Takes the function's own arguments.

        Raises:
            ArgumentError: They do not fit the signature; nothing was sent.
            SerializationError: One would not survive the trip; nothing was sent.
            RunRefused: A plugin refused the run.
            NotUnique: Another run has its key, and is not over.
            BrokerUnavailable: Not stored within the setting `enqueue_timeout`.
            BrokerError: The broker refused it, for lack of room or permission, say.
            TaskDefinitionError: A copy has an option that its runs cannot carry.
            TaskKeyConflict: A worker could take another task for this one.
        """
        return self._delayed(self.definition, args, kwargs)

    async def adelay(self, /, *args: P.args, **kwargs: P.kwargs) -> "Run[R]":
        """Do what `delay` does without blocking the event loop."""
        client = await _connected_client()()
        with self._builder(client) as builder:
            run = await client.enqueue(builder.one((*self.bound, *args), kwargs))
            builder.sent([run])
            return run

    def delay_many(
        self,
        calls: Iterable[Sequence[Any] | Mapping[str, Any]],
        *,
        wait_for: Awaited = None,
    ) -> "list[Run[R]]":
        """Run many times in the background; all or none up to 1,000.

        Args:
            calls: For each run a tuple of positional arguments, or a dict of arguments by name.
                More than 1,000 are stored in groups of 1,000, each all or none.
            wait_for: Handles of runs, anywhere inside, that must have completed before.

        Returns:
            list[Run[R]]: One handle each, in order.

        Raises:
            TaskDefinitionError: A call is neither a tuple nor a dict, or as for `delay`.
            JTaskError: What `delay` raises. Nothing was sent then, save after a `BrokerError`: of
                several groups some may be stored.
        """
        return self._delayed_many(calls, wait_for)

    async def adelay_many(
        self,
        calls: Iterable[Sequence[Any] | Mapping[str, Any]],
        *,
        wait_for: Awaited = None,
    ) -> "list[Run[R]]":
        """Do what `delay_many` does without blocking the event loop."""
        client = await _connected_client()()
        with self._builder(client, wait_for=wait_for) as builder:
            groups = builder.many(self.bound, calls)
            return cast("list[Run[R]]", builder.sent(await client.enqueue_many(groups)))

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        countdown: float | None = None,
        eta: datetime | float | None = None,
        expires: Instant | None = None,
        queue: str | None = None,
        priority: int | None = None,
        wait_for: Awaited = None,
        **unknown: Never,
    ) -> "Run[R]":
        """Run in the background, with options for this run.

        Args:
            args: Positional arguments of the function; None is none of them.
            kwargs: Keyword arguments of the function.
            countdown: Start no sooner than this many seconds from now.
            eta: Start no sooner than this instant.
            expires: Do not start later than this: an instant, or seconds from now.
            queue: Where to wait instead of the task's queue.
            priority: 0 to 9, higher first.
            wait_for: Handles of runs, anywhere inside, that must have completed before.
            unknown: Refused, with what to use instead.

        Raises:
            TaskDefinitionError: An unknown option, or a value that is not acceptable.
            JTaskError: What `delay` raises.
        """
        if unknown:
            raise _no_option_of_a_call(next(iter(unknown)), self.signature.parameters)
        args = () if args is None else args
        if not isinstance(args, tuple):
            _check_sequence(args)
        definition = self.definition
        if any(given is not None for given in (countdown, eta, expires, queue, priority)):
            definition = definition.changed(
                delay=countdown,
                delay_name=None if countdown is None else "countdown",
                eta=eta,
                expires=expires,
                queue=queue,
                priority=priority,
            )
        return self._delayed(definition, args, _named(kwargs), wait_for)

    def serve(self, *, concurrency: int = 10, **unknown: Never) -> None:
        """Start a worker for just this task; see `jtask.task_worker.serve`."""
        from jtask.task_worker import serve

        serve(self, concurrency=concurrency, **unknown)

    async def aserve(self, *, concurrency: int = 10, **unknown: Never) -> None:
        """Do what `serve` does until cancelled; see `jtask.task_worker.aserve`."""
        from jtask.task_worker import aserve

        await aserve(self, concurrency=concurrency, **unknown)

    def _delayed(
        self,
        definition: Definition,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        wait_for: Awaited = None,
    ) -> "Run[R]":
        client = _get_client()()
        with self._builder(client, definition, wait_for) as builder:
            run = client.enqueue_blocking(builder.one((*self.bound, *args), kwargs))
            builder.sent([run])
            return run

    def _deferred(
        self, calls: list[tuple[tuple[Any, ...], dict[str, Any]]], wait_for: Awaited
    ) -> "FutureList[R]":
        from jtask.client.enqueueing import MixedCall
        from jtask.futures import FutureList

        given = [MixedCall(args, kwargs) if kwargs else args for args, kwargs in calls]
        return FutureList(self._delayed_many(given, wait_for))

    def _delayed_many(self, calls: "Iterable[Call]", wait_for: Awaited) -> "list[Run[R]]":
        client = _get_client()()
        with self._builder(client, wait_for=wait_for) as builder:
            groups = builder.many(self.bound, calls)
            return cast("list[Run[R]]", builder.sent(client.enqueue_many_blocking(groups)))

    def _builder(
        self,
        client: "Client",
        definition: Definition | None = None,
        wait_for: Awaited = None,
    ) -> "RunBuilder":
        awaited: tuple[Any, ...] = ()
        if wait_for is not None:
            from jtask.execution.awaited_futures import gathered

            awaited = (gathered(wait_for),)
        changed = definition or self.definition
        return _run_builder()(client, client.ids, client.inline_limit, self, changed, awaited)

    if not TYPE_CHECKING:  # or every attribute would be known to type checkers

        def __getattr__(self, name: str) -> Any:
            from jtask.other_libraries import ON_TASKS, no_attribute

            # `vars`: a task that is being made or unpickled has no options yet.
            if name in vars(self).get("options", ()):
                raise AttributeError(f"a task has no {name!r}: use a_task.options[{name!r}]")
            if (error := no_attribute("a task", name, ON_TASKS)) is not None:
                raise error
            return object.__getattribute__(self, name)  # raises what Python says

    def _bind(self, instance: object, owner: type | None) -> "Task[..., R]":
        if self.owner is None:
            # Put on the class after its body, where `__set_name__` is not called.
            self.owner = owner
        target = owner if self.definition.kind == "class" else instance
        if self.definition.kind == "static" or target is None:
            return self
        # A copy of what is there: a method is bound at each use, which must cost next to nothing.
        copy: Task[..., R] = object.__new__(type(self))
        vars(copy).update(vars(self))
        copy.bound, copy.unbound, copy.kept = (target,), self, dict(self.kept)
        return copy


# Once: an import inside a function looks the module up again at each call. Not at the top of this
# file, for a program that only declares tasks is spared them.
@functools.cache
def _get_client() -> "Callable[[], Client]":
    with first_use():
        from jtask.client.process_client import get_client

    return get_client


@functools.cache
def _connected_client() -> "Callable[[], Awaitable[Client]]":
    with first_use():
        from jtask.client.process_client import connected_client

    return connected_client


@functools.cache
def _run_builder() -> "type[RunBuilder]":
    with first_use():
        from jtask.client.enqueueing import RunBuilder

    return RunBuilder


def _no_option_of_a_call(name: str, parameters: Iterable[str]) -> TaskDefinitionError:
    from jtask.plugins import get_plugins

    return no_option_of_a_call(name, get_plugins().options, parameters)


def _check_sequence(args: object) -> None:
    # A string is a sequence too: args="ab" would be two arguments.
    if isinstance(args, str | bytes) or not isinstance(args, Sequence):
        raise TaskDefinitionError(
            f"args must be a tuple or a list of arguments, got {args!r}: write ({args!r},) for one"
        )


def _named(kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    if kwargs is None:
        return {}
    if not isinstance(kwargs, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TaskDefinitionError(f"kwargs must be a dict of arguments by name, got {kwargs!r}")
    return arguments_by_name(kwargs)
