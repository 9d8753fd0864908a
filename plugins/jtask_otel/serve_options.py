"""The options that `jtask serve` gets; each puts a setting, so that supervised workers have it."""

import os
from typing import Any

import click


def serve_options() -> list[click.Option]:
    """Return the options."""
    return [
        click.Option(
            ["--otel"],
            is_flag=True,
            default=None,
            expose_value=False,
            callback=_put_otel,
            help="Export traces and metrics with OpenTelemetry, as the OTEL_* variables say.",
        ),
        click.Option(
            ["--metrics-port"],
            type=click.IntRange(0, 65535),
            expose_value=False,
            callback=_put_port,
            help="Show metrics to Prometheus over HTTP on this port; 0 picks a free one.",
        ),
    ]


def _put_otel(ctx: click.Context, _option: click.Parameter, value: Any) -> None:
    if not value or ctx.resilient_parsing:
        return
    from jtask.settings import put_settings
    from jtask_otel.environment import wanted
    from jtask_otel.providers import require

    # Here, where it ends the program with one sentence.
    asked = wanted(os.environ, told=True)
    require("traces", asked.traces)
    require("metrics", asked.metrics)
    put_settings(otel=True)


def _put_port(ctx: click.Context, _option: click.Parameter, value: Any) -> None:
    if value is None or ctx.resilient_parsing:
        return
    from jtask.settings import put_settings
    from jtask_otel.providers import require_prometheus

    require_prometheus()
    put_settings(metrics_port=value)
