"""A function's parameters: arguments to a record by parameter name, and back."""

import functools
import inspect
import operator
import types
import typing
from collections.abc import Callable, Container, Generator, Iterable, Mapping
from itertools import takewhile
from typing import Any, Literal, get_args, get_origin

from jtask.declaration.binding import (
    bind_arguments,
    doubled_argument,
    missing_argument,
    unknown_argument,
)
from jtask.declaration.definition import is_async_generator_function, is_generator_function
from jtask.errors import ArgumentError
from jtask.states import State

_VAR_POSITIONAL = inspect.Parameter.VAR_POSITIONAL
_VAR_KEYWORD = inspect.Parameter.VAR_KEYWORD
_VAR = (_VAR_POSITIONAL, _VAR_KEYWORD)
_POSITIONAL_ONLY = inspect.Parameter.POSITIONAL_ONLY
_POSITIONAL_OR_KEYWORD = inspect.Parameter.POSITIONAL_OR_KEYWORD
BY_POSITION = "/"
"""The field of a record that says how many of its leading arguments were given by position."""


class CallSignature:
    """What one task's function can be called with.

    A record holds the given arguments by parameter name: those of `*args` as a tuple under its
    name, those of `**kwargs` as a dict under its name. Defaults are not part of it.

    Args:
        fn: A function, a method's function or a callable object.
        task_name: For messages.
        owner: The class that a method belongs to.
    """

    def __init__(self, fn: Callable[..., Any], task_name: str, owner: type | None = None) -> None:
        self.task_name = task_name
        self.signature = inspect.signature(fn)
        self.annotations = resolve_annotations(fn, owner)
        self.receiver = _receiver(self.signature, owner)
        parameters = list(self.signature.parameters.values())
        self._positional = [
            p.name for p in parameters if p.kind in (_POSITIONAL_ONLY, _POSITIONAL_OR_KEYWORD)
        ]
        self._positional_only = [p.name for p in parameters if p.kind is _POSITIONAL_ONLY]
        self._var_positional = _name_of_kind(parameters, _VAR_POSITIONAL)
        self._var_keyword = _name_of_kind(parameters, _VAR_KEYWORD)
        # Most functions: their calls are bound below without inspect, which takes much longer.
        self._flat = not (self._positional_only or self._var_positional or self._var_keyword)
        self.tells_apart = _tells_apart(fn)

    @property
    def plain_names(self) -> list[str] | None:
        """The names of its parameters where `bind` only puts them to the values; else None."""
        return self._positional if self._flat and not self.tells_apart else None

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the record of a call.

        For an ordinary signature it may lack required names or hold unknown ones: whoever checks
        the values finds that too, and calls `bind_strictly` to say why.

        Args:
            args: Positional arguments.
            kwargs: Keyword arguments.

        Raises:
            ArgumentError: They do not fit, or an argument is given twice.
        """
        if self._flat and len(args) <= len(self._positional):
            record = dict(zip(self._positional, args, strict=False))
            if not kwargs:
                return record
            size = len(record) + len(kwargs)
            # A name that is given twice shows in the length.
            record.update(kwargs)
            if len(record) == size:
                return record
        return self.bind_strictly(args, kwargs)

    def bind_strictly(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the record of a call that fits the signature.

        Args:
            args: Positional arguments.
            kwargs: Keyword arguments.

        Raises:
            ArgumentError: It does not fit.
        """
        return bind_arguments(self.task_name, self.signature, args, kwargs).arguments

    def spread(self, record: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what to call the function with for a complete record.

        Args:
            record: What `bind` returns, its values checked, perhaps with the field `BY_POSITION`;
                part of the answer may be this dict.

        Raises:
            ArgumentError: The extra keyword arguments name a parameter once more.
        """
        count = record.pop(BY_POSITION, None)
        if self._flat and not self.tells_apart:
            return (), record
        kwargs = dict(record)
        rest = kwargs.pop(self._var_positional, ())
        extra = kwargs.pop(self._var_keyword, {})
        args = [self._take(name, kwargs) for name in self._leading(kwargs, bool(rest), count)]
        if twice := [name for name in extra if name in self._by_keyword()]:
            raise self.error(doubled_argument(twice[0]))
        return (*args, *rest), {**kwargs, **extra}

    def missing(self, name: str) -> ArgumentError:
        """Return the error for a required argument that was not given."""
        return self.error(missing_argument(name))

    def unknown(self, name: str) -> ArgumentError:
        """Return the error for an argument that no parameter takes."""
        return self.error(unknown_argument(self.signature, name))

    def error(self, text: str) -> ArgumentError:
        """Return an error about this task's arguments."""
        return ArgumentError(f"task {self.task_name!r} {text}")

    def leading(self, given: Container[str]) -> list[str]:
        """Return the parameters up to the first that is not given, of those that take positions."""
        return list(takewhile(lambda name: name in given, self._positional))

    def _leading(self, given: Mapping[str, Any], rest: bool, count: int | None) -> list[str]:
        # What follows in *args shifts into any parameter before it that is left out.
        if rest:
            return self._positional
        names = self._positional_only
        while names and names[-1] not in given:
            names = names[:-1]
        if not self.tells_apart:
            return names
        leading = self.leading(given)
        return max(names, leading if count is None else leading[: max(0, count)], key=len)

    def _take(self, name: str, kwargs: dict[str, Any]) -> Any:
        if name in kwargs:
            return kwargs.pop(name)
        return self.signature.parameters[name].default

    def _by_keyword(self) -> set[str]:
        unnamed = {self._var_positional, self._var_keyword, *self._positional_only}
        return self.signature.parameters.keys() - unnamed


def resolve_annotations(fn: Callable[..., Any], owner: type | None = None) -> dict[str, Any]:
    """Return a function's annotations as types; what cannot be resolved counts as Any.

    `*args: T` is `tuple[T, ...]` here and `**kwargs: T` is `dict[str, T]`.
    """
    source = _annotated_function(fn)
    nearby = _names_nearby(source, owner)
    try:
        hints = typing.get_type_hints(source, localns=nearby, include_extras=True)
    except Exception:  # any name or expression in any of them
        hints = _resolve_each(source, nearby)
    if owner is not None:
        hints = {name: _of_class(annotation, owner) for name, annotation in hints.items()}
    for name, parameter in inspect.signature(fn).parameters.items():
        if parameter.kind in _VAR:
            hints[name] = _collected(parameter.kind, hints.get(name, Any))
    return hints


def result_annotation(fn: Callable[..., Any], owner: type | None = None) -> Any:
    """Return the type of what a function returns or, if that is awaited, of what comes out."""
    annotation = resolve_annotations(fn, owner).get("return", Any)
    origin = get_origin(annotation)
    if is_generator_function(fn) or is_async_generator_function(fn):
        # Generator[yielded, sent, returned]: the others do not say what it returns.
        args = get_args(annotation)
        return args[2] if origin is Generator and len(args) > 2 else Any
    if isinstance(origin, type) and issubclass(origin, typing.Awaitable):
        annotation = get_args(annotation)[-1]
    return _without_states(annotation)


def item_annotation(fn: Callable[..., Any], owner: type | None = None) -> Any:
    """Return the type of what a generator function yields."""
    args = get_args(resolve_annotations(fn, owner).get("return", Any))
    return args[0] if args else Any


def _of_class(annotation: Any, owner: type) -> Any:
    """Return an annotation with the class in whose body it stands in the place of `Self`."""
    if annotation is typing.Self:  # pyright: ignore[reportUnknownMemberType]
        return owner
    args = get_args(annotation)
    own = tuple(_of_class(arg, owner) for arg in args)
    if all(map(operator.is_, own, args)):
        return annotation
    origin = get_origin(annotation)
    return typing.Union[own] if origin is types.UnionType else origin[own]  # noqa: UP007


def _without_states(annotation: Any) -> Any:
    """Return what is sent of what is annotated: of a state that a task returns, its data."""
    args = get_args(annotation)
    if annotation is State or (args and all(arg is State or arg is ... for arg in args)):
        return Any
    if get_origin(annotation) in (types.UnionType, typing.Union) and State in args:
        return typing.Union[tuple(arg for arg in args if arg is not State)]  # noqa: UP007
    return annotation


def _annotated_function(fn: Any) -> Any:
    while isinstance(fn, functools.partial):
        fn = typing.cast("Any", fn).func
    if inspect.isroutine(fn) or isinstance(fn, type):
        return fn
    return type(fn).__call__


def _names_nearby(source: Any, owner: type | None) -> dict[str, Any]:
    """Return local classes that string annotations may name: the owner, and what is closed over."""
    nearby: dict[str, Any] = {owner.__name__: owner} if owner else {}
    plain: Any = inspect.unwrap(source)
    cells: Iterable[types.CellType] = getattr(plain, "__closure__", None) or ()
    code = getattr(plain, "__code__", None)
    for name, cell in zip(code.co_freevars if code else (), cells, strict=False):
        try:
            nearby[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return nearby


def _resolve_each(source: Any, nearby: dict[str, Any]) -> dict[str, Any]:
    module_names = getattr(inspect.unwrap(source), "__globals__", {})
    hints: dict[str, Any] = {}
    for name, annotation in getattr(source, "__annotations__", {}).items():
        alone: Any = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            hints |= typing.get_type_hints(alone, module_names, nearby, include_extras=True)
        except Exception:  # one that exists only for type checkers, say
            hints[name] = Any
    return hints


def _collected(kind: Any, annotation: Any) -> Any:
    if get_origin(annotation) is typing.Unpack:
        return get_args(annotation)[0]
    if kind is _VAR_POSITIONAL:
        return tuple[annotation, ...]
    return dict[str, annotation]


def _receiver(signature: inspect.Signature, owner: type | None) -> Literal["self", "cls"] | None:
    first = next(iter(signature.parameters.values()), None)
    if owner is None or first is None or first.annotation is not first.empty:
        return None
    if first.name == "self":
        return "self"
    return "cls" if first.name == "cls" else None


def _tells_apart(fn: Any) -> bool:
    """Tell whether it may matter to a function that an argument is given by position.

    Not to a function with a signature of its own. What stands around another, or in C, may take
    fewer forms than the signature that it shows.
    """
    while isinstance(fn, functools.partial):
        fn = typing.cast("Any", fn).func
    if not isinstance(fn, types.FunctionType):
        return True
    return hasattr(fn, "__wrapped__") or hasattr(fn, "__signature__")


def _name_of_kind(parameters: list[inspect.Parameter], kind: Any) -> str:
    return next((p.name for p in parameters if p.kind is kind), "")
