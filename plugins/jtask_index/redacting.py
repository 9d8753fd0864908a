"""What `@task(redact=...)` may name."""

import inspect
import pathlib
import types
from collections.abc import Callable, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from jtask.close_names import close_names
from jtask.serialization.signatures import resolve_annotations

_KEYLESS = (  # what is no object in JSON, and holds none
    str,
    bytes,
    bool,
    int,
    float,
    Decimal,
    date,
    time,
    timedelta,
    UUID,
    pathlib.PurePath,
    types.NoneType,
)
_HOLDING = (Union, types.UnionType, list, tuple, set, frozenset, Sequence)


def check_redacted(names: Sequence[str], function: Callable[..., Any]) -> None:
    """Refuse a name that is neither a parameter of a function nor can be a key inside of one.

    Args:
        names: What is to be redacted.
        function: The task's.

    Raises:
        ValueError: It is not, by the annotations: what has none may hold anything.
    """
    parameters = inspect.signature(function).parameters
    strange = next((name for name in names if name not in parameters), None)
    if strange is None:
        return
    annotations = resolve_annotations(function)
    if any(_may_have_keys(annotations.get(name, Any)) for name in parameters):
        return
    near = close_names(strange, parameters)
    known = ", ".join(parameters) or "none"
    hint = f"did you mean {near[0]!r}?" if near else f"its parameters are: {known}"
    raise ValueError(f"{strange!r} is no parameter of the task, and no key inside of one; {hint}")


def _may_have_keys(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _may_have_keys(get_args(annotation)[0])
    if origin is Literal:
        return False
    if origin in _HOLDING:
        return any(_may_have_keys(one) for one in get_args(annotation) if one is not ...)
    return not (isinstance(annotation, type) and issubclass(annotation, _KEYLESS))
