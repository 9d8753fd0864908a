"""The options of `@task(...)` that say whether and when a failed run is tried again."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from jtask.numbers import is_number, is_within
from jtask.options import Option, check_parameters
from jtask.retries import LONGEST_LIST


def declared() -> list[Option]:
    """Return the options, each with its check."""
    return [
        Option(
            "retries",
            check=_count,
            help="How many times to retry a failed run.",
            travels=True,
        ),
        Option(
            "retry_delay_seconds",
            check=_delay,
            help="Seconds before each retry: a number, a list, or a function of `retries`.",
            travels=True,
        ),
        Option(
            "retry_jitter_factor",
            check=_jitter,
            help="Randomise each delay, up to delay * (1 + factor); the mean stays the same.",
            travels=True,
        ),
        Option(
            "retry_condition_fn",
            check=_condition,
            help="Called with task, run and state; return true to retry.",
        ),
        Option("retry_on", check=_exceptions, help="Retry only these exceptions."),
    ]


def delays_of(value: object) -> list[float]:
    """Return a list of delays, checked.

    Raises:
        ValueError: Not a list of at most 50 numbers of 0 or more.
    """
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be seconds or a list of them, got {value!r}")
    given = list(cast("Sequence[object]", value))
    if len(given) > LONGEST_LIST:
        raise ValueError(f"takes at most {LONGEST_LIST} delays, got {len(given)}")
    return [_seconds(delay) for delay in given]


def _count(value: object) -> int | None:
    if value is None:
        return None
    # A bool is an int: `retries=True` would be one retry, which nobody means.
    if not is_within(value, whole=True):
        raise ValueError(f"must be a whole number, 0 or more, got {value!r}")
    return int(value)


def _delay(value: object) -> Any:
    if callable(value):
        check_parameters(value, "retries")
    if value is None or callable(value):
        return value
    return _seconds(value) if is_number(value) else delays_of(value)


def _jitter(value: object) -> float | None:
    if value is None:
        return None
    if not is_within(value):
        raise ValueError(f"must be a number, 0 or more, got {value!r}")
    return float(value)


def _condition(value: object) -> Callable[..., Any] | None:
    if value is None:
        return None
    if not callable(value):
        raise ValueError(f"must be a function of task, run and state, got {value!r}")
    check_parameters(value, "task", "run", "state")
    return value


def _exceptions(value: object) -> tuple[type[Exception], ...] | None:
    if value is None:
        return None
    # One class alone is taken too, as `except` takes it.
    several = isinstance(value, list | tuple)
    given: list[Any] = [*cast("Sequence[Any]", value)] if several else [value]
    if not given:
        raise ValueError("names no exception, so nothing would be tried again: leave it out")
    for kind in given:
        # No BaseException: KeyboardInterrupt, SystemExit and cancellations are never retried.
        if not isinstance(kind, type) or not issubclass(kind, Exception):
            raise ValueError(f"must be Exception classes, got {kind!r}")
    return tuple(given)


def _seconds(value: object) -> float:
    if not is_within(value):
        raise ValueError(f"must be 0 or more seconds, got {value!r}")
    return float(value)
