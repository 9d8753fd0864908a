"""The decisions of the plugin for traces and metrics; no SDK, which would concern other tests."""

import ast
import re
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.context import Context

from jtask import task
from jtask.errors import ConfigurationError
from jtask.runtime import RunContext
from jtask_otel import names, providers
from jtask_otel.environment import Wanted, wanted
from jtask_otel.propagation import attempt_context, extract, read, span_context, trace_id_of, write
from jtask_otel.settings import OtelSettings
from jtask_otel.starts import begins_trace, due, place, queue_time
from jtask_otel.telemetry import Telemetry, broker_attributes

PUBLISHED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03"
ATTEMPT = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
HTTP, GRPC = "otlp_proto_http", "otlp_proto_grpc"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}


@task(queue="unit")
def unit() -> None: ...


def make_run(**facts: object) -> RunContext:
    given = {"queue": "unit", "created_at": 100.0} | facts
    return RunContext("0190b8a0", unit, **given)  # type: ignore[arg-type]


def telemetry(**settings: object) -> Telemetry:
    return Telemetry(None, None, {}, OtelSettings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("environment", "told", "expected"),
    [
        ({}, None, Wanted()),
        ({}, True, Wanted((HTTP,), (HTTP,))),
        (ENDPOINT, None, Wanted((HTTP,), (HTTP,))),
        (ENDPOINT, False, Wanted()),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "True"}, True, Wanted()),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, None, Wanted((HTTP,), ())),
        ({"OTEL_LOGS_EXPORTER": "otlp"}, None, Wanted(logs=(HTTP,))),
        (ENDPOINT | {"OTEL_LOGS_EXPORTER": "otlp"}, None, Wanted((HTTP,), (HTTP,), (HTTP,))),
        ({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://l"}, None, Wanted(logs=(HTTP,))),
        (ENDPOINT | {"OTEL_LOGS_EXPORTER": "otlp"}, False, Wanted()),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "otlp"}, None, Wanted((HTTP,), ())),
        (ENDPOINT | {"OTEL_METRICS_EXPORTER": "none"}, True, Wanted((HTTP,), ())),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://m"}, None, Wanted((), (HTTP,))),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, None, Wanted(("console", HTTP), ())),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, None, Wanted((GRPC,), (GRPC,))),
        (
            ENDPOINT | {"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "grpc"},
            None,
            Wanted((HTTP,), (GRPC,)),
        ),
    ],
)
def test_a_signal_is_exported_if_a_variable_or_somebody_says_so(
    environment: dict[str, str], told: bool | None, expected: Wanted
) -> None:
    assert wanted(environment, told) == expected


def test_a_span_is_written_as_it_is_read_with_whatever_flags() -> None:
    for text in (PUBLISHED, ATTEMPT):
        found = read(text)
        assert found is not None
        assert write(found) == text


@pytest.mark.parametrize(
    "text", [None, "", "00-1-2", "x-y-z-1", f"00-{'0' * 32}-{'0' * 16}-01", "9" * 99, "00-g-1-01"]
)
def test_what_is_no_span_is_no_link(text: str | None) -> None:
    assert read(text) is None


def test_an_attempt_is_a_child_of_what_published_it_and_linked_to_that_and_the_one_before() -> None:
    run = make_run(headers={"traceparent": PUBLISHED, names.ATTEMPT_HEADER: ATTEMPT})
    context, links = place(run, telemetry(), now=101.0)
    assert context is not None
    assert write(span_context(context)) == PUBLISHED
    assert [write(link.context) for link in links] == [PUBLISHED, ATTEMPT]


@pytest.mark.parametrize(
    ("facts", "settings", "now", "expected"),
    [
        ({}, {}, 101.0, False),
        ({}, {}, 100.0 + 301, True),
        ({}, {"otel_new_trace_after": 1000}, 100.0 + 301, False),
        ({}, {"otel_parent": False}, 101.0, True),
        ({"scheduled_for": 100.5}, {}, 101.0, True),
    ],
)
def test_what_starts_late_or_by_a_schedule_begins_a_trace(
    facts: dict[str, object], settings: dict[str, object], now: float, expected: bool
) -> None:
    run = make_run(headers={"traceparent": PUBLISHED}, **facts)
    assert begins_trace(run, telemetry(**settings), now) is expected
    context, links = place(run, telemetry(**settings), now)
    assert context is not None
    assert span_context(context).is_valid is not expected
    assert [write(link.context) for link in links] == [PUBLISHED]


def test_a_direct_call_belongs_where_it_is_made() -> None:
    run = make_run(queue=None, headers={"traceparent": PUBLISHED, names.ATTEMPT_HEADER: ATTEMPT})
    context, links = place(run, telemetry(), now=1e9)
    assert context is None
    assert [write(link.context) for link in links] == [ATTEMPT]


@pytest.mark.parametrize(
    ("facts", "instant", "waited"),
    [
        ({}, None, 10.0),
        ({"headers": {names.DUE_HEADER: "108.0"}}, 108.0, 2.0),
        ({"headers": {names.DUE_HEADER: "111.5"}}, 111.5, 0.0),
        ({"headers": {names.DUE_HEADER: "soon"}}, None, 10.0),
        ({"scheduled_for": 109.0}, 109.0, 1.0),
        (
            {"scheduled_for": 109.0, "attempt": 2, "headers": {names.DUE_HEADER: "109.5"}},
            109.5,
            0.5,
        ),
    ],
)
def test_a_run_waits_from_when_it_could_have_started(
    facts: dict[str, object], instant: float | None, waited: float
) -> None:
    run = make_run(**facts)
    assert due(run) == instant
    assert queue_time(run, now=110.0) == waited


def test_a_process_that_only_executes_the_function_is_in_the_attempts_span_with_the_baggage() -> (
    None
):
    headers = {"traceparent": PUBLISHED, "baggage": "tenant=acme", "tracestate": "shop=1"}
    context = attempt_context(headers | {names.ATTEMPT_HEADER: ATTEMPT})
    assert write(span_context(context)) == ATTEMPT
    assert span_context(context).trace_state == {"shop": "1"}
    assert write(span_context(attempt_context(headers))) == PUBLISHED
    assert not span_context(extract({})).is_valid
    assert trace.get_current_span(Context()) is trace.INVALID_SPAN


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("embedded://", {"messaging.system": "nats"}),
        ("memory://a", {"messaging.system": "memory"}),
        (
            "nats://shop:secret@one:4222,two:4223",
            {"messaging.system": "nats", "server.address": "one", "server.port": 4222},
        ),
        ("tls://one", {"messaging.system": "nats", "server.address": "one"}),
        ("redis://one:6379", {"messaging.system": "redis", "server.address": "one"}),
        ("nats://one:port", {"messaging.system": "nats"}),
    ],
)
def test_a_broker_is_named_without_its_credentials(url: str, expected: dict[str, object]) -> None:
    found = broker_attributes(url)
    assert expected.items() <= found.items()
    assert "secret" not in str(found)


def test_all_names_are_in_one_module() -> None:
    """An attribute, an event, a header or a metric that is spelt elsewhere could be misspelt."""
    folder = Path(names.__file__).parent
    ours = re.compile(r"^(jtask\.[a-z_.]+|messaging\.[a-z_.]+|jtask-(attempt|due))$")
    loggers = {"jtask.worker", "jtask.otel.depths"}
    for file in folder.glob("*.py"):
        if file.name == "names.py":
            continue
        texts = {
            node.value
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not {text for text in texts if ours.match(text)} - loggers, file


@pytest.mark.parametrize("kind", ["traces", "metrics"])
def test_who_lacks_an_exporter_is_told_which_extra_brings_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "entry_points", lambda group: [])
    with pytest.raises(ConfigurationError, match=r"pip install 'jtask\[otel\]'"):
        providers.require(kind, (HTTP,))


def test_who_lacks_the_package_for_prometheus_is_told_which_extra_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(providers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'jtask\[metrics\]'"):
        providers.require_prometheus()


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    """As Prometheus calls them: with the unit, and `_total` where they only grow."""
    dashboard = (Path(__file__).parents[2] / "docs" / "grafana" / "jtask.json").read_text()
    asked = set(re.findall(r"\b(?:jtask|messaging)_[a-z_]+(?=[{\[)])", dashboard))
    assert asked
    assert asked <= {name for metric in METRICS for name in called_by_prometheus(metric)}


METRICS = {
    value
    for name, value in vars(names).items()
    if name.isupper() and isinstance(value, str) and re.match(r"(jtask|messaging)\.", value)
}


def called_by_prometheus(metric: str) -> set[str]:
    name = metric.replace(".", "_")
    return {name, f"{name}_total", f"{name}_seconds_bucket", f"{name}_seconds_count"}


@pytest.mark.parametrize(("flags", "expected"), [("01", f"{10:032x}"), ("00", "")])
def test_a_run_has_a_trace_where_its_spans_are_recorded(flags: str, expected: str) -> None:
    span = read(f"00-{10:032x}-{11:016x}-{flags}")
    assert span is not None
    assert trace_id_of(trace.NonRecordingSpan(span)) == expected
