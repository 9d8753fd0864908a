"""What becomes of what was recorded last, when a program, its worker and its children end."""

import socket
from collections.abc import Iterator

import pytest
from otlp_receiver import Receiver
from processes import Place

SHOP = """
import logging
from opentelemetry import trace
from jtask import task

@task(queue="parcels", isolation="process")
def pack(number: int) -> int:
    logging.getLogger("shop").warning("few left")
    with trace.get_tracer("shop").start_as_current_span("inside"):
        return number
"""
PROGRAM = """
from opentelemetry import trace
from jtask.testing import run_worker
from shop import pack

with run_worker(pack):
    pack.delay(1).result(timeout=30)
with trace.get_tracer("shop").start_as_current_span("afterwards"):
    print(json.dumps("done"))
"""
NEVER = "600000"  # ms; only an end exports


@pytest.fixture(autouse=True)
def late(place: Place, receiver: Receiver) -> None:
    """A program that exports nothing before its end, and tries for ten minutes then."""
    place.write("shop.py", SHOP)
    place.env |= receiver.env | {
        "JTASK_URL": "memory://end",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_BSP_SCHEDULE_DELAY": NEVER,
        "OTEL_BLRP_SCHEDULE_DELAY": NEVER,
        "OTEL_METRIC_EXPORT_INTERVAL": NEVER,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "600",
    }


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a collector that takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def refusing() -> Iterator[str]:
    """A URL at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def test_a_living_collector_gets_all(place: Place, receiver: Receiver) -> None:
    program = place.start_python(PROGRAM)
    assert program.answer() == "done"
    assert {span.name for span in receiver.spans} == {
        "publish parcels",
        "process parcels",
        "inside",
        "afterwards",
    }
    assert len(receiver.spans) == 4
    assert receiver.points("messaging.process.duration")
    assert [line.text for line in receiver.lines] == ["few left"]
    assert "not exported" not in program.log


def test_a_collector_that_does_not_answer_and_one_that_is_not_there_are_given_up_in_one_line(
    place: Place, receiver: Receiver, silent: str, refusing: str
) -> None:
    # Without the limit it would take ten minutes, far beyond the patience of the tests.
    program = place.start_python(
        PROGRAM,
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=silent,
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=refusing,
    )
    assert program.wait() == 0, program.log
    assert [line.text for line in receiver.lines] == ["few left"]
    of_worker = "the last traces, metrics were not exported: no collector has taken them within 5"
    of_child = "the last traces were not exported: no collector has taken them within 2 seconds"
    assert program.log.count(of_worker) == 1
    assert program.log.count(of_child) == 1
    assert program.log.count("not exported") == 2


def test_a_forked_process_exports_its_own_at_its_end(place: Place, receiver: Receiver) -> None:
    place.ask(
        """
        import os, sys
        import jtask_otel
        from opentelemetry import trace

        jtask_otel.setup()
        tracer = trace.get_tracer("shop")
        with tracer.start_as_current_span("before"):
            pass
        child = os.fork()
        with tracer.start_as_current_span("in the child" if child == 0 else "in the parent"):
            pass
        if child == 0:
            sys.exit()
        os.waitpid(child, 0)
        print("null")
        """
    )
    assert sorted(span.name for span in receiver.spans) == [
        "before",
        "in the child",
        "in the parent",
    ]
