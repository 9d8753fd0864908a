"""Keys that options of a task make of the arguments of a call, and the names that keep them."""

import hashlib
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from string import Formatter
from typing import TYPE_CHECKING, Any

from jtask.options import check_parameters

if TYPE_CHECKING:
    from jtask.runtime import EnqueueRequest, RunContext

_WIDE = re.compile(r"\d{4}|\{")
_NAMED = re.compile(r"[^\W\d]")
_ROOT = re.compile(r"[^.\[\]]+")
_PRIVATE = re.compile(r"[.\[]_")


def check_key(value: object, of: str) -> object:
    """Return an option's value that makes a key: None, a template, or a function of two arguments.

    Args:
        value: What was given.
        of: What the function is called with, beside the arguments: "run" or "call".

    Raises:
        TypeError: It is none of these.
        ValueError: It cannot be filled in, or called so.
    """
    if value is None:
        return None
    if isinstance(value, str) and value:
        check_template(value)
        return value
    if not callable(value):
        raise TypeError(
            f"must be a text or a function of the {of} and its arguments, got {value!r}"
        )
    check_parameters(value, "context", "parameters")
    return value


def check_names(value: object, function: Callable[..., Any]) -> None:
    """Refuse a template that names what is no parameter of a task's function.

    Args:
        value: An option's value, checked; what is no template is none of this function's business.
        function: The task's.

    Raises:
        ValueError: It names something else.
    """
    # Many a text has no placeholder, and a copy with one is made for each call.
    if isinstance(value, str) and (fields := fields_of(value)):
        check_fields(value, fields, inspect.signature(function).parameters)


def check_fields(template: str, fields: Iterable[str], known: Collection[str]) -> None:
    """Refuse a template with a placeholder that begins with an unknown name.

    Args:
        template: For the message.
        fields: What stands in its placeholders, such as `user.email`.
        known: The names.

    Raises:
        ValueError: One is unknown.
    """
    for field in fields:
        root = _ROOT.match(field)
        name = root[0] if root else field
        if name not in known:
            names = ", ".join(known) or "nothing, for the task has no parameters"
            raise ValueError(f"the template {template!r} names {name!r}; it may name: {names}")


def fields_of(template: str) -> list[str]:
    """Return what stands in the placeholders of a template that was checked, without forms."""
    return [field for _, field, _, _ in Formatter().parse(template) if field is not None]


def make_key(wanted: object, context: "EnqueueRequest | RunContext") -> object:
    """Return what an option makes of a call's arguments: a text, or whatever a function returns.

    Args:
        wanted: The option's value: a template, or a function; see `check_key`.
        context: The call, or the run that has come of it.

    Raises:
        Exception: None can be made: what a function raised, or why a template will not do.
    """
    if isinstance(wanted, str):
        return filled_in(wanted, context.parameters)
    function: Any = wanted
    return function(context, context.parameters)


def filled_in(template: str, values: Mapping[str, Any]) -> str:
    """Return a template with some values filled in.

    Somebody else's text may be given for a template: it must reach nothing but the values, and
    cost next to nothing.

    Raises:
        ValueError: See `check_template`.
        LookupError: It names no value that is there.
    """
    check_template(template)
    return template.format(**values)


def check_template(template: str) -> None:
    """Refuse a template that cannot be filled in, whatever the values are.

    Raises:
        ValueError: It has a brace too many, or a placeholder without a name; or one asks for what
            begins with `_`, or for thousands of characters.
    """
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{template!r} is no template: {error}; write {{{{ for a brace") from None
    for _, field, form, conversion in parts:
        if field is None:
            continue
        if not _NAMED.match(field):
            raise ValueError(f"the placeholder {field!r} of {template!r} has no name")
        if _PRIVATE.search(field):
            raise ValueError(f"the placeholder {field!r} names something private")
        if form and _WIDE.search(form):
            raise ValueError(f"the form {form!r} makes no key")
        if conversion and conversion not in "rsa":
            raise ValueError(
                f"the conversion '!{conversion}' of {template!r} is none of !r, !s, !a"
            )


def storable(text: str, longest: int) -> str:
    """Return a text as part of what a broker takes for a name: itself, or its SHA-256.

    Args:
        text: Any text.
        longest: How many characters may stay readable.
    """
    try:
        if len(text) <= longest and text.encode():
            return text
    except UnicodeEncodeError:
        pass
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
