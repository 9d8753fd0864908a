"""Annotations of what can be walked through, as types whose values come back.

pydantic makes a one-shot iterator of its own of whatever is given for an `Iterable[T]`, here and
where the value arrives.
"""

import types
import typing
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
)
from typing import Annotated, Any, Literal, get_args, get_origin

from jtask.errors import ArgumentError
from jtask.nested_values import find_nested

# Reading one uses it up.
_ONE_SHOT: tuple[Any, ...] = (Generator, Iterator, AsyncGenerator, AsyncIterable, AsyncIterator)


def repeatable(annotation: Any) -> Any:
    """Return an annotation with each `Iterable[T]` in it as the types that hold such values.

    What is none of these, such as a range, becomes a list. An iterator counts as Any, so that its
    value is refused.
    """
    args, origin = get_args(annotation), get_origin(annotation)
    plain = origin or annotation
    if is_one_shot(annotation):
        return Any
    if plain is Iterable:
        item: Any = repeatable(args[0]) if args else Any
        return list[item] | tuple[item, ...] | set[item] | frozenset[item] | deque[item]
    if not args or origin is Literal:
        return annotation
    if origin is Annotated:
        return Annotated[(repeatable(args[0]), *args[1:])]
    own = tuple(map(repeatable, args))
    if own == args:
        return annotation
    generic: Any = typing.Union if origin is types.UnionType else origin
    return generic[own]


def is_one_shot(annotation: Any) -> bool:
    """Tell whether an annotation is that of an iterator or a generator."""
    plain = get_origin(annotation) or annotation
    return any(plain is kind for kind in _ONE_SHOT)


def refuse_to_read_again(task_name: str, calls: object) -> None:
    """Refuse iterators among the arguments of calls that were checked once, and have to be again.

    Args:
        task_name: For the message.
        calls: The arguments.

    Raises:
        ArgumentError: There is one, of which nothing may be left.
    """
    if found := find_nested(calls, Iterator):
        raise ArgumentError(
            f"task {task_name!r}: {found[0]!r:.100} can be read once only, which is not enough for "
            "many calls at once: pass a list of what it gives"
        )
