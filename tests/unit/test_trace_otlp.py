"""A tree of runs as OTLP JSON."""

import json
import re
from base64 import b64encode
from typing import Any

import pytest

from jtask.cli.trace.otlp import to_otlp
from jtask.cli.trace.tree import build_tree
from jtask.contract import Event
from jtask.ids import RunIds, created_at

IDS = RunIds()
ORDER, CHARGE, CALL = IDS.new_many(3)
BEGUN = created_at(ORDER)


def life(run_id: str, at: float, *events: Event) -> list[Event]:
    return [event._replace(run_id=run_id, at=BEGUN + at + event.at) for event in events]


def told(
    state: str, at: float, attempt: int = 1, worker: str = "host-1", detail: str = ""
) -> Event:
    return Event("", state, at, "order-0123456789ab", attempt, worker, detail)


EVENTS = [
    *life(
        ORDER,
        0,
        told("Scheduled", 0, worker="")._replace(queue="orders", tags=("eu", "web"), version="7"),
        told("Pending", 1),
        told("Running", 2),
        told("AwaitingRetry", 3, detail="ValueError: no")._replace(until=BEGUN + 4),
        told("Retrying", 5, 2, "host-2"),
        told("Completed", 9, 2, "host-2"),
    ),
    *life(
        CHARGE,
        6,
        told("Scheduled", 0, worker="")._replace(queue="charges", parent=ORDER),
        told("Pending", 0.5, worker="host-3"),
        told("Running", 1, worker="host-3"),
        told("Failed", 2, worker="host-3", detail="KeyError: 'x'"),
    ),
    *life(
        CALL,
        7,
        told("Pending", 0, worker="host-2")._replace(parent=ORDER),
        told("Running", 0.5, worker="host-2"),
    ),
]

# The names of the proto3 JSON form of opentelemetry.proto.trace.v1; a collector refuses others.
FIELDS = {
    "resourceSpans": {"resource", "scopeSpans", "schemaUrl"},
    "resource": {"attributes"},
    "scopeSpans": {"scope", "spans", "schemaUrl"},
    "scope": {"name"},
    "spans": {
        "traceId",
        "spanId",
        "parentSpanId",
        "name",
        "kind",
        "startTimeUnixNano",
        "endTimeUnixNano",
        "attributes",
        "events",
        "links",
        "status",
    },
    "attributes": {"key", "value"},
    "value": {"stringValue", "intValue", "arrayValue"},
    "arrayValue": {"values"},
    "values": {"stringValue"},
    "events": {"timeUnixNano", "name"},
    "links": {"traceId", "spanId", "attributes"},
    "status": {"code", "message"},
}


def written() -> Any:
    return json.loads(json.dumps(to_otlp(build_tree(ORDER, EVENTS, BEGUN + 10))))


def spans() -> dict[str, dict[str, Any]]:
    """Each span by its run's name, its own name and its attempt, with plain attributes."""
    names = {ORDER: "order", CHARGE: "charge", CALL: "call"}
    found: dict[str, dict[str, Any]] = {}
    for resource in written()["resourceSpans"]:
        [scope] = resource["scopeSpans"]
        of_resource = plain(resource["resource"]["attributes"])
        for span in scope["spans"]:
            span["attributes"] = plain(span["attributes"])
            span["process"] = of_resource.get("service.instance.id", "")
            facts = span["attributes"]
            key = f"{names[facts['jtask.run.id']]}: {span['name']}"
            if span["name"].startswith("process"):
                key += f" {facts['jtask.attempt']}"
            assert key not in found or span["name"] == "queued"
            found[key] = span
    return found


def plain(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in attributes}


def check(value: Any, inside: str = "") -> None:
    """Compare the names of all fields with those of the protocol."""
    if isinstance(value, list):
        for one in value:
            check(one, inside)
    elif isinstance(value, dict):
        if inside:
            assert value.keys() <= FIELDS[inside], inside
        for name, one in value.items():
            check(one, name)


def test_every_field_is_one_of_the_protocol() -> None:
    check(written())


def test_ids_are_hexadecimal_and_made_of_the_run_ids() -> None:
    assert written() == written()
    for span in spans().values():
        assert span["traceId"] == ORDER.replace("-", "")
        assert re.fullmatch(r"[0-9a-f]{16}", span["spanId"])
        assert span["startTimeUnixNano"].isdigit()
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
    ids = [
        span["spanId"]
        for resource in written()["resourceSpans"]
        for span in resource["scopeSpans"][0]["spans"]
    ]
    assert len(set(ids)) == len(ids)


def test_a_run_is_published_once_and_processed_by_each_attempt() -> None:
    found = spans()
    publish = found["order: publish orders"]
    first, second = found["order: process orders 1"], found["order: process orders 2"]
    assert (publish["kind"], first["kind"], second["kind"]) == (4, 5, 5)
    assert "parentSpanId" not in publish
    assert first["parentSpanId"] == second["parentSpanId"] == publish["spanId"]
    assert [link["spanId"] for link in first["links"]] == [publish["spanId"]]
    # A retry is linked to what it retries.
    assert [link["spanId"] for link in second["links"]] == [publish["spanId"], first["spanId"]]
    assert (first["process"], second["process"]) == ("host-1", "host-2")
    assert first["status"] == {"code": 2, "message": "ValueError: no"}
    assert first["attributes"]["error.type"] == "Failed"
    assert second["status"] == {"code": 1}


def test_spans_say_what_the_conventions_want() -> None:
    facts = spans()["order: process orders 2"]["attributes"]
    assert facts == {
        "jtask.run.id": ORDER,
        "jtask.task.name": "order",
        "messaging.system": "nats",
        "messaging.message.id": ORDER,
        "jtask.queue": "orders",
        "messaging.destination.name": "orders",
        "jtask.tags": {"values": [{"stringValue": "eu"}, {"stringValue": "web"}]},
        "jtask.task.version": "7",
        "jtask.attempt": "2",
        "jtask.state": "Completed",
        "jtask.worker": "host-2",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
    }


def test_a_nested_run_is_below_the_attempt_that_enqueued_it() -> None:
    found = spans()
    publish, above = found["charge: publish charges"], found["order: process orders 2"]
    assert publish["parentSpanId"] == above["spanId"]
    assert publish["process"] == "host-2"
    assert found["charge: process charges 1"]["status"]["message"] == "KeyError: 'x'"


def test_a_direct_call_is_a_span_of_its_own_kind() -> None:
    call = spans()["call: order"]
    assert (call["kind"], call["status"]) == (1, {})
    assert call["parentSpanId"] == spans()["order: process orders 2"]["spanId"]
    assert "messaging.system" not in call["attributes"]
    assert call["endTimeUnixNano"] == str(round((BEGUN + 10) * 1_000_000) * 1000)


def test_waits_are_spans_below_the_publish_span() -> None:
    wait = spans()["order: waits to retry"]
    assert wait["parentSpanId"] == spans()["order: publish orders"]["spanId"]
    assert int(wait["endTimeUnixNano"]) - int(wait["startTimeUnixNano"]) == 1_000_000_000


def test_a_run_that_never_started_says_so_with_its_publish_span() -> None:
    events = [EVENTS[0], told("Cancelled", 0)._replace(run_id=ORDER, at=BEGUN + 3, detail="why")]
    written = to_otlp(build_tree(ORDER, events, BEGUN + 10))
    publish = written["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert publish["status"] == {"code": 2, "message": "why"}


def test_a_collector_reads_it() -> None:
    service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    from google.protobuf import json_format

    # The one place where OTLP's JSON differs from protobuf's own: ids are hexadecimal.
    body = re.sub(
        r'"(traceId|spanId|parentSpanId)": "([0-9a-f]+)"',
        lambda found: f'"{found[1]}": "{b64encode(bytes.fromhex(found[2])).decode()}"',
        json.dumps(written()),
    )
    request = json_format.Parse(body, service.ExportTraceServiceRequest())
    read = [s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
    assert {span.trace_id.hex() for span in read} == {ORDER.replace("-", "")}
    assert len(read) == body.count('"startTimeUnixNano"')
    assert {len(span.span_id) for span in read} == {8}
