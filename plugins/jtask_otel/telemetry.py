"""Who records in this process: nobody, unless a provider was set."""

import importlib
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from opentelemetry import metrics, trace
from opentelemetry.trace import Tracer

from jtask.settings import get_settings, settings_of
from jtask_otel import names
from jtask_otel.api_defaults import is_real
from jtask_otel.instruments import Instruments
from jtask_otel.settings import OtelSettings

Attributes = dict[str, Any]
_SYSTEMS = {"embedded": "nats", "tls": "nats"}


class Telemetry(NamedTuple):
    """What spans and measurements are made with.

    Attributes:
        tracer: Makes the spans.
        instruments: Take the measurements.
        broker: Attributes of all that concerns a message.
        settings: Those of the plugin.
    """

    tracer: Tracer
    instruments: Instruments
    broker: Attributes
    settings: OtelSettings


_found: Telemetry | None = None
_is_asked = False

# Where the providers are, which OpenTelemetry's own functions take ten times as long to look up: a
# run asks twice, in programs that will never have any.
_TRACER, _METER = "_TRACER_PROVIDER", "_METER_PROVIDER"
_traces, _metrics = vars(trace), vars(importlib.import_module("opentelemetry.metrics._internal"))
_is_known = _TRACER in _traces and _METER in _metrics


def current() -> Telemetry | None:
    """Return what to record with; None where no provider was set, which costs next to nothing."""
    # Once set, a provider stays: OpenTelemetry refuses another one.
    if _found is not None:
        return _found
    # Asked properly once: a variable may name a provider, which is then made.
    if _is_asked and _is_known and _traces[_TRACER] is None and _metrics[_METER] is None:
        return None
    return _find()


def _find() -> Telemetry | None:
    global _found, _is_asked
    is_set = is_real(trace.get_tracer_provider()) or is_real(metrics.get_meter_provider())
    # Not before: another thread would take a provider that is being made for none.
    _is_asked = True
    if not is_set:
        return None
    from importlib.metadata import version

    own = version("jtask")
    # Of a signal without a provider, they do nothing until it gets one.
    tracer = trace.get_tracer(names.SCOPE, own, schema_url=names.SCHEMA_URL)
    meter = metrics.get_meter(names.SCOPE, own, schema_url=names.SCHEMA_URL)
    _found = Telemetry(
        tracer, Instruments(meter), broker_attributes(get_settings().url), settings_of(OtelSettings)
    )
    return _found


def broker_attributes(url: str) -> Attributes:
    """Return what the conventions say of a broker.

    Args:
        url: Its URL, of which only scheme, host and port are told.
    """
    scheme = url.partition("://")[0]
    attributes: Attributes = {names.SYSTEM: _SYSTEMS.get(scheme, scheme)}
    try:
        # The first of several; credentials stay here.
        server = urlsplit(url.split(",")[0])
        host, port = server.hostname, server.port
    except ValueError:
        return attributes
    if host and scheme not in ("embedded", "memory"):
        attributes[names.SERVER_ADDRESS] = host
        if port:
            attributes[names.SERVER_PORT] = port
    return attributes
