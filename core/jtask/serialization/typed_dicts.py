"""TypedDicts of `typing` on Python 3.11, where pydantic takes those of `typing_extensions` only.

Importing this imports typing_extensions: do it where pydantic is imported. The file goes with
Python 3.11.
"""

import sys
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, NotRequired, Required, cast, get_args, get_origin

from typing_extensions import TypedDict

make_typed_dict = cast("Callable[[str, dict[str, Any]], Any]", TypedDict)
"""TypedDict called with names and types that only the running program knows."""


def acceptable(annotation: Any) -> Any:
    """Return an annotation with each TypedDict in it, in generics too, as pydantic takes it."""
    if sys.version_info >= (3, 12):
        return annotation
    return _acceptable(annotation, ())


def _acceptable(annotation: Any, above: tuple[Any, ...]) -> Any:
    # `above` ends a TypedDict that contains itself.
    if typing.is_typeddict(annotation) and annotation not in above:
        return _remade(annotation, (*above, annotation))
    args, origin = get_args(annotation), get_origin(annotation)
    if not args or origin is Literal or origin is Annotated:
        return _annotated(annotation, above) if origin is Annotated else annotation
    own: tuple[Any, ...] = tuple(_acceptable(arg, above) for arg in args)
    if own == args:
        return annotation
    generic: Any = typing.Union if origin is types.UnionType else origin
    return generic[own]


def _annotated(annotation: Any, above: tuple[Any, ...]) -> Any:
    inner, *metadata = get_args(annotation)
    return Annotated[(_acceptable(inner, above), *metadata)]


def _remade(typed_dict: Any, above: tuple[Any, ...]) -> Any:
    if type(typed_dict).__module__ != "typing":
        return typed_dict
    shape: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(typed_dict, include_extras=True).items():
        own = _acceptable(hint, above)
        said = get_origin(hint) in (Required, NotRequired)
        required = said or name in typed_dict.__required_keys__
        shape[name] = own if required else NotRequired[own]
    remade = make_typed_dict(typed_dict.__name__, shape)
    remade.__module__ = typed_dict.__module__
    return remade
