"""What the environment asks of OpenTelemetry: a decision that imports nothing of it.

The variables are OpenTelemetry's own. A signal is exported if a variable names its exporter or its
endpoint, or where there is only one for both; and if jtask is told to, unless a variable denies it.
"""

from collections.abc import Mapping
from typing import NamedTuple

TRACES, METRICS, LOGS = "TRACES", "METRICS", "LOGS"
SIGNALS = (TRACES, METRICS)
"""Those that the endpoint of all signals is enough for. Logs are sent where a variable names them:
they are with the broker already."""
_OTLP = "otlp"
_NONE = "none"


class Wanted(NamedTuple):
    """Which exporters are asked for, by their entry points' names.

    Attributes:
        traces: Those of traces.
        metrics: Those of metrics.
        logs: Those of what runs log.
    """

    traces: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()


def is_disabled(environment: Mapping[str, str]) -> bool:
    """Tell whether OpenTelemetry is switched off for the whole program."""
    return environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def wanted(environment: Mapping[str, str], told: bool | None) -> Wanted:
    """Return the exporters that are asked for.

    Args:
        environment: The variables.
        told: What jtask's own setting says; None leaves it to the variables.
    """
    if told is False or is_disabled(environment):
        return Wanted()
    traces, metrics = (
        _exporters(signal, environment, told=bool(told) or _has_endpoint(signal, environment))
        for signal in SIGNALS
    )
    has_own = bool(environment.get(f"OTEL_EXPORTER_OTLP_{LOGS}_ENDPOINT"))
    return Wanted(traces, metrics, _exporters(LOGS, environment, told=has_own))


def _exporters(signal: str, environment: Mapping[str, str], *, told: bool) -> tuple[str, ...]:
    given = environment.get(f"OTEL_{signal}_EXPORTER", "").strip()
    if not given:
        if not told:
            return ()
        given = _OTLP
    names = [name.strip() for name in given.split(",")]
    return tuple(
        _with_protocol(name, signal, environment) for name in names if name and name != _NONE
    )


def _has_endpoint(signal: str, environment: Mapping[str, str]) -> bool:
    if environment.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"):
        return True
    # Whoever names the exporter of one signal only wants that: Jaeger, say, takes no metrics.
    names_another = any(
        environment.get(f"OTEL_{other}_EXPORTER")
        or environment.get(f"OTEL_EXPORTER_OTLP_{other}_ENDPOINT")
        for other in SIGNALS
        if other != signal
    )
    return bool(environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")) and not names_another


def _with_protocol(name: str, signal: str, environment: Mapping[str, str]) -> str:
    """Return the name of an exporter's entry point, which says how OTLP is spoken."""
    if name != _OTLP:
        return name
    protocol = (
        environment.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL")
        or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
    return "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
