"""Traces of real processes, as a collector gets them from the real exporter."""

import json
from collections import Counter

import pytest
from otlp_receiver import Receiver, tree
from processes import Place, Program
from traced_shop import REQUEST, SHOP
from waiting import eventually

SCHEMA = "https://opentelemetry.io/schemas/1.44.0"


@pytest.fixture
def traced(place: Place, receiver: Receiver) -> Place:
    """A folder whose programs export to the receiver."""
    place.env |= receiver.env
    return place


def serve(place: Place, *arguments: str, **env: str) -> Program:
    worker = place.serve(*arguments, **env)
    worker.is_ready()
    return worker


def test_one_trace_leads_from_a_request_over_a_retry_and_a_nested_run_to_a_fan_out(
    traced: Place, receiver: Receiver
) -> None:
    traced.write("shop.py", SHOP)
    serve(traced, "shop:order")
    serve(traced, "shop:ship", "shop:item")
    assert traced.ask(REQUEST) == 3
    receiver.wait_for("process parcels", 4)
    first, second = receiver.wait_for("process orders", 2)
    (request,) = receiver.wait_for("POST /orders")
    trace = [span for span in receiver.spans if span.trace_id == request.trace_id]
    print(tree(trace))
    assert {span.trace_id for span in receiver.spans} == {request.trace_id}

    (published,) = receiver.named("publish orders")
    assert (request.kind, request.parent_id) == ("SERVER", "")
    assert (published.kind, published.parent_id) == ("PRODUCER", request.span_id)
    assert (first.kind, first.parent_id, first.links) == (
        "CONSUMER",
        published.span_id,
        [published.place],
    )
    assert first.is_error
    assert first.attributes["error.type"] == "ValueError"
    assert first.attributes["jtask.state"] == "AwaitingRetry"
    assert first.event("exception")["exception.message"] == "out of stock"
    assert "jtask.reason" in first.event("jtask.retry")
    # A sibling of the first, in a chain.
    assert (second.parent_id, second.links) == (published.span_id, [published.place, first.place])
    assert (second.is_error, second.attributes["jtask.attempt"]) == (False, 2)

    nested, *_ = receiver.named("publish parcels")
    assert nested.parent_id == second.span_id
    shipped = [s for s in receiver.named("process parcels") if s.parent_id == nested.span_id]
    assert len(shipped) == 1
    assert shipped[0].attributes["jtask.parent_run.id"] == second.attributes["jtask.run.id"]
    assert shipped[0].attributes["jtask.worker"] != second.attributes["jtask.worker"]

    batch = receiver.named("publish parcels")[1]
    created = receiver.named("create parcels")
    assert (batch.kind, batch.attributes["messaging.batch.message_count"]) == ("CLIENT", 3)
    assert {batch.parent_id, *(span.parent_id for span in created)} == {shipped[0].span_id}
    assert sorted(batch.links) == sorted(span.place for span in created)
    parents = Counter(s.parent_id for s in receiver.named("process parcels") if s != shipped[0])
    assert parents == Counter(span.span_id for span in created)


def test_a_span_of_an_attempt_says_which_run_it_was_and_how_long_that_waited(
    traced: Place, receiver: Receiver
) -> None:
    traced.write("shop.py", SHOP)
    serve(traced, "shop:item")
    run_id = traced.ask("from shop import item\nprint(json.dumps(item.delay(1).run_id))")
    (processed,) = receiver.wait_for("process parcels")
    (published,) = receiver.wait_for("publish parcels")
    about = processed.attributes
    assert {name: about[name] for name in about if name.startswith("messaging.")} == {
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "parcels",
        "messaging.message.id": run_id,
    }
    assert (about["jtask.run.id"], about["jtask.attempt"], about["jtask.task.name"]) == (
        run_id,
        1,
        "item",
    )
    assert 0 <= about["jtask.queue_time"] < 60
    assert (published.attributes["messaging.operation.name"], published.kind) == (
        "publish",
        "PRODUCER",
    )
    assert published.attributes["messaging.operation.type"] == "send"
    assert {(span.scope, span.schema_url) for span in (processed, published)} == {("jtask", SCHEMA)}
    assert processed.resource["service.name"] == "shop"
    # Its end may be told a moment later than its span.
    report = json.loads(traced.jtask("runs", "show", run_id, "--json").stdout)
    assert report["trace_id"] == processed.trace_id


CROWD = """
import asyncio, time
from opentelemetry import baggage, trace
from jtask import runtime, task

def work(number):
    with trace.get_tracer("work").start_as_current_span("work") as span:
        span.set_attribute("run", runtime.run_id)
        span.set_attribute("tenant", str(baggage.get_baggage("tenant")))
        yield

@task(queue="crowd")
def threaded(number: int) -> None:
    for _ in work(number):
        time.sleep(0.001)

@task(queue="crowd")
async def awaited(number: int) -> None:
    for _ in work(number):
        await asyncio.sleep(0.001)

@task(queue="crowd", isolation="process")
def isolated(number: int) -> None:
    for _ in work(number):
        pass

@task(queue="crowd", isolation="process")
async def isolated_async(number: int) -> None:
    for _ in work(number):
        await asyncio.sleep(0)

@task(queue="crowd", timeout_seconds=30)
def limited(number: int) -> None:
    for _ in work(number):
        time.sleep(0.001)
"""
SEND_CROWD = """
import random
from opentelemetry import baggage, context
from crowd import threaded, awaited, isolated, isolated_async, limited

counts = {threaded: THREADED, awaited: AWAITED, isolated: ISOLATED, isolated_async: ISOLATED,
    limited: LIMITED}
calls = [(task, number) for task, count in counts.items() for number in range(count)]
random.Random(7).shuffle(calls)
runs = []
for task, number in calls:
    token = context.attach(baggage.set_baggage("tenant", f"tenant {number}"))
    runs.append((task.delay(number), number))
    context.detach(token)
for run, _ in runs:
    run.result(timeout=50)
print(json.dumps({run.run_id: f"tenant {number}" for run, number in runs}))
"""


def send_crowd(threaded: int, awaited: int, isolated: int, limited: int) -> str:
    program = SEND_CROWD.replace("THREADED", str(threaded)).replace("AWAITED", str(awaited))
    return program.replace("ISOLATED", str(isolated)).replace("LIMITED", str(limited))


@pytest.mark.timeout(180)
def test_each_of_a_thousand_runs_side_by_side_has_its_own_trace_and_baggage(
    traced: Place, receiver: Receiver
) -> None:
    traced.write("crowd.py", CROWD)
    worker = serve(traced, "crowd.py", "--concurrency=4")
    tenants = traced.ask(send_crowd(threaded=350, awaited=350, isolated=75, limited=150))
    assert len(tenants) == 1000
    assert worker.stop() == 0
    done = {span.attributes["jtask.run.id"]: span for span in receiver.named("process crowd")}
    works = receiver.named("work")
    assert (len(done), len(works)) == (1000, 1000)
    for work in works:
        attempt = done[work.attributes["run"]]
        assert (work.trace_id, work.parent_id) == (attempt.trace_id, attempt.span_id)
        assert work.attributes["tenant"] == tenants[work.attributes["run"]]
    assert len({span.trace_id for span in done.values()}) == 1000


RECYCLED = """
from jtask.testing import run_worker
from crowd import isolated

with run_worker(isolated):
    isolated.delay(1).result(timeout=30)
print("null")
"""


@pytest.mark.timeout(120)
def test_nothing_is_lost_when_processes_and_their_children_end_after_each_run(
    traced: Place, receiver: Receiver
) -> None:
    traced.write("crowd.py", CROWD)
    # What comes was flushed at an end.
    traced.env |= {"OTEL_BSP_SCHEDULE_DELAY": "60000", "JTASK_URL": "memory://crowd"}
    for _ in range(10):
        traced.ask(RECYCLED)
    assert len(receiver.named("process crowd")) == len(receiver.named("work")) == 10


def test_nothing_is_lost_when_a_worker_is_told_to_stop(traced: Place, receiver: Receiver) -> None:
    traced.write("crowd.py", CROWD)
    traced.env["OTEL_BSP_SCHEDULE_DELAY"] = "60000"
    worker = serve(traced, "crowd.py", "--processes=2")
    traced.enqueue("crowd:isolated", "1")
    worker.says("Completed in")
    assert worker.stop() == 0
    assert len(receiver.named("process crowd")) == len(receiver.named("work")) == 1


def test_the_attempt_that_takes_a_run_over_from_a_killed_worker_says_so(
    traced: Place, receiver: Receiver
) -> None:
    traced.env["JTASK_LEASE"] = "1"
    traced.write(
        "victim.py",
        """
        import os, signal
        from jtask import runtime, task

        @task(queue="victims")
        def victim() -> str:
            mark("started")
            if runtime.lost_workers == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return "survived"
        """,
    )
    program = "from victim import victim\nprint(json.dumps(victim.delay().result(timeout=40)))"
    first = traced.serve("victim:victim", OTEL_METRICS_EXPORTER="none")
    first.is_ready()
    asking = traced.start_python(program)
    assert first.wait() == -9
    serve(traced, "victim:victim")
    assert asking.answer() == "survived"
    (attempt,) = receiver.wait_for("process victims")
    assert (attempt.attributes["jtask.takeover"], attempt.attributes["jtask.lost_workers"]) == (
        True,
        1,
    )
    assert attempt.event("jtask.worker_lost") == {"jtask.lost_workers": 1}
    (published,) = receiver.wait_for("publish victims")
    assert attempt.parent_id == published.span_id
    eventually(lambda: [point.value for point in receiver.points("jtask.run.crashes")][-1:] == [1])


def test_the_end_of_a_run_that_lost_too_many_workers_has_a_span(
    traced: Place, receiver: Receiver
) -> None:
    traced.env |= {"JTASK_LEASE": "1", "JTASK_MAX_CRASHES": "1"}
    traced.write(
        "victim.py",
        """
        import os, signal
        from jtask import task

        @task(queue="victims")
        def victim() -> None:
            os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    first = traced.serve("victim:victim")
    first.is_ready()
    traced.enqueue("victim:victim")
    assert first.wait() == -9
    serve(traced, "victim:victim")
    (end,) = receiver.wait_for("settle victims")
    assert (end.is_error, end.attributes["jtask.state"]) == (True, "Crashed")
    assert (end.attributes["error.type"], end.attributes["jtask.lost_workers"]) == ("Crashed", 1)
    eventually(lambda: [p.value for p in receiver.points("jtask.run.dead_letters")][-1:] == [1])


def test_a_run_that_starts_long_after_its_call_begins_a_trace_with_a_link(
    traced: Place, receiver: Receiver
) -> None:
    traced.write("shop.py", SHOP)
    serve(traced, "shop:item", JTASK_OTEL_NEW_TRACE_AFTER="0.5")
    traced.ask(
        """
        from shop import item
        print(json.dumps(item.with_options(delay=1).delay(1).result(timeout=30)))
        """
    )
    (late,) = receiver.wait_for("process parcels")
    (published,) = receiver.wait_for("publish parcels")
    assert (late.parent_id, late.links) == ("", [published.place])
    assert late.trace_id != published.trace_id
    # It was not to start before, so it waited for next to nothing.
    assert 0 <= late.attributes["jtask.queue_time"] == late.attributes["jtask.lateness"]
    assert published.attributes["jtask.at"] <= late.begin


def test_a_run_of_a_schedule_begins_a_trace_and_says_how_late_it_is(
    traced: Place, receiver: Receiver
) -> None:
    traced.write(
        "clock.py",
        """
        from jtask import task

        @task(queue="ticks", every=1)
        def tick() -> None: ...
        """,
    )
    serve(traced, "clock:tick")
    first, second = receiver.wait_for("process ticks", 2)[:2]
    assert first.trace_id != second.trace_id
    assert (first.parent_id, first.links) == ("", [])
    assert first.attributes["jtask.lateness"] >= 0
    eventually(lambda: receiver.points("jtask.schedule.lateness"))


def test_the_parent_can_be_switched_off_and_the_spans_of_single_messages_too(
    traced: Place, receiver: Receiver
) -> None:
    traced.env |= {"JTASK_OTEL_PARENT": "false", "JTASK_OTEL_CREATE_SPANS": "false"}
    traced.write("shop.py", SHOP)
    serve(traced, "shop:item")
    traced.ask(
        """
        from shop import item
        print(json.dumps([r.result(timeout=30) for r in item.delay_many([(1,), (2,)])]))
        """
    )
    processed = receiver.wait_for("process parcels", 2)
    (published,) = receiver.wait_for("publish parcels")
    assert [(span.parent_id, span.links) for span in processed] == [("", [published.place])] * 2
    assert (published.kind, published.links) == ("PRODUCER", [])
    assert receiver.named("create parcels") == []


ENDS = """
import time
from opentelemetry import trace
from jtask import runtime, task
from jtask.cache_policies import INPUTS
from jtask.testing import run_worker

@task(queue="cached", cache_policy=INPUTS)
def cached(number: int) -> int:
    return number

@task(queue="narrow", limit=1)
def narrow() -> None:
    time.sleep(0.2)

@task(queue="unserved")
def unserved() -> None: ...

@task(queue="brief", timeout_seconds=0.2)
async def brief() -> None:
    import asyncio
    await asyncio.sleep(60)

@task(queue="direct", retries=1)
def direct() -> str:
    if runtime.attempt == 1:
        raise ValueError("again")
    return "done"

def end(run):
    run.wait(timeout=30)
    return run.state.name.value
"""
WAYS = """
from ends import *

answers = {}
expired = unserved.with_options(expires=0.01).delay()
cancelled = unserved.delay()
cancelled.cancel("not wanted")
time.sleep(0.05)
with run_worker(cached, narrow, unserved, brief, concurrency=4):
    answers["cached"] = [end(cached.delay(1)), end(cached.delay(1))]
    answers["narrow"] = [end(run) for run in [narrow.delay() for _ in range(2)]]
    answers["expired"] = end(expired)
    answers["brief"] = end(brief.delay())
with trace.get_tracer("web").start_as_current_span("request"):
    answers["direct"] = direct()
print(json.dumps(answers))
"""


@pytest.mark.parametrize("url", ["embedded://", "memory://ends"])
def test_the_ways_in_which_a_run_waits_and_ends_are_visible(
    traced: Place, receiver: Receiver, url: str
) -> None:
    traced.write("ends.py", ENDS)
    traced.env["JTASK_URL"] = url
    assert traced.ask(WAYS) == {
        "cached": ["Completed", "Cached"],
        "narrow": ["Completed", "Completed"],
        "expired": "Expired",
        "brief": "TimedOut",
        "direct": "done",
    }
    (hit,) = receiver.named("settle cached")
    assert (hit.kind, hit.attributes["jtask.state"], hit.is_error) == ("CLIENT", "Cached", False)
    assert hit.parent_id == receiver.named("publish cached")[1].span_id
    assert hit.attributes["messaging.operation.name"] == "settle"
    first, second = receiver.named("process narrow")
    assert "jtask.waited_for" not in first.attributes
    assert second.attributes["jtask.waited_for"] == second.event("jtask.waited")["jtask.reason"]
    assert "Expired" in [s.attributes["jtask.state"] for s in receiver.named("settle unserved")]
    (brief,) = receiver.named("process brief")
    assert (brief.is_error, brief.attributes["jtask.state"]) == (True, "TimedOut")
    assert brief.attributes["error.type"] == "RunTimedOut"
    failed, done = receiver.named("direct")
    (request,) = receiver.named("request")
    assert [span.kind for span in (failed, done)] == ["INTERNAL"] * 2
    assert {failed.parent_id, done.parent_id} == {request.span_id}
    assert (failed.is_error, done.is_error, done.links) == (True, False, [failed.place])
    system = "memory" if url.startswith("memory") else "nats"
    assert {s.attributes["messaging.system"] for s in (hit, first, brief)} == {system}


def test_a_cancelled_run_says_why(traced: Place, receiver: Receiver) -> None:
    traced.write(
        "long.py",
        """
        import asyncio
        from jtask import task

        @task(queue="long")
        async def long() -> None:
            mark("begun")
            await asyncio.sleep(60)
        """,
    )
    serve(traced, "long:long")
    run_id = traced.enqueue("long:long")
    eventually(traced.marks)
    assert traced.jtask("cancel", run_id).returncode == 0
    (cancelled,) = receiver.wait_for("process long")
    assert (cancelled.attributes["jtask.state"], cancelled.is_error) == ("Cancelled", False)
    assert cancelled.event("jtask.cancelled")["jtask.reason"]


def test_a_run_that_a_stopping_worker_hands_back_says_so(traced: Place, receiver: Receiver) -> None:
    traced.write(
        "long.py",
        """
        import asyncio
        from jtask import task

        @task(queue="long")
        async def long() -> None:
            mark("begun")
            await asyncio.sleep(60)
        """,
    )
    worker = serve(traced, "long:long", "--shutdown-timeout=0.1")
    traced.enqueue("long:long")
    eventually(traced.marks)
    assert worker.stop() == 0
    (span,) = receiver.wait_for("process long")
    assert "jtask.handed_back" in [name for name, _ in span.events]
    assert not span.is_error


def test_a_run_that_could_not_be_sent_has_a_span_with_the_error(
    traced: Place, receiver: Receiver
) -> None:
    traced.write("shop.py", SHOP)
    said = traced.ask(
        """
        from shop import item
        from jtask.client import get_client
        from jtask.errors import BrokerUnavailable

        def lost(prepared):
            raise BrokerUnavailable("the broker is away")
        get_client().enqueue_blocking = lost
        try:
            item.delay(1)
        except BrokerUnavailable as error:
            print(json.dumps(str(error)))
        """
    )
    (span,) = receiver.wait_for("publish parcels")
    assert (span.is_error, span.attributes["error.type"]) == (True, "BrokerUnavailable")
    assert said in span.message


CUT_OFF = """
from jtask.testing import run_worker
from cut import hang, spin, dear

with run_worker(hang, spin):
    for run in (hang.delay(), spin.delay()):
        run.wait(timeout=30)
first, second = dear.delay(), dear.delay()
print(json.dumps([first.run_id, second.run_id]))
"""


def test_a_run_that_is_cut_off_is_seen_with_what_its_child_process_recorded(
    traced: Place, receiver: Receiver
) -> None:
    traced.env["JTASK_URL"] = "memory://cut"
    traced.write(
        "cut.py",
        """
        import threading, time
        from opentelemetry import trace
        from jtask import task

        @task(queue="hang", timeout_seconds=0.2)
        def hang() -> None:
            threading.Event().wait(60)  # in C: it is left behind

        @task(queue="spin", timeout_seconds=0.5, isolation="process")
        def spin() -> None:
            with trace.get_tracer("spin").start_as_current_span("inside"):
                time.sleep(60)

        @task(queue="dear", idempotency_key="one")
        def dear() -> None: ...
        """,
    )
    kept, same = traced.ask(CUT_OFF)
    (inside,) = receiver.wait_for("inside")
    (hung,), (spun,) = receiver.named("process hang"), receiver.named("process spin")
    assert {span.attributes["jtask.state"] for span in (hung, spun)} == {"TimedOut"}
    assert (inside.trace_id, inside.parent_id) == (spun.trace_id, spun.span_id)
    # The call that was answered with the run of another one says so.
    first, second = receiver.named("publish dear")
    assert same == kept == second.attributes["jtask.instead.run.id"]
    assert first.attributes["jtask.run.id"] == kept != second.attributes["jtask.run.id"]
    assert "jtask.instead.run.id" not in first.attributes


def test_what_runs_log_and_print_is_exported_with_their_spans_where_logs_are_asked_for(
    traced: Place, receiver: Receiver
) -> None:
    traced.write(
        "chatty.py",
        """
        import logging
        from jtask import get_run_logger, task

        def talk():
            logging.getLogger("shop").warning("few left")
            try:
                1 / 0
            except ZeroDivisionError:
                get_run_logger().exception("no luck")
            print("bye")

        @task(queue="talks", log_prints=True)
        def plain() -> None:
            talk()

        @task(queue="talks", log_prints=True, isolation="process")
        def isolated() -> None:
            talk()
        """,
    )
    serve(traced, "chatty.py", OTEL_LOGS_EXPORTER="otlp", OTEL_BLRP_SCHEDULE_DELAY="100")
    traced.ask("import chatty\nprint(json.dumps(chatty.plain.delay().result(timeout=40)))")
    traced.ask("import chatty\nprint(json.dumps(chatty.isolated.delay().result(timeout=40)))")
    eventually(lambda: len(receiver.lines) >= 6)
    spans = receiver.wait_for("process talks", 2)
    for span in spans:
        run_id = span.attributes["jtask.run.id"]
        lines = [one for one in receiver.lines if one.attributes["jtask.run.id"] == run_id]
        assert [(one.severity, one.number) for one in lines] == [
            ("WARNING", 13),
            ("ERROR", 17),
            ("INFO", 9),
        ]
        assert {(one.trace_id, one.span_id) for one in lines} == {span.place}
        assert lines[0].text == "few left"
        assert lines[1].text.startswith("no luck\nTraceback")
        assert (lines[2].text, lines[2].attributes["jtask.logger"]) == ("bye", "print")
        assert {one.resource["service.name"] for one in lines} == {"shop"}
    assert len(receiver.lines) == 6


def test_logs_stay_with_the_broker_unless_their_exporter_is_named(
    traced: Place, receiver: Receiver
) -> None:
    traced.write(
        "chatty.py",
        """
        import logging
        from jtask import task

        @task(queue="talks")
        def plain() -> None:
            logging.getLogger("shop").warning("few left")
        """,
    )
    worker = serve(traced, "chatty.py")
    traced.ask("import chatty\nprint(json.dumps(chatty.plain.delay().result(timeout=40)))")
    assert worker.stop() == 0
    assert len(receiver.named("process talks")) == 1
    assert receiver.lines == []
