"""What is known of a task: its function and what `@task(...)` was told. Facts only, no verbs.

Everything below `jtask.tasks` takes a `TaskInfo`, so that a run can be encoded, executed and
settled by code that knows nothing of how a task is called or delayed.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any, Generic, ParamSpec, Self, SupportsIndex, TypeVar, cast

from jtask.declaration.definition import Definition, SerializerName
from jtask.declaration.keys import task_key

P = ParamSpec("P")
R = TypeVar("R")
_INTERNAL = frozenset(
    {
        "bound",
        "codecs",
        "copied",
        "definition",
        "forget_settings",
        "hooks",
        "is_alike",
        "kept",
        "original",
        "overrides",
        "owner",
        "unbound",
    }
)


def is_internal(name: str, internal: Collection[str]) -> bool:
    """Tell whether a name is one that a console need not complete: internal, or private."""
    return name in internal or (name.startswith("_") and not name.startswith("__"))


class TaskInfo(Generic[P, R]):
    """The facts of one task; `jtask.Task` adds what can be done with it.

    `P` are the function's parameters, `R` what it returns or, for an asynchronous one, what
    awaiting it gives.

    Args:
        fn: The function.
        definition: The options that `@task(...)` was given.
        options: Those of them that plugins declare, checked.

    Attributes:
        fn: The function itself: `task.fn(...)` bypasses everything.
        definition: The options, as given.
        name: For people.
        key: What a worker knows the task by; also its queue's name unless it has another.
        other_keys: Keys that callers give it who import its file by another name.
        queue: Where its runs wait.
        description: The docstring's text unless given.
        tags: On every run of the task.
        version: A free text kept with its runs.
        serializer: How arguments and results travel.
        priority: 0 (default) to 9, higher first.
        options: What plugins declared and the task set.
        is_flow: Whether it was declared with `@flow`.
        is_async: Whether `fn` is a coroutine function, or an asynchronous generator.
        is_generator: Whether `fn` is a generator, asynchronous or not.
        bound: What a method is bound to: the arguments that come before the caller's.
        unbound: The task that this one is a bound copy of; None unless it is one.
        original: The task that `with_options` made this copy of; None unless it is one.
        overrides: What such a copy was given that a worker has to be told of with each run.
        owner: The class in whose body the task was assigned; None outside of classes.
        kept: What was worked out for the task, see `kept_in_task`.
    """

    is_async = False
    is_flow = False
    is_generator = False

    def __init__(
        self,
        fn: Callable[..., Any],
        definition: Definition,
        options: Mapping[str, object],
    ) -> None:
        self.fn = fn
        self.definition = definition
        self.bound: tuple[Any, ...] = ()
        self.unbound: TaskInfo[..., R] | None = None
        self.original: TaskInfo[..., R] | None = None
        self.overrides: Mapping[str, object] = {}
        self.owner: type | None = None
        self.kept: dict[object, Any] = {}
        self.name = definition.name_for(fn)
        # Not inspect.getdoc: for a method that searches the class, and finds this task there.
        self.description = definition.description or inspect.cleandoc(fn.__doc__ or "")
        self.tags = definition.tags
        self.version = definition.version
        self.priority = definition.priority
        self.options = dict(options)
        self.other_keys: tuple[str, ...] = ()
        self.key = definition.key or task_key(self.name, fn)
        # Without `__dict__`: an attribute of the function must not replace one of the task.
        functools.update_wrapper(cast("Any", self), fn, updated=())

    def __set_name__(self, owner: type, name: str) -> None:
        self.owner = owner

    def __repr__(self) -> str:
        return f"<task {self.name!r} key={self.key!r}>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        # As the function alone would be pickled: by name, where that leads here. `__main__` is
        # another module in the next process.
        name: str = getattr(self, "__qualname__", "")  # a partial has none
        found: Any = None if self.__module__ == "__main__" else sys.modules.get(self.__module__)
        for part in name.split("."):
            found = getattr(found, part, None)
        return name if found is self else super().__reduce_ex__(protocol)

    def __getstate__(self) -> dict[str, Any]:
        # Hooks and codecs cannot be pickled; a copy works them out anew.
        return {**vars(self), "kept": {}}

    def __dir__(self) -> list[str]:
        # What a console completes: not what only jtask itself uses.
        return [name for name in super().__dir__() if not is_internal(name, _INTERNAL)]

    @property
    def body(self) -> Callable[..., Any]:
        """What a worker calls: the function, or what reads it to its end if it is a generator."""
        return self.fn

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """The function's signature."""
        return inspect.signature(self.fn)

    @functools.cached_property
    def queue(self) -> str:
        """Where its runs wait: `queue=`, else the setting, else a queue of its own."""
        from jtask.settings import get_settings

        return self.definition.queue or get_settings().queue or self.key

    @property
    def queues(self) -> tuple[str, ...]:
        """All queues in which its runs may wait."""
        own = self.queue == self.key
        return (self.queue, *self.other_keys) if own else (self.queue,)

    @functools.cached_property
    def serializer(self) -> SerializerName:
        """How arguments and results travel: `serializer=`, else the setting."""
        from jtask.settings import get_settings

        return self.definition.serializer or get_settings().serializer

    @property
    def is_alike(self) -> bool:
        """Whether plugins need not tell it from the task that it is a copy of."""
        original = self.original
        return original is not None and _look(self) == _look(original)

    def copied(
        self,
        definition: Definition,
        options: Mapping[str, object],
        overrides: Mapping[str, object],
    ) -> Self:
        """Return a copy with other options; what has been worked out for the task is shared.

        Args:
            definition: All options of the copy, its key among them.
            options: Those of them that plugins declare, checked.
            overrides: Those that differ from what a worker has.
        """
        # Not by the constructor, which looks at the function anew: a copy is made for one call.
        copy: Self = object.__new__(type(self))
        vars(copy).update(vars(self))
        copy.forget_settings()
        copy.definition, copy.options, copy.overrides = definition, dict(options), overrides
        copy.original, copy.unbound = cast("Any", self), None
        copy.name = definition.name_for(self.fn)
        copy.description = definition.description or self.description
        copy.tags, copy.version = definition.tags, definition.version
        copy.priority = definition.priority
        return copy

    def forget_settings(self) -> None:
        """Read the settings and ask the plugins anew at the next use; for tests."""
        self.kept = {}
        for name in ("queue", "serializer"):
            vars(self).pop(name, None)


def _look(task: TaskInfo[..., Any]) -> tuple[object, ...]:
    return task.name, task.tags, task.version, task.definition.options
