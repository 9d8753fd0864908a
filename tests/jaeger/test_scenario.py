"""A web request and all the runs that it leads to are one trace in a real Jaeger."""

from collections import Counter

import pytest
from jaeger.server import Jaeger
from jaeger.traces import Span, read_trace, tree_of
from processes import Place
from traced_shop import REQUEST, SHOP
from waiting import eventually

# The first use on a machine builds Jaeger.
pytestmark = [pytest.mark.jaeger, pytest.mark.timeout(3600)]
_JTASK = ("publish ", "create ", "process ")


def test_one_trace_leads_from_a_request_over_a_retry_and_a_nested_run_to_a_fan_out(
    place: Place, jaeger: Jaeger
) -> None:
    place.env |= {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{jaeger.otlp_url}/v1/traces",
        "OTEL_BSP_SCHEDULE_DELAY": "100",  # ms
        "OTEL_SERVICE_NAME": "scenario",
    }
    place.write("shop.py", SHOP)
    for tasks in (["shop:order"], ["shop:ship", "shop:item"]):
        place.serve(*tasks).is_ready()
    assert place.ask(REQUEST) == 3
    trace_id = eventually(lambda: trace_of_request(jaeger))
    spans = eventually(lambda: whole(read_trace(jaeger, trace_id, 13)))
    print(tree_of(spans))

    (request,) = named(spans, "POST /orders")
    (published,) = named(spans, "publish orders")
    first, second = named(spans, "process orders")
    assert (request.kind, request.parent_id) == ("SERVER", "")
    assert (published.kind, published.parent_id) == ("PRODUCER", request.span_id)
    assert {first.parent_id, second.parent_id} == {published.span_id}
    assert (first.kind, first.status, second.status) == ("CONSUMER", "ERROR", "")
    assert first.links == (place_of(published),)
    assert second.links == (place_of(published), place_of(first))
    nested, batch = named(spans, "publish parcels")
    shipped, *items = named(spans, "process parcels")
    created = named(spans, "create parcels")
    assert (nested.parent_id, shipped.parent_id) == (second.span_id, nested.span_id)
    assert shipped.attributes["jtask.worker"] != second.attributes["jtask.worker"]
    assert {batch.parent_id, *(one.parent_id for one in created)} == {shipped.span_id}
    assert sorted(batch.links) == sorted(map(place_of, created))
    assert Counter(one.parent_id for one in items) == Counter(one.span_id for one in created)


def trace_of_request(jaeger: Jaeger) -> str | None:
    """Return the id of the trace that begins with the request, once Jaeger has that."""
    found = jaeger.ask("/api/traces?service=scenario&operation=POST%20/orders")
    return next((str(trace["traceID"]) for trace in (found or {}).get("data") or ()), None)


def whole(spans: list[Span]) -> list[Span]:
    """Return the spans once those of all runs have arrived."""
    ours = Counter(span.name.split()[0] for span in spans if span.name.startswith(_JTASK))
    return spans if ours == {"publish": 3, "create": 3, "process": 6} else []


def named(spans: list[Span], name: str) -> list[Span]:
    return [span for span in spans if span.name == name]


def place_of(span: Span) -> tuple[str, str]:
    return span.trace_id, span.span_id
