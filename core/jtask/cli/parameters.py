"""Options that several commands share."""

from typing import TYPE_CHECKING, Any

import click

from jtask.durations import parse_seconds

if TYPE_CHECKING:
    _ParamType = click.ParamType[float]
else:  # older versions of click have no generic one
    _ParamType = click.ParamType


class Number(_ParamType):
    """A string that stands for a number, as `read` tells; a default may be the number itself."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number."""
        if isinstance(value, int | float):
            return float(value)
        try:
            return self.read(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def read(self, text: str) -> float:
        """Return the number that a string stands for.

        Raises:
            ValueError: It does not stand for one; the message says what does.
        """
        raise NotImplementedError


class Seconds(Number):
    """A length of time: `90`, `1.5s`, `10m`, `1h`, `7d`."""

    name = "seconds"

    def read(self, text: str) -> float:
        """Return seconds."""
        return parse_seconds(text)


SECONDS = Seconds()
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
