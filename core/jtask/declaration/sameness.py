"""Whether two callables of one name can stand for each other, so that one key may mean both."""

import functools
import types
from collections.abc import Callable, Mapping
from typing import Any, cast

from jtask.declaration.task_info import TaskInfo

_DEPTH = 8  # of what functions hold of each other; one may hold itself
# Equal is the same for good. Of anything else only the very same object is.
_IMMUTABLE = frozenset({int, float, complex, str, bytes, bool, type(None), frozenset})


def interchangeable(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Tell whether one callable is the other, or the same definition once more.

    Not so two products of one factory, two lambdas, two bound methods or two callable objects: they
    have one name, and differ in what they hold.
    """
    return _alike(one, other, _DEPTH)


def _alike(one: Any, other: Any, depth: int) -> bool:
    if one is other or depth == 0:
        return True
    kind: Any = _exact_type(one)
    if kind is not _exact_type(other):
        # A class that has been defined again, with its objects.
        return str(kind) == str(_exact_type(other))
    compare = _COMPARE.get(kind)
    if compare is not None:
        return compare(one, other, depth - 1)
    if isinstance(one, TaskInfo):
        return _alike(cast("Any", one).fn, other.fn, depth - 1)
    return kind in _IMMUTABLE and bool(one == other)


def _exact_type(value: object) -> Any:
    return type(value)


def _functions(one: Any, other: Any, depth: int) -> bool:
    if one.__code__ is not other.__code__:
        # Defined anew by a reload or in a notebook, unless the name fits several: `<lambda>`.
        return "<" not in one.__qualname__ or one.__code__ == other.__code__
    held = (one.__defaults__, one.__kwdefaults__, one.__closure__)
    return _alike(held, (other.__defaults__, other.__kwdefaults__, other.__closure__), depth)


def _partials(one: Any, other: Any, depth: int) -> bool:
    held = (one.func, one.args, one.keywords)
    return _alike(held, (other.func, other.args, other.keywords), depth)


def _methods(one: Any, other: Any, depth: int) -> bool:
    return one.__self__ is other.__self__ and _alike(one.__func__, other.__func__, depth)


def _tuples(one: tuple[Any, ...], other: tuple[Any, ...], depth: int) -> bool:
    pairs = zip(one, other, strict=False)
    return len(one) == len(other) and all(_alike(*pair, depth) for pair in pairs)


def _dicts(one: Mapping[Any, Any], other: Mapping[Any, Any], depth: int) -> bool:
    # Of keywords and their defaults, which nobody changes.
    return one.keys() == other.keys() and all(_alike(one[k], other[k], depth) for k in one)


def _cells(one: Any, other: Any, depth: int) -> bool:
    try:
        return _alike(one.cell_contents, other.cell_contents, depth)
    except ValueError:  # not assigned yet
        return False


_COMPARE: Mapping[Any, Callable[[Any, Any, int], bool]] = {
    types.FunctionType: _functions,
    functools.partial: _partials,
    types.MethodType: _methods,
    types.CellType: _cells,
    tuple: _tuples,
    dict: _dicts,
}
