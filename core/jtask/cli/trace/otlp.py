"""A tree of runs as OTLP JSON, the form in which OpenTelemetry's collectors take spans.

Ids are made of run ids, so the same run has the same trace whenever and wherever it is written.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from jtask.cli.trace.timeline import Phase, Timeline
from jtask.cli.trace.tree import TracedRun
from jtask.run_summaries import name_of
from jtask.span_names import (
    ATTEMPT,
    DESTINATION,
    ERROR_TYPE,
    MESSAGE_ID,
    OPERATION,
    OPERATION_TYPE,
    PROCESS,
    PUBLISH,
    QUEUE,
    RUN,
    SCHEMA_URL,
    SCOPE,
    SEND,
    STATE,
    SYSTEM,
    TASK,
    WORKER,
)
from jtask.states import SUCCESSFUL, StateName

Json = dict[str, Any]

_INTERNAL, _PRODUCER, _CONSUMER = 1, 4, 5  # kinds
_OK, _ERROR = 1, 2  # status codes
_HARMLESS = {*SUCCESSFUL, StateName.RUNNING, "handed back"}
_ROOT = ""


def to_otlp(root: TracedRun) -> Json:
    """Return what an OTLP/HTTP endpoint takes at `/v1/traces`.

    A run that was enqueued has a span `publish`, and each attempt of it a span `process` below that
    one; a direct call has a span for each attempt. Waits are spans of their own. What still lasts
    ends at the moment of looking.
    """
    spans: dict[str, list[Json]] = {}
    trace_id = root.run_id.replace("-", "")
    above: dict[str, Timeline] = {}
    for run in root.with_descendants():
        above |= {child.run_id: run.timeline for child in run.children}
        for worker, span in _spans(run.timeline, above.get(run.run_id)):
            spans.setdefault(worker, []).append(_in_trace(trace_id, span))
    return {"resourceSpans": [_resource(worker, found) for worker, found in spans.items()]}


def _resource(worker: str, spans: list[Json]) -> Json:
    instance = {"service.instance.id": worker} if worker else {}
    scope = {"scope": {"name": SCOPE}, "schemaUrl": SCHEMA_URL, "spans": spans}
    resource = {"attributes": _attributes({"service.name": "jtask", **instance})}
    return {"resource": resource, "schemaUrl": SCHEMA_URL, "scopeSpans": [scope]}


def _in_trace(trace_id: str, span: Json) -> Json:
    links = [{"traceId": trace_id, **link} for link in span.pop("links", ())]
    return {"traceId": trace_id, **span, **({"links": links} if links else {})}


def _spans(run: Timeline, parent: Timeline | None) -> Iterator[tuple[str, Json]]:
    """Yield the spans of one run, each with the process that it belongs to."""
    caller, called_in = _caller(run, parent)
    publish = _ROOT
    if run.is_enqueued or not run.attempts:
        publish = _span_id(run, "publish")
        yield caller, _publish_span(run, publish, called_in)
    before = ""
    for number, phase in enumerate(run.phases):
        span_id = _phase_id(run, number)
        if phase.executes:
            yield phase.worker, _attempt_span(run, phase, span_id, publish, called_in, before)
            before = span_id
        else:
            yield phase.worker, _wait_span(run, phase, span_id, publish or called_in)


def _caller(run: Timeline, parent: Timeline | None) -> tuple[str, str]:
    """Return the process that called or enqueued a run, and the span in which it did."""
    if parent is None:
        return "", _ROOT
    numbered = [(number, phase) for number, phase in enumerate(parent.phases) if phase.executes]
    if not numbered:
        return "", _span_id(parent, "publish")
    # The last attempt that had begun by then.
    begun = [one for one in numbered if one[1].begin <= run.begin] or numbered[:1]
    number, phase = begun[-1]
    return phase.worker, _phase_id(parent, number)


def _publish_span(run: Timeline, span_id: str, called_in: str) -> Json:
    operation = {OPERATION: PUBLISH, OPERATION_TYPE: SEND}
    facts = _facts(run) | operation | {STATE: str(run.summary.state)}
    span = _span(_name(PUBLISH, run), _PRODUCER, span_id, called_in, run.begin, run.begin, facts)
    if not run.attempts:
        # Nothing else says how it ended.
        span["status"] = _status(str(run.summary.state), run.summary.detail, run.summary.ended)
    return span


def _attempt_span(
    run: Timeline, phase: Phase, span_id: str, publish: str, called_in: str, before: str
) -> Json:
    state = phase.end_state or str(StateName.RUNNING)
    facts = _facts(run) | {
        ATTEMPT: phase.attempt,
        STATE: state,
        WORKER: phase.worker,
    }
    name, kind = name_of(run.summary.task) or "?", _INTERNAL
    if publish:
        name, kind = _name(PROCESS, run), _CONSUMER
        facts |= {OPERATION: PROCESS, OPERATION_TYPE: PROCESS}
    if state not in _HARMLESS:
        facts[ERROR_TYPE] = state
    span = _span(name, kind, span_id, publish or called_in, phase.begin, phase.end, facts)
    span["links"] = [
        {"spanId": linked, "attributes": _attributes({"jtask.link": why})}
        for linked, why in ((publish, "publish"), (before, "earlier attempt"))
        if linked
    ]
    span["events"] = [
        {"timeUnixNano": _nanoseconds(phase.begin), "name": note} for note in phase.notes
    ]
    span["status"] = _status(state, phase.reason, phase.end_state)
    return span


def _wait_span(run: Timeline, phase: Phase, span_id: str, parent: str) -> Json:
    facts = {RUN: run.summary.run_id, ATTEMPT: phase.attempt}
    reason = {"jtask.wait.reason": phase.reason} if phase.reason else {}
    name = str(phase.kind)
    return _span(name, _INTERNAL, span_id, parent, phase.begin, phase.end, facts | reason)


def _span(
    name: str, kind: int, span_id: str, parent: str, begin: float, end: float, facts: Json
) -> Json:
    return {
        "spanId": span_id,
        **({"parentSpanId": parent} if parent else {}),
        "name": name,
        "kind": kind,
        "startTimeUnixNano": _nanoseconds(begin),
        "endTimeUnixNano": _nanoseconds(max(begin, end)),
        "attributes": _attributes(facts),
    }


def _facts(run: Timeline) -> Json:
    summary = run.summary
    facts: Json = {RUN: summary.run_id, TASK: name_of(summary.task)}
    if run.is_enqueued:
        facts |= {SYSTEM: "nats", MESSAGE_ID: summary.run_id}
    if run.queue:
        facts |= {QUEUE: run.queue, DESTINATION: run.queue}
    if summary.tags:
        facts["jtask.tags"] = list(summary.tags)
    if summary.version:
        facts["jtask.task.version"] = summary.version
    return facts


def _name(operation: str, run: Timeline) -> str:
    return f"{operation} {run.queue}" if run.queue else operation


def _status(state: str, message: str, is_over: object) -> Json:
    if not is_over or state in (StateName.RUNNING, "handed back"):
        return {}
    return {"code": _OK} if state in SUCCESSFUL else {"code": _ERROR, "message": message}


def _span_id(run: Timeline, what: str) -> str:
    return sha256(f"{run.summary.run_id}/{what}".encode()).hexdigest()[:16]


def _phase_id(run: Timeline, number: int) -> str:
    return _span_id(run, str(number))


def _nanoseconds(at: float) -> str:
    # As text, for JSON's numbers are too coarse.
    return str(round(at * 1_000_000) * 1000)


def _attributes(facts: Json) -> list[Json]:
    return [{"key": key, "value": _value(value)} for key, value in facts.items()]


def _value(value: Any) -> Json:
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(one) for one in value]}}  # pyright: ignore
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": str(value)}
