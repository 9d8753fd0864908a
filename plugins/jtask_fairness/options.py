"""The option of `@task(...)` that says whose runs take turns."""

from typing import Any

from jtask.options import Option, check_parameters


def declared() -> list[Option]:
    """Return the option, with its check."""
    return [
        Option(
            "fair_key",
            check=_key,
            help='Whose runs take turns: a template such as "{tenant}", or a function of the call '
            "and its arguments.",
            for_caller=True,
        )
    ]


def _key(value: object) -> object:
    if value is None or (isinstance(value, str) and value):
        return value
    if not callable(value):
        raise TypeError(
            f"must be a text or a function of the call and its arguments, got {value!r}"
        )
    function: Any = value
    check_parameters(function, "context", "parameters")
    return value
