"""Options that several commands share."""

from typing import TYPE_CHECKING, Any

import click

from jtask.durations import parse_seconds

if TYPE_CHECKING:
    _ParamType = click.ParamType[float]
else:  # older versions of click have no generic one
    _ParamType = click.ParamType


class Seconds(_ParamType):
    """A length of time: `90`, `1.5s`, `10m`, `1h`, `7d`."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds."""
        if isinstance(value, int | float):
            return float(value)
        try:
            return parse_seconds(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


SECONDS = Seconds()
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
