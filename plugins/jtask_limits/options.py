"""The options of `@task(...)` that say how many of its runs execute at once."""

from functools import partial

from jtask.argument_keys import check_key, check_names
from jtask.numbers import is_number
from jtask.options import Option


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
            check=partial(check_key, of="run"),
            fits=check_names,
            help='What the limit is for: a template such as "{tenant}", or a function of the run '
            "and its arguments. Each key has a limit of its own.",
            needs=("limit",),
        ),
    ]


def _limit(value: object) -> object:
    if value is not None and not (is_number(value, whole=True) and value >= 1):
        raise ValueError(f"must be a whole number of at least 1, got {value!r}")
    return value
