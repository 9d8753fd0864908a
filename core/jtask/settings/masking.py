"""Settings as they may be shown: without passwords and other secrets."""

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, cast, get_args

from pydantic import BaseModel

MASK = "***"

_SECRET_NAME = re.compile(
    r"(credential|passphrase|password|secret|seed|token|(access|api|private|secret)_?key)s?$",
    re.IGNORECASE,
)
# Up to the last "@", which is where the hosts begin for jtask and for urllib alike: a password may
# hold "/", "," and "@" although it should not.
_URL_USER = re.compile(r"(?<=://)([^\s:@]*)(:?)\S*@")
_URL_PARAMETER = re.compile(r"(?<=[?&])([^=&\s]+)=([^&#\s]*)")


def masked(name: str, value: object) -> Any:
    """Return a value as JSON has it, secrets replaced.

    Args:
        name: Of the setting, or of a part of one; one that ends with `password`, `token`,
            `secret`, `seed`, `credentials`, `api_key` or the like is a secret.
        value: Of any type.
    """
    # Before the name is looked at: that a secret is not set is worth showing.
    if value is None:
        return None
    if hasattr(value, "get_secret_value") or _SECRET_NAME.search(name):
        return MASK
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, Enum):
        return masked(name, value.value)
    if isinstance(value, BaseModel):
        value = dict(value)
    if isinstance(value, Mapping):
        parts = cast("Mapping[object, object]", value)
        return {str(key): masked(str(key), part) for key, part in parts.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [masked(name, part) for part in cast("Iterable[object]", value)]
    return _without_passwords(str(value))


def may_hold_secret(annotation: object) -> bool:
    """Tell whether a raw value for a field may have a secret in it that its name does not tell."""
    if hasattr(annotation, "get_secret_value"):
        return True
    # A type alias has its type in `__value__`.
    parts: tuple[object, ...] = (*get_args(annotation), getattr(annotation, "__value__", None))
    if any(may_hold_secret(part) for part in parts if part is not None):
        return True
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _without_passwords(text: str) -> str:
    if "://" not in text:
        return text
    text = _URL_USER.sub(lambda found: f"{found[1] + ':' if found[2] else ''}{MASK}@", text)
    return _URL_PARAMETER.sub(_mask_parameter, text)


def _mask_parameter(found: re.Match[str]) -> str:
    return f"{found[1]}={MASK}" if _SECRET_NAME.search(found[1]) else found[0]
