"""The options of `@task(...)` that say what is kept, under which key, and for how long."""

import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from jtask.argument_keys import check_fields, check_template, fields_of
from jtask.cache_policies import CachePolicy
from jtask.durations import LONGEST
from jtask.numbers import is_within
from jtask.options import Option, check_flag, check_parameters

_KNOWN = ("parameters", "task_run", "flow_run")  # what the template of a key may name
_OF_RUN = "parameters["


def declared() -> list[Option]:
    """Return the options, each with its check."""
    return [
        Option(
            "cache_policy",
            check=_policy,
            help="What makes two runs the same work; see `jtask.cache_policies`.",
        ),
        Option(
            "cache_key_fn",
            check=_key_fn,
            help="Called with the run and its arguments; returns the key. Counts before a policy.",
        ),
        Option(
            "cache_expiration",
            check=_expiration,
            help="How long a value is kept: a timedelta, or seconds.",
            needs=("cache_policy", "cache_key_fn", "result_storage_key"),
        ),
        Option(
            "refresh_cache",
            check=check_flag,
            help="Execute although a value is kept, and replace it.",
            travels=True,
        ),
        Option(
            "persist_result", check=check_flag, help="False keeps nothing, whatever the policy."
        ),
        Option(
            "result_storage_key",
            check=_template,
            fits=_check_names,
            help='The key as a template, such as "{parameters[name]}". Counts before all others.',
        ),
    ]


def _policy(value: object) -> object:
    if value is not None and not isinstance(value, CachePolicy):
        raise TypeError(f"must be a policy of jtask.cache_policies, such as INPUTS, got {value!r}")
    return value


def _key_fn(value: object) -> object:
    if value is None:
        return None
    if not callable(value):
        raise TypeError(f"must be a function of the run and its arguments, got {value!r}")
    check_parameters(value, "context", "parameters")
    return value


def _expiration(value: object) -> float | None:
    if value is None:
        return None
    seconds: Any = value.total_seconds() if isinstance(value, timedelta) else value
    if not is_within(seconds, 1.0, LONGEST):
        raise ValueError(
            "must be a timedelta, or seconds, of at least 1 s and at most 100 years, "
            f"got {value!r}; leave it out to keep values for good"
        )
    return float(seconds)


def _template(value: object) -> object:
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise TypeError(f"must be a text with placeholders, got {value!r}")
    check_template(value)
    return value


def _check_names(value: object, function: Callable[..., Any]) -> None:
    if not isinstance(value, str):
        return
    fields = fields_of(value)
    check_fields(value, fields, _KNOWN)
    of_run = [field.removeprefix(_OF_RUN) for field in fields if field.startswith(_OF_RUN)]
    check_fields(value, of_run, inspect.signature(function).parameters)
