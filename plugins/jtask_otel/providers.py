"""OpenTelemetry's SDK in this process: set up as the environment says.

A provider that the program has set itself is used as it is.
"""

import importlib.util
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import entry_points
from typing import Any, NamedTuple, cast

from jtask.errors import ConfigurationError
from jtask.settings import get_settings, settings_of
from jtask.signal_safety import SignalSafeLock
from jtask_otel.api_defaults import is_real
from jtask_otel.ends import ends
from jtask_otel.environment import Wanted, wanted
from jtask_otel.settings import OtelSettings

_GROUPS = {
    "traces": "opentelemetry_traces_exporter",
    "metrics": "opentelemetry_metrics_exporter",
    "logs": "opentelemetry_logs_exporter",
}
_log = logging.getLogger("jtask")


def set_up() -> bool:
    """Set up the SDK if the settings or the environment ask for it; once per process.

    What cannot be is logged, for a program must not fail because it is not watched.

    Returns:
        bool: Whether it was asked for.
    """
    return _setup.do(is_told=False)


def set_up_as_told() -> None:
    """Set up the SDK, with the exporters that the environment names or else OTLP.

    Raises:
        ConfigurationError: An exporter is not installed.
    """
    _setup.do(is_told=True)


def require(kind: str, names: tuple[str, ...]) -> list[Any]:
    """Return the classes of some exporters.

    Args:
        kind: `traces`, `metrics` or `logs`.
        names: Of their entry points.

    Raises:
        ConfigurationError: One is not installed, or cannot be loaded.
    """
    return [_load(kind, name) for name in names]


def require_prometheus() -> None:
    """Check that metrics can be shown to Prometheus.

    Raises:
        ConfigurationError: The package is not installed.
    """
    found = None
    with suppress(ModuleNotFoundError):
        found = importlib.util.find_spec("opentelemetry.exporter.prometheus")
    if found is None:
        raise ConfigurationError(
            "a metrics port needs the package opentelemetry-exporter-prometheus: "
            "pip install 'jtask[metrics]'"
        )


class _Exporters(NamedTuple):
    traces: list[Any]
    metrics: list[Any]
    logs: list[Any]


class _Setup:
    """What was set up in this process."""

    def __init__(self) -> None:
        self._lock = SignalSafeLock(is_brief=False)
        self._is_done = False
        self._was_asked = False

    def do(self, *, is_told: bool) -> bool:
        # Without the lock: each task comes this way once, most of them later.
        if self._is_done and not is_told:
            return self._was_asked
        with self._lock:
            if not self._is_done or (is_told and not self._was_asked):
                self._do(is_told=is_told)
        return self._was_asked

    def _do(self, *, is_told: bool) -> None:
        settings = settings_of(OtelSettings)
        asked = wanted(os.environ, True if is_told else settings.otel)
        shows_metrics = settings.metrics_port is not None
        self._was_asked = shows_metrics or any(asked)
        try:
            if self._was_asked:
                _provide(_exporters(asked, is_told=is_told), shows_metrics=shows_metrics)
        finally:
            # Not before: what other threads do meanwhile would not be recorded.
            self._is_done = True


def _provide(exporters: _Exporters, *, shows_metrics: bool) -> None:
    if exporters.traces:
        _provide_traces(exporters.traces)
    if exporters.metrics or shows_metrics:
        _provide_metrics(exporters.metrics, shows_metrics=shows_metrics)
    if exporters.logs:
        from jtask_otel.log_bridge import send_logs

        send_logs(exporters.logs, _resource())


def _exporters(asked: Wanted, *, is_told: bool) -> _Exporters:
    try:
        return _Exporters(*(require(kind, names) for kind, names in asked._asdict().items()))
    except ConfigurationError as error:
        if is_told:
            raise
        _log.warning("nothing is exported: %s", error)
        return _Exporters([], [], [])


def _load(kind: str, name: str) -> Any:
    points = {point.name: point for point in entry_points(group=_GROUPS[kind])}
    if name not in points:
        extra = "pip install 'jtask[otel]'" if name == "otlp_proto_http" else "install its package"
        raise ConfigurationError(
            f"the exporter {name!r} that OpenTelemetry is to use for {kind} is not there: {extra}"
        )
    try:
        return points[name].load()
    except Exception as error:
        raise ConfigurationError(
            f"the exporter {name!r} for {kind} cannot be loaded: {error}"
        ) from error


def _provide_traces(exporters: list[Callable[[], Any]]) -> None:
    from opentelemetry import trace

    if is_real(trace.get_tracer_provider()):
        return
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter()))
    trace.set_tracer_provider(provider)
    ends.own("traces", provider)


def _provide_metrics(exporters: list[Callable[[], Any]], *, shows_metrics: bool) -> None:
    from opentelemetry import metrics

    if is_real(metrics.get_meter_provider()):
        if shows_metrics:
            _log.warning(
                "the program has a meter provider of its own, so jtask cannot show its metrics on "
                "a port: add a PrometheusMetricReader to that provider"
            )
        return
    from opentelemetry.sdk.metrics import MeterProvider

    readers = [_reader(exporter) for exporter in exporters]
    if shows_metrics:
        readers += _prometheus_reader()
    provider = MeterProvider(readers, resource=_resource(), shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    ends.own("metrics", provider)


def _reader(exporter: Callable[[], Any]) -> Any:
    from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader

    made = exporter()
    # Some are asked, such as Prometheus, and are readers themselves.
    return made if isinstance(made, MetricReader) else PeriodicExportingMetricReader(made)


def _prometheus_reader() -> list[Any]:
    try:
        require_prometheus()
    except ConfigurationError as error:
        _log.warning("metrics are not shown: %s", error)
        return []
    from opentelemetry.exporter.prometheus import PrometheusMetricReader

    return [PrometheusMetricReader()]


def _resource() -> Any:
    from opentelemetry.sdk.resources import Resource

    attributes: dict[str, str] = {}
    named = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if not os.environ.get("OTEL_SERVICE_NAME") and "service.name=" not in named:
        namespace = get_settings().namespace
        attributes["service.name"] = "jtask" if namespace == "default" else namespace
    return Resource.create(cast("Any", attributes))


_setup = _Setup()
