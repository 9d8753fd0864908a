"""How a trace goes from one process to the next: in the headers of runs."""

from collections.abc import Mapping

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    TraceFlags,
    TraceState,
)

from jtask_otel import names

_VERSION = "00"
_HEX = 16


def inject(headers: dict[str, str], span: Span) -> None:
    """Add to the headers of a run what its attempts are children of, and the baggage."""
    propagate.inject(headers, trace.set_span_in_context(span))


def extract(headers: Mapping[str, str]) -> Context:
    """Return what came with a run: the span that published it, and the baggage."""
    return propagate.extract(headers, Context())


def span_context(context: Context) -> SpanContext:
    """Return the span of a context, which is invalid where there is none."""
    return trace.get_current_span(context).get_span_context()


def without_span(context: Context) -> Context:
    """Return a context with the same baggage, in which a trace begins."""
    return trace.set_span_in_context(INVALID_SPAN, context)


def link_to(span: SpanContext | None) -> list[Link]:
    """Return the link to a span, if it is one."""
    return [Link(span)] if span is not None and span.is_valid else []


def write(span: SpanContext) -> str:
    """Return a span in the form of `traceparent`, whatever the program's own propagators are."""
    return f"{_VERSION}-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"


def trace_id_of(span: Span) -> str:
    """Return the trace of a span, in hexadecimal; empty where it is not recorded."""
    context = span.get_span_context()
    return f"{context.trace_id:032x}" if context.trace_flags.sampled else ""


def read(text: str | None, state: TraceState | None = None) -> SpanContext | None:
    """Return the span that `write` wrote; None for any other text.

    Args:
        text: A header's value.
        state: What the tracing systems on the way have added.
    """
    try:
        version, trace_id, span_id, flags = (text or "").split("-")
        found = SpanContext(
            int(trace_id, _HEX),
            int(span_id, _HEX),
            is_remote=True,
            trace_flags=TraceFlags(int(flags, _HEX)),
            trace_state=state,
        )
    except ValueError:  # a header may be anybody's
        return None
    return found if version == _VERSION and found.is_valid else None


def attempt_context(headers: Mapping[str, str]) -> Context:
    """Return the context of an attempt, for another process that executes its function."""
    context = extract(headers)
    state = span_context(context).trace_state
    attempt = read(headers.get(names.ATTEMPT_HEADER), state)
    if attempt is None:
        return context
    return trace.set_span_in_context(NonRecordingSpan(attempt), context)
