"""What `jtask trace --json` prints is taken by a real Jaeger and read back as the same trace."""

import json
import urllib.request
from typing import Any

import pytest
from jaeger.server import Jaeger
from jaeger.traces import Span, read_trace, spans_of, tree_of
from processes import Place
from traced_shop import SHOP
from waiting import eventually

# The first use on a machine builds Jaeger.
pytestmark = [pytest.mark.jaeger, pytest.mark.timeout(3600)]


def test_the_written_trace_of_a_run_is_the_one_that_is_read_back(
    place: Place, jaeger: Jaeger
) -> None:
    place.write("shop.py", SHOP)
    place.serve("shop.py").is_ready()
    run_id = place.enqueue("shop:order", "3")
    place.result(run_id)
    written = eventually(lambda: whole(place.jtask("trace", run_id, "--json").stdout))
    sent = spans_of({"result": written})
    assert post(f"{jaeger.otlp_url}/v1/traces", written) == 200

    found = read_trace(jaeger, run_id.replace("-", ""), len(sent))
    print(tree := tree_of(found))
    assert by_id(found) == by_id(sent)
    assert tree.count("linked to process orders") == 1
    (root,) = [span for span in found if not span.parent_id]
    assert (root.name, root.kind) == ("publish orders", "PRODUCER")
    attempts = [span for span in found if span.name == "process orders"]
    assert [span.status for span in attempts] == ["ERROR", "OK"]
    assert {span.parent_id for span in attempts} == {root.span_id}


def whole(printed: str) -> Any:
    """Return what was printed once the events of all five runs have arrived."""
    written = json.loads(printed or "{}")
    attempts = [
        span.attributes["jtask.state"]
        for span in spans_of({"result": written})
        if span.name.startswith("process ")
    ]
    return written if sorted(attempts) == ["Completed"] * 5 + ["Failed"] else None


def post(url: str, body: Any) -> int:
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return int(answer.status)


def by_id(spans: list[Span]) -> dict[str, Span]:
    return {span.span_id: span for span in spans}
