"""What workers count and measure, over OTLP and as Prometheus asks for it."""

import urllib.request
from typing import Any

import pytest
from otlp_receiver import Point, Receiver
from processes import Place, Program
from waiting import eventually

TASKS = """
from jtask import runtime, task

@task(queue="counted")
def good(number: int) -> int:
    return number

@task(queue="counted", retries=1)
def bad() -> None:
    raise ValueError("never")

@task(queue="later")
def later() -> None: ...
"""
SEND = """
from counted import good, bad, later
later.with_options(delay=600).delay()
for number in range(4):
    good.delay(number).result(timeout=30)
bad.delay().exception(timeout=30)
print("null")
"""


def serve(place: Place, *arguments: str, **env: str) -> Program:
    worker = place.serve("counted.py", *arguments, **env)
    worker.is_ready()
    return worker


def latest(points: list[Point]) -> dict[tuple[Any, ...], Point]:
    """Return the last number for each set of attributes: they grow, or stand for now."""
    return {tuple(sorted(point.attributes.items())): point for point in points}


def total(receiver: Receiver, name: str, **about: Any) -> float:
    wanted = {key.replace("__", "."): value for key, value in about.items()}
    return sum(
        point.count if point.bounds else point.value
        for point in latest(receiver.points(name)).values()
        if wanted.items() <= point.attributes.items()
    )


def test_what_happens_to_runs_is_counted_and_measured(place: Place, receiver: Receiver) -> None:
    place.env |= receiver.env
    place.write("counted.py", TASKS)
    worker = serve(place)
    place.ask(SEND)
    assert worker.stop() == 0

    assert total(receiver, "messaging.client.sent.messages") == 6
    assert total(receiver, "messaging.client.operation.duration") == 6
    assert total(receiver, "messaging.client.consumed.messages") == 6
    assert total(receiver, "messaging.process.duration") == 6
    assert total(receiver, "messaging.process.duration", error__type="ValueError") == 2
    assert total(receiver, "jtask.run.queue_time") == 6
    assert total(receiver, "jtask.run.duration", jtask__state="Completed") == 4
    assert total(receiver, "jtask.run.duration", jtask__state="Failed") == 1
    assert total(receiver, "jtask.run.retries", jtask__task__name="bad") == 1
    assert total(receiver, "jtask.run.dead_letters", jtask__queue="counted") == 1
    assert total(receiver, "jtask.runs.running") == 0
    (sent, *_) = receiver.points("messaging.client.sent.messages")
    assert (sent.attributes["messaging.system"], sent.attributes["messaging.operation.name"]) == (
        "nats",
        "publish",
    )
    (duration, *_) = receiver.points("messaging.client.operation.duration")
    assert duration.bounds[:3] == (0.005, 0.01, 0.025)


def test_the_depth_of_the_queues_is_observed_by_one_worker_for_all(
    place: Place, receiver: Receiver
) -> None:
    place.env |= receiver.env | {"JTASK_LEASE": "5"}
    place.write("counted.py", TASKS)
    workers = [serve(place), serve(place)]
    place.ask(SEND)

    def delayed() -> list[Point]:
        wanted = {"jtask.queue": "later", "jtask.state": "delayed"}
        points = receiver.points("jtask.queue.depth")
        return [p for p in points if p.attributes == wanted and p.value == 1]

    eventually(delayed)

    def looks() -> dict[float, str]:
        points = receiver.points("jtask.queue.depth")
        return {point.at: point.resource["service.instance.id"] for point in points}

    # Some exports later still the same one, although both export.
    before = len(looks())
    eventually(lambda: len(looks()) >= before + 5)
    assert len(set(looks().values())) == 1
    for worker in workers:
        assert worker.stop() == 0


def test_another_worker_looks_at_the_queues_once_the_first_one_has_ended(
    place: Place, receiver: Receiver
) -> None:
    place.env |= receiver.env
    place.write("counted.py", TASKS)
    first = serve(place, OTEL_RESOURCE_ATTRIBUTES="who=first")
    place.ask(SEND)
    eventually(lambda: receiver.points("jtask.queue.depth"))
    serve(place, OTEL_RESOURCE_ATTRIBUTES="who=second")
    assert first.stop() == 0

    def observers() -> set[str]:
        return {point.resource["who"] for point in receiver.points("jtask.queue.depth")}

    eventually(lambda: observers() == {"first", "second"})


def test_prometheus_finds_the_metrics_of_each_worker_on_a_port_of_its_own(place: Place) -> None:
    place.write("counted.py", TASKS)
    worker = serve(place, "--metrics-port=0")
    place.ask(SEND)
    (url,) = [w for w in worker.log.split() if w.endswith("/metrics")]

    def shown() -> str:
        with urllib.request.urlopen(url) as answer:
            return str(answer.read().decode())

    eventually(lambda: "jtask_queue_depth{" in shown())
    text = shown()
    assert 'jtask_state="delayed"' in text
    for name in (
        "messaging_client_consumed_messages_total",
        "messaging_process_duration_seconds_bucket",
        "jtask_run_queue_time_seconds_sum",
        "jtask_run_retries_total",
    ):
        assert f"\n{name}{{" in text
    assert worker.stop() == 0


def test_a_port_that_is_taken_is_said_and_the_worker_goes_on(
    place: Place, receiver: Receiver
) -> None:
    place.write("counted.py", TASKS)
    port = receiver.env["OTEL_EXPORTER_OTLP_ENDPOINT"].rpartition(":")[2]
    worker = serve(place, f"--metrics-port={port}")
    assert f"cannot show metrics on 127.0.0.1 port {port}" in worker.log
    assert worker.stop() == 0


@pytest.mark.parametrize("count", [2])
def test_the_options_reach_the_workers_of_a_supervisor(
    place: Place, receiver: Receiver, count: int
) -> None:
    place.env |= {k: v for k, v in receiver.env.items() if "ENDPOINT" not in k}
    place.env["OTEL_TRACES_EXPORTER"] = "none"
    place.write("counted.py", TASKS)
    worker = place.serve("counted.py", "--metrics-port=0", f"--processes={count}")
    worker.says("shows metrics on", count)
    assert worker.stop() == 0
