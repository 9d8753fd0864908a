"""What `@task(...)` was told, checked."""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict, cast, get_args

from jtask.declaration.builtin_options import BuiltinOptions
from jtask.declaration.keys import check_name
from jtask.durations import HORIZON
from jtask.errors import TaskDefinitionError
from jtask.foreign_text import quoted, sendable
from jtask.names import LONGEST_NAME, TOP_PRIORITY
from jtask.numbers import is_within

SerializerName = Literal["json", "cloudpickle"]
Kind = Literal["plain", "static", "class"]
Instant = float | datetime | timedelta
# Options of a call in Prefect: free for the same use here.
_RESERVED = frozenset({"wait_for", "return_state"})
_SERIALIZERS: tuple[str, ...] = get_args(SerializerName)


class OwnOptions(TypedDict, total=False):
    """What `@task(...)` takes by itself; all else is for plugins.

    Attributes:
        name: For people; default: the function's name.
        key: What workers know it by; default: the name and a hash of it and of the function's
            qualified name.
        description: Default: the docstring.
        tags: Kept with every run.
        version: A free text kept with every run.
        queue: Where runs wait; default: a queue of the task's own.
        priority: 0 to 9; a worker takes higher ones first.
        serializer: `"json"` (default), or `"cloudpickle"` for what JSON cannot carry.
    """

    name: str | None
    key: str | None
    description: str | None
    tags: Iterable[str] | None
    version: str | None
    queue: str | None
    priority: int
    serializer: SerializerName | None


class TaskOptions(OwnOptions, BuiltinOptions, total=False):
    """What type checkers and editors accept in `@task(...)` and `@flow(...)`."""


OWN_OPTIONS = tuple(OwnOptions.__annotations__)


@dataclass(frozen=True, slots=True)
class Definition:
    """The options of one task; None is "not said".

    Attributes:
        kind: Whether the function stands in a class as a static or class method.
        delay: Seconds from the call before which runs do not start.
        delay_name: What the caller knows the delay by, for messages.
        eta: The instant before which runs do not start.
        expires: The instant, or time from the call, after which runs do not start.
        options: Options that plugins declare.
    """

    name: str | None = None
    key: str | None = None
    description: str | None = None
    tags: frozenset[str] = frozenset()
    version: str | None = None
    queue: str | None = None
    priority: int = 0
    serializer: SerializerName | None = None
    kind: Kind = "plain"
    delay: float | timedelta | None = None
    delay_name: Literal["delay", "countdown"] = "delay"
    eta: datetime | float | None = None
    expires: Instant | None = None
    options: Mapping[str, object] = field(default_factory=dict[str, object])

    def __post_init__(self) -> None:
        _check_label("name", self.name)
        _check_label("version", self.version)
        _check_text("description", self.description)
        if self.key is not None:
            check_name("key", self.key)
        if self.queue is not None:
            check_name("queue", self.queue)
        if self.serializer not in (None, *_SERIALIZERS):
            raise TaskDefinitionError(
                f"there is no serializer {self.serializer!r}: use one of {', '.join(_SERIALIZERS)}"
            )
        if not is_within(self.priority, most=TOP_PRIORITY, whole=True):
            raise TaskDefinitionError(
                f"priority must be a whole number from 0 to {TOP_PRIORITY}, got {self.priority!r}"
            )
        if self.delay is not None and self.eta is not None:
            raise TaskDefinitionError(f"give either {self.delay_name} or eta, not both")
        # As of 1970: here they are given, though only a call can tell what they lead to.
        self.not_before(0.0)
        self.not_after(0.0)

    def name_for(self, fn: Callable[..., Any]) -> str:
        """Return the name of a task made of a function: the given one, else the function's."""
        return self.name or function_name(fn)

    def changed(self, **changes: Any) -> "Definition":
        """Return a copy with those changes that are not None."""
        return replace(self, **{name: v for name, v in changes.items() if v is not None})

    def with_options(self, options: Mapping[str, object], **own: Any) -> "Definition":
        """Return a copy with those of jtask's own options that are not None, and plugins' options.

        Raises:
            TaskDefinitionError: A value is not acceptable.
        """
        if own.get("tags") is not None:
            own["tags"] = check_tags(own["tags"])
        return self.changed(**own, options={**self.options, **options} if options else None)

    def not_before(self, now: float) -> float | None:
        """Return the instant before which a run called now does not start; None is now."""
        if self.eta is not None:
            return instant_of("eta", self.eta, now)
        if self.delay is not None:
            seconds = _seconds(self.delay_name, self.delay)
            return _within_horizon(self.delay_name, now + seconds, self.delay)
        return None

    def not_after(self, now: float) -> float | None:
        """Return the instant after which a run called now does not start; None is never."""
        if self.expires is None:
            return None
        return instant_of("expires", self.expires, now, relative=True)


def instant_of(option: str, value: Instant, now: float, *, relative: bool = False) -> float:
    """Return the instant that an option names, seconds since the epoch.

    Args:
        option: Its name, for messages.
        value: A datetime, a time from now, or a number.
        now: What such a time is counted from.
        relative: Whether a number is a time from now too.

    Raises:
        TaskDefinitionError: It names none, or one beyond HORIZON.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            # It would be another instant on a worker in another time zone.
            raise TaskDefinitionError(
                f"{option} {value.isoformat()} has no time zone: add one, such as datetime.UTC"
            )
        return _within_horizon(option, value.timestamp(), value)
    allowed = "a datetime, a timedelta" if relative else "a datetime"
    seconds = _seconds(option, value, allowed)
    at = now + seconds if relative or isinstance(value, timedelta) else seconds
    return _within_horizon(option, at, value)


def _within_horizon(option: str, at: float, value: object) -> float:
    if at > HORIZON:
        hint = "" if isinstance(value, datetime | timedelta) else "; give seconds, not milliseconds"
        raise TaskDefinitionError(
            f"{option} {value!s:.100} ends after the year 2199, beyond what a broker can keep{hint}"
        )
    # Long ago is long enough ago: brokers count from 1970.
    return max(at, 0.0)


def unwrap(fn: Any) -> tuple[Callable[..., Any], Kind]:
    """Return the function in a static or class method, and which of these it was.

    Raises:
        TaskDefinitionError: Not a function that can be a task.
    """
    kind: Kind = "plain"
    if isinstance(fn, staticmethod | classmethod):
        kind = "static" if isinstance(fn, staticmethod) else "class"
        fn = cast("Any", fn).__func__
    if isinstance(fn, type) or not callable(fn):
        hint = "; give options by name, such as name=..." if isinstance(fn, str) else ""
        raise TaskDefinitionError(f"a task needs a function, got {fn!r}{hint}")
    _check_parameters(fn)
    if kind == "plain" and _looks_like_class_method(fn):
        raise class_method_around(fn)
    return fn, kind


def class_method_around(fn: Callable[..., Any]) -> TaskDefinitionError:
    """Return the error for `@classmethod` above `@task`, where the task never gets the class.

    Until Python 3.12 a class method asks what it wraps to bind itself, from 3.13 on it does not.
    """
    return TaskDefinitionError(
        f"task {function_name(fn)!r} is a class method: put @task above @classmethod, "
        f"not below it; if it is not one, rename its first parameter from 'cls'"
    )


def function_name(fn: Any) -> str:
    """Return what people call a function, or an object that is called like one."""
    return str(getattr(fn, "__name__", None) or type(fn).__name__)


def is_coroutine_function(fn: Callable[..., Any]) -> bool:
    """Tell whether calling gives a coroutine, for callable objects too."""
    return _is_or_calls(fn, inspect.iscoroutinefunction)


def is_generator_function(fn: Callable[..., Any]) -> bool:
    """Tell whether calling gives a generator, for callable objects too."""
    return _is_or_calls(fn, inspect.isgeneratorfunction)


def is_async_generator_function(fn: Callable[..., Any]) -> bool:
    """Tell whether calling gives an asynchronous generator, for callable objects too."""
    return _is_or_calls(fn, inspect.isasyncgenfunction)


def _is_or_calls(fn: Callable[..., Any], is_kind: Callable[[Any], bool]) -> bool:
    # Of a callable object, its `__call__` says what a call gives.
    return is_kind(fn) or is_kind(getattr(fn, "__call__", None))  # noqa: B004


def check_tags(tags: Iterable[str]) -> frozenset[str]:
    """Return tags as a set.

    Raises:
        TaskDefinitionError: A string instead of several, or something that is not a string.
    """
    if isinstance(tags, str):
        raise TaskDefinitionError(f"tags must be a list or set of strings, got the string {tags!r}")
    if not isinstance(tags, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TaskDefinitionError(f"tags must be a list or set of strings, got {tags!r}")
    found = list(tags)
    for tag in found:
        if not isinstance(tag, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TaskDefinitionError(f"tags must be strings, got {tag!r}")
    return frozenset(found)


def _check_parameters(fn: Callable[..., Any]) -> None:
    try:
        parameters = inspect.signature(fn).parameters
    except (TypeError, ValueError):
        raise TaskDefinitionError(
            f"{function_name(fn)!r} has no signature that Python can inspect: wrap it in a function"
        ) from None
    if taken := _RESERVED & set(parameters):
        raise TaskDefinitionError(
            f"task {function_name(fn)!r}: the parameter name {min(taken)!r} is reserved: rename it"
        )


def _looks_like_class_method(fn: Callable[..., Any]) -> bool:
    """Tell whether a function in a class body takes the class: it stands below `@classmethod`."""
    around, _, _ = getattr(fn, "__qualname__", "").rpartition(".")
    if not around or around.endswith("<locals>"):
        return False
    return next(iter(inspect.signature(fn).parameters), None) == "cls"


def _check_text(option: str, value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise TaskDefinitionError(f"{option} must be a string, got {value!r}")


def _check_label(option: str, value: str | None) -> None:
    """Refuse what goes into each message, and is not to be read there."""
    _check_text(option, value)
    if value is None:
        return
    if len(value) > LONGEST_NAME:
        raise TaskDefinitionError(
            f"{option} must have at most {LONGEST_NAME} characters, got {quoted(value)}"
        )
    if sendable(value) != value:
        raise TaskDefinitionError(
            f"{option} must be text that UTF-8 can carry, got {quoted(value)}"
        )


def _seconds(option: str, value: object, allowed: str = "a timedelta") -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if not is_within(value, -math.inf):
        raise TaskDefinitionError(
            f"{option} must be {allowed} or a finite number of seconds, got {value!r}"
        )
    return float(value)
