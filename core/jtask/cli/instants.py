"""Options that take an instant."""

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from jtask.durations import parse_seconds

if TYPE_CHECKING:
    _ParamType = click.ParamType[float]
else:  # older versions of click have no generic one
    _ParamType = click.ParamType


class Instant(_ParamType):
    """A date and time in ISO 8601, local unless it names a zone; gives seconds since the epoch.

    Args:
        ago: Whether a length of time such as `2h` is taken too, and means so long ago.
    """

    name = "instant"

    def __init__(self, *, ago: bool = False) -> None:
        self._ago = ago

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds since the epoch."""
        if isinstance(value, int | float):
            return float(value)
        try:
            return datetime.fromisoformat(value).timestamp()
        except ValueError:
            return self._before_now(value, param, ctx)

    def _before_now(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if not self._ago:
            self.fail(f"{value!r} is no instant: use 2031-05-04T18:30 or 2031-05-04", param, ctx)
        try:
            return time.time() - parse_seconds(value)
        except ValueError:
            self.fail(
                f"{value!r} is no instant: use 2031-05-04T18:30, or 2h for so long ago", param, ctx
            )


INSTANT = Instant()
PAST = Instant(ago=True)
