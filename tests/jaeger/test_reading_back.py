"""What a real exporter sends is read back from a real Jaeger."""

from typing import Any

import pytest
from jaeger.server import Jaeger
from jaeger.traces import read_trace, spans_of, tree_of

# The first use on a machine builds Jaeger.
pytestmark = [pytest.mark.jaeger, pytest.mark.timeout(3600)]


def tracing(jaeger: Jaeger, service: str) -> Any:
    """Return a provider that sends to a Jaeger."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    exporter = OTLPSpanExporter(endpoint=f"{jaeger.otlp_url}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def test_kinds_parents_links_and_errors_are_read_back(jaeger: Jaeger) -> None:
    provider = tracing(jaeger, "shop")
    from opentelemetry.trace import Link, SpanKind, set_span_in_context

    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("publish emails", kind=SpanKind.PRODUCER) as publish:
        publish.set_attribute("messaging.system", "nats")
        sent = publish.get_span_context()
    with (
        pytest.raises(ValueError, match="boom"),
        tracer.start_as_current_span(
            "process emails",
            set_span_in_context(publish),
            kind=SpanKind.CONSUMER,
            links=[Link(sent)],
            attributes={"jtask.attempt": 1},
        ),
    ):
        raise ValueError("boom")
    provider.shutdown()

    spans = read_trace(jaeger, f"{sent.trace_id:032x}", 2)
    print(tree := tree_of(spans))
    first, second = spans
    assert (first.name, first.kind, first.parent_id, first.links) == (
        "publish emails",
        "PRODUCER",
        "",
        (),
    )
    assert (second.name, second.kind) == ("process emails", "CONSUMER")
    assert second.parent_id == first.span_id == f"{sent.span_id:016x}"
    assert second.links == ((first.trace_id, first.span_id),)
    assert (second.status, second.events) == ("ERROR", ("exception",))
    assert (first.attributes["messaging.system"], second.attributes["jtask.attempt"]) == ("nats", 1)
    assert {span.service for span in spans} == {"shop"}
    top, below = tree.splitlines()
    assert top.startswith("publish emails  PRODUCER  ")
    assert below.startswith("└─ process emails  CONSUMER  ")
    assert "ERROR  linked to publish emails  (shop)" in below


def test_a_trace_that_was_never_sent_has_no_spans(jaeger: Jaeger) -> None:
    assert spans_of(jaeger.ask(f"/api/v3/traces/{1:032x}")) == []
