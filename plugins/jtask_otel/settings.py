"""The settings of the plugin for traces and metrics."""

from pydantic import Field

from jtask.settings import Seconds, SettingsModel


class OtelSettings(SettingsModel):
    """Whether runs are traced and counted, and how; OpenTelemetry's own `OTEL_*` say where to."""

    otel: bool | None = None
    """Whether jtask sets up OpenTelemetry; unset: where `OTEL_*` variables name an exporter."""
    otel_parent: bool = True
    """Whether a span of an attempt is a child of the one that published it; else only linked."""
    otel_create_spans: bool = True
    """Whether each run of `delay_many` has a span of its own."""
    otel_new_trace_after: Seconds = Field(default=300.0, gt=0)
    """An attempt that starts so long after the call begins a trace of its own, with a link."""
    metrics_host: str = "127.0.0.1"
    """Where a worker answers Prometheus."""
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    """Port of that; unset answers none, 0 picks a free one. More processes take the next ports."""
