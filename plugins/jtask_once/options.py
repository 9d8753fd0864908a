"""The options of `@task(...)` and `.with_options(...)` that make one run of several calls."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from jtask.argument_keys import check_key, check_names
from jtask.durations import LONGEST
from jtask.numbers import is_within
from jtask.options import Option

SHORTEST_DEBOUNCE = 1.0
"""Seconds: a broker cannot exchange what is due sooner."""


def declared() -> list[Option]:
    """Return the options, each with its check. All are for the caller: none has to travel."""
    return [
        Option(
            "idempotency_key",
            check=_key,
            fits=check_names,
            help="Calls with the same key are one run, for as long as its outcome is kept: a "
            'template such as "{order_id}", or a function of the call and its arguments.',
            for_caller=True,
        ),
        Option(
            "unique",
            check=_unique,
            fits=check_names,
            help="At most one run with the same key that is not over: True is the task with all "
            "its arguments; else a template, or a function of the call and its arguments.",
            for_caller=True,
        ),
        Option(
            "on_conflict",
            default="raise",
            check=_conflict,
            help='What a call gets whose key is taken: "raise" a NotUnique, or the "existing" run.',
            for_caller=True,
            needs=("unique",),
        ),
        Option(
            "debounce",
            check=_debounce,
            agree=_agree_debounce,
            help="Seconds without another call after which the last one is executed.",
            for_caller=True,
        ),
        Option(
            "debounce_key",
            check=_key,
            fits=check_names,
            help="Which calls are debounced together, as a template or a function; all without it.",
            for_caller=True,
            needs=("debounce",),
        ),
    ]


def _key(value: object) -> object:
    return check_key(value, of="call")


def _unique(value: object) -> object:
    if isinstance(value, bool):
        return True if value else None
    return _key(value)


def _conflict(value: object) -> object:
    if value not in ("raise", "existing"):
        raise ValueError(f"must be 'raise' or 'existing', got {value!r}")
    return value


def _debounce(value: object) -> float | None:
    if value is None:
        return None
    seconds: Any = value.total_seconds() if isinstance(value, timedelta) else value
    if not is_within(seconds, SHORTEST_DEBOUNCE, LONGEST):
        raise ValueError(
            f"must be a timedelta, or seconds, of at least 1 s and at most 100 years, got {value!r}"
        )
    return float(seconds)


def _agree_debounce(options: Mapping[str, object]) -> None:
    if options["debounce"] is None:
        return
    for other in ("idempotency_key", "unique"):
        if options.get(other) is not None:
            raise ValueError(f"does not go with {other}=")
