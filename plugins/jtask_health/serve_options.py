"""The options that `jtask serve` gets; each puts a setting, so that supervised workers have it.

Such a setting goes into the environment, which the workers of a supervisor inherit.
"""

from typing import Any

import click

from jtask.cli.parameters import SECONDS


def serve_options() -> list[click.Option]:
    """Return the options."""
    return [
        click.Option(
            ["--health-port"],
            type=click.IntRange(0, 65535),
            expose_value=False,
            callback=_put,
            help="Answer /livez, /readyz and /status over HTTP on this port; 0 picks a free one.",
        ),
        click.Option(
            ["--give-up-after"],
            type=SECONDS,
            metavar="S",
            expose_value=False,
            callback=_put,
            help="Exit with code 4 if the worker cannot get runs for this long; "
            "by default, keeps trying.",
        ),
    ]


def _put(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    if value is not None and not ctx.resilient_parsing:
        from jtask.settings import put_settings  # slow to import, and not needed for the help

        put_settings(**{str(option.name): value})
