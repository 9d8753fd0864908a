"""The options of `@task(...)` that say how many of its runs execute at once."""

from typing import Any

from jtask.numbers import is_number
from jtask.options import Option, check_parameters


def declared() -> list[Option]:
    """Return the options, each with its check."""
    return [
        Option(
            "limit",
            check=_limit,
            help="How many of its runs execute at once, on all workers together.",
        ),
        Option(
            "limit_key",
            check=_key,
            help='What the limit is for: a template such as "{tenant}", or a function of the run '
            "and its arguments. Each key has a limit of its own.",
        ),
    ]


def _limit(value: object) -> object:
    if value is not None and not (is_number(value, whole=True) and value >= 1):
        raise ValueError(f"must be a whole number of at least 1, got {value!r}")
    return value


def _key(value: object) -> object:
    if value is None or (isinstance(value, str) and value):
        return value
    if not callable(value):
        raise TypeError(f"must be a text or a function of the run and its arguments, got {value!r}")
    function: Any = value
    check_parameters(function, "context", "parameters")
    return value
