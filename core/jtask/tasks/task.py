"""`Task`: a task's facts with its verbs."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    ParamSpec,
    Self,
    TypeVar,
    Unpack,
    cast,
)

from jtask.declaration.builtin_options import BuiltinOptions
from jtask.declaration.definition import (
    Definition,
    Instant,
    SerializerName,
)
from jtask.declaration.task_info import TaskInfo
from jtask.errors import TaskDefinitionError
from jtask.options import check_options

if TYPE_CHECKING:
    from jtask.client.client import Client
    from jtask.client.enqueueing import RunBuilder
    from jtask.plugins import TaskHooks
    from jtask.runs import Run
    from jtask.serialization.codecs import CallCodecs

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
HookT = TypeVar("HookT", bound=Callable[..., object])


class Task(TaskInfo[P, R]):
    """A function that can be called, and delayed to a worker.

    Made by `@task`; its facts are those of `jtask.declaration.task_info.TaskInfo`: `name`, `key`,
    `queue`, `tags`, `version`, `priority`, `serializer`, `options`, `description`, `fn`.
    """

    def __init__(self, fn: Callable[..., Any], definition: Definition) -> None:
        super().__init__(fn, definition, _check_options(definition, fn))

    @functools.cached_property
    def codecs(self) -> "CallCodecs":
        """What writes and reads its arguments and results."""
        from jtask.serialization.codecs import codecs_of

        return codecs_of(self)

    @functools.cached_property
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
            options: See `task`.
            builtin: See `task`.

        Raises:
            TaskDefinitionError: An unknown option, or a value that is not acceptable.
        """
        given = {**builtin, **(options or {})}
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
        checked = _check_options(changed, self.fn) if given else self.options
        overrides = dict(self.overrides) if name is None else {**self.overrides, "name": name}
        for option in given:
            overrides[option] = checked[option]
        # Not registered: it has the key of this task, by which a worker finds this one.
        return self.copied(changed, checked, overrides)

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> "Run[R]":
        """Run in the background: return as soon as the run is durably stored.

        Takes the function's own arguments.

        Raises:
            ArgumentError: They do not fit the signature; nothing was sent.
            SerializationError: One would not survive the trip; nothing was sent.
            RunRefused: A plugin refused the run.
            NotUnique: Another run has its key, and is not over.
            BrokerUnavailable: Not stored within the setting `enqueue_timeout`.
            TaskDefinitionError: A copy has an option that its runs cannot carry.
        """
        return self.apply_async(args, kwargs)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> "Run[R]":
        """Do what `delay` does without blocking the event loop."""
        from jtask.client.client import connected_client

        client = await connected_client()
        with self._builder(client) as builder:
            prepared = builder.one((*self.bound, *args), kwargs)
            return cast("Run[R]", builder.sent([await client.enqueue(prepared)])[0])

    def delay_many(self, calls: Iterable[Sequence[Any] | Mapping[str, Any]]) -> "list[Run[R]]":
        """Run many times in the background; all or none up to 1,000.

        Args:
            calls: For each run a tuple of positional arguments, or a dict of arguments by name.
                More than 1,000 are stored in groups of 1,000, each all or none.

        Returns:
            list[Run[R]]: One handle each, in order.
        """
        from jtask.client.client import get_client

        client = get_client()
        with self._builder(client) as builder:
            groups = builder.many(self.bound, calls)
            return cast("list[Run[R]]", builder.sent(client.enqueue_many_blocking(groups)))

    async def adelay_many(
        self, calls: Iterable[Sequence[Any] | Mapping[str, Any]]
    ) -> "list[Run[R]]":
        """Do what `delay_many` does without blocking the event loop."""
        from jtask.client.client import connected_client

        client = await connected_client()
        with self._builder(client) as builder:
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
        wait_for: Sequence[Any] | None = None,
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

        Raises:
            TaskDefinitionError: A value is not acceptable.
        """
        from jtask.client.client import get_client

        args = () if args is None else args
        if not isinstance(args, tuple):
            _check_sequence(args)
        definition = self.definition
        if any(given is not None for given in (countdown, eta, expires, queue, priority)):
            definition = definition.changed(
                delay=countdown,
                eta=eta,
                expires=expires,
                queue=queue,
                priority=priority,
            )
        client = get_client()
        with self._builder(client, definition, wait_for or ()) as builder:
            prepared = builder.one((*self.bound, *args), dict(kwargs or {}))
            return cast("Run[R]", builder.sent([client.enqueue_blocking(prepared)])[0])

    def serve(self, *, concurrency: int = 10) -> None:
        """Start a worker for just this task; see `jtask.task_worker.serve`."""
        from jtask.task_worker import serve

        serve(self, concurrency=concurrency)

    async def aserve(self, *, concurrency: int = 10) -> None:
        """Do what `serve` does until cancelled; see `jtask.task_worker.aserve`."""
        from jtask.task_worker import aserve

        await aserve(self, concurrency=concurrency)

    def on_running(self, hook: HookT, /) -> HookT:
        """Call a function at the start of each attempt: `@a_task.on_running`.

        The function takes the task, the run (`jtask.runtime.RunContext`) and the state, and may be
        asynchronous; likewise for the next five, each of which does what the option of the same
        name does. Whatever it raises is logged and changes nothing.
        """
        return self._add_hook("on_running", hook)

    def on_completion(self, hook: HookT, /) -> HookT:
        """Call a function when a run has completed."""
        return self._add_hook("on_completion", hook)

    def on_failure(self, hook: HookT, /) -> HookT:
        """Call a function when a run has failed for good, or timed out."""
        return self._add_hook("on_failure", hook)

    def on_crashed(self, hook: HookT, /) -> HookT:
        """Call a function when a run has crashed, on the worker that finds it."""
        return self._add_hook("on_crashed", hook)

    def on_cancellation(self, hook: HookT, /) -> HookT:
        """Call a function when a run has been cancelled."""
        return self._add_hook("on_cancellation", hook)

    def on_retry(self, hook: HookT, /) -> HookT:
        """Call a function when a run has failed and will be retried."""
        return self._add_hook("on_retry", hook)

    def on_commit(self, hook: HookT, /) -> HookT:
        """Call a function when the transaction commits that a run is part of: `@a_task.on_commit`.

        The function takes the transaction (`jtask_transactions.Transaction`), and may be
        asynchronous; likewise for `on_rollback`. If it raises, the transaction is rolled back.
        """
        return self._add_hook("on_commit", hook)

    def on_rollback(self, hook: HookT, /) -> HookT:
        """Call a function to undo a run that has completed, when its transaction is rolled back.

        Whatever it raises is logged.
        """
        return self._add_hook("on_rollback", hook)

    def _add_hook(self, option: str, hook: HookT) -> HookT:
        if self.unbound is not None:
            return cast("Task[..., R]", self.unbound)._add_hook(option, hook)
        # The hook goes to the definition too, so that copies made later have it.
        given = dict(self.definition.options)
        given[option] = [*cast("Iterable[Any]", given.get(option) or ()), hook]
        changed = self.definition.changed(options=given)
        self.options = _check_options(changed, self.fn)
        self.definition = changed
        # Resolved anew at the next use, with the new option.
        vars(self).pop("hooks", None)
        return hook

    def _builder(
        self,
        client: "Client",
        definition: Definition | None = None,
        wait_for: Sequence[Any] = (),
    ) -> "RunBuilder":
        from jtask.client.enqueueing import RunBuilder

        changed = definition or self.definition
        return RunBuilder(client, client.ids, client.inline_limit, self, changed, wait_for)

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
        copy.bound, copy.unbound = (target,), self
        return copy


def _check_sequence(args: object) -> None:
    # A string is a sequence too: args="ab" would be two arguments.
    if isinstance(args, str | bytes) or not isinstance(args, Sequence):
        raise TaskDefinitionError(
            f"args must be a tuple or a list of arguments, got {args!r}: write ({args!r},) for one"
        )


def _check_options(definition: Definition, fn: Callable[..., Any]) -> dict[str, object]:
    # Without options nothing is asked, so that a mere `@task` does not load the plugins.
    if not definition.options:
        return {}
    from jtask.plugins import get_plugins

    plugins = get_plugins()
    name = definition.name_for(fn)
    return check_options(definition.options, plugins.options, name, plugins.find_unloaded)
