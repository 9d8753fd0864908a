"""A trace as Jaeger gives it back, and as a tree that a person can read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jaeger.server import Jaeger
from waiting import eventually

KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")  # by their number
STATUSES = ("", "OK", "ERROR")


@dataclass(frozen=True)
class Span:
    """A span that was read back; ids are in hexadecimal digits, times in seconds since the epoch.

    Attributes:
        service: The `service.name` of its resource.
        parent_id: Empty for a root.
        links: The trace and the span of each link.
        events: The names of its events.
        status: Empty where none was set.
    """

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[tuple[str, str], ...]
    attributes: Mapping[str, Any]
    events: tuple[str, ...]
    status: str
    start: float
    end: float


def read_trace(jaeger: Jaeger, trace_id: str, count: int) -> list[Span]:
    """Wait until a trace has some number of spans; return them, the earliest first.

    Args:
        jaeger: Who has it.
        trace_id: 32 hexadecimal digits.
        count: How many spans it is to have at least.
    """
    return eventually(
        lambda: (
            spans
            if len(spans := spans_of(jaeger.ask(f"/api/v3/traces/{trace_id}"))) >= count
            else []
        )
    )


def spans_of(answer: Any) -> list[Span]:
    """Return the spans of an answer of Jaeger's API v3, the earliest first; None has none.

    Args:
        answer: OTLP's JSON inside of `result`.
    """
    found = [
        _span(span, _values(resource["resource"]).get("service.name", ""))
        for resource in (answer or {}).get("result", {}).get("resourceSpans", ())
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    return sorted(found, key=lambda span: span.start)


def tree_of(spans: list[Span]) -> str:
    """Return a trace as lines: each span with its kind, duration, error and links.

    Args:
        spans: Those of one trace; a span whose parent is not among them is a root.
    """
    known = {span.span_id: span for span in spans}
    roots = [span for span in spans if span.parent_id not in known]
    return "\n".join(line for root in roots for line in _lines(root, spans, known, "", ""))


def _lines(
    span: Span, spans: list[Span], known: Mapping[str, Span], first: str, rest: str
) -> Iterator[str]:
    yield first + _line(span, known)
    children = [one for one in spans if one.parent_id == span.span_id]
    for child in children:
        is_last = child is children[-1]
        yield from _lines(
            child,
            spans,
            known,
            rest + ("└─ " if is_last else "├─ "),
            rest + ("   " if is_last else "│  "),
        )


def _line(span: Span, known: Mapping[str, Span]) -> str:
    facts = [span.name, span.kind, f"{(span.end - span.start) * 1000:.1f} ms"]
    if span.status == "ERROR":
        facts.append("ERROR")
    for trace_id, span_id in span.links:
        linked = known.get(span_id)
        facts.append(f"linked to {linked.name if linked else f'{trace_id}:{span_id}'}")
    return "  ".join([*facts, f"({span.service})"])


def _span(span: Mapping[str, Any], service: str) -> Span:
    return Span(
        service=service,
        name=span["name"],
        kind=KINDS[int(span.get("kind", 0))],
        trace_id=span["traceId"],
        span_id=span["spanId"],
        parent_id=span.get("parentSpanId", ""),
        links=tuple((link["traceId"], link["spanId"]) for link in span.get("links", ())),
        attributes=_values(span),
        events=tuple(event["name"] for event in span.get("events", ())),
        status=STATUSES[int(span.get("status", {}).get("code", 0))],
        start=int(span["startTimeUnixNano"]) / 1e9,
        end=int(span["endTimeUnixNano"]) / 1e9,
    )


def _values(holder: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a span or a resource; values of OTLP's JSON name their type."""
    return {
        one["key"]: _value(one["value"])
        for one in holder.get("attributes", ())
        # What Jaeger itself has to say, of clocks that differ, for example.
        if not one["key"].startswith("@jaeger@")
    }


def _value(value: Mapping[str, Any]) -> Any:
    ((kind, plain),) = value.items()
    if kind == "intValue":  # a text, for readers whose numbers are too small
        return int(plain)
    if kind == "arrayValue":
        return [_value(one) for one in plain.get("values", ())]
    return plain
