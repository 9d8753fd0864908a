"""Runs that wait for others: `b.delay(a.delay(1))`, on each broker."""

import asyncio
import dataclasses
import json
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import pytest
from in_process import StartWorker, events_of, on_each_broker, on_io
from pydantic import BaseModel, Field
from waiting import PATIENCE, eventually

from jtask import runtime, task
from jtask.annotations import allow_failure, quote
from jtask.cache_policies import INPUTS
from jtask.client import get_client, get_run
from jtask.contract import Broker, Delivery, Message, OutcomeRecord
from jtask.errors import (
    ArgumentError,
    ConfigurationError,
    NotUnique,
    ResultTimeout,
    RunNotReady,
    SerializationError,
)
from jtask.hooks import hookimpl
from jtask.needs import Needs
from jtask.outcomes import SettledRun
from jtask.plugins import get_plugins
from jtask.runs import Run
from jtask.states import State, StateName
from jtask.stored_ends import StoredEnd
from jtask.wire.envelope import Envelope, encode_outcome
from jtask_dead_letters.operations import list_letters, replay_letter
from jtask_dependencies.awaited import AwaitedRuns, awaited_at
from jtask_dependencies.rings import Ways

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


@dataclasses.dataclass
class Order:
    number: int
    at: datetime


@task(queue="deps")
def double(x: int) -> int:
    return 2 * x


@task(queue="deps")
def order(number: int) -> Order:
    return Order(number, datetime(2026, 1, 1, tzinfo=UTC))


@task(queue="deps")
def describe(one: Order, others: list[Order], **more: object) -> str:
    return f"{type(one).__name__} {one.number} {one.at.year} {[o.number for o in others]} {more}"


@task(queue="deps")
def total(xs: list[int]) -> int:
    return sum(xs)


@task(queue="deps")
def shape(value):  # type: ignore[no-untyped-def]
    return repr(value)


@task(queue="deps")
def fail(x: int) -> int:
    raise ValueError(f"no {x}")


TASKS = (double, order, describe, total, shape, fail)


def test_a_run_takes_the_value_of_another(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS)
    assert double.delay(double.delay(21)).result(PATIENCE) == 84


def test_what_cannot_be_sent_beside_a_handle_is_refused_by_name(jtask_broker: str) -> None:
    run = double.delay(1)
    with pytest.raises(SerializationError, match=r"argument 'value' of task 'shape' .*as JSON.*: "):
        shape.delay([run, threading.Lock()])


def test_a_handle_itself_is_not_sent(jtask_broker: str) -> None:
    run = double.delay(1)

    @task(serializer="cloudpickle")
    def pickled(value: object) -> None: ...

    for one in (shape, pickled):
        for value in (run, [run]):
            with pytest.raises(SerializationError, match=r"send the run_id of the handle, and"):
                one.delay(quote(value))


def test_a_run_that_is_sent_first_waits_for_one_that_is_over_later(
    jtask_worker: StartWorker,
) -> None:
    first = double.delay(1)
    second = double.delay(first)
    third = total.delay([first, second, 3])
    jtask_worker(*TASKS)
    assert third.result(PATIENCE) == 2 + 4 + 3


def test_values_come_as_their_annotations_say(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS)
    run = describe.delay(
        order.delay(1), [order.delay(2), Order(3, datetime.now(UTC))], note=double.delay(5)
    )
    assert run.result(PATIENCE) == "Order 1 2026 [2, 3] {'note': 10}"


def test_a_run_without_annotations_gets_what_get_run_would_give(
    jtask_worker: StartWorker,
) -> None:
    jtask_worker(*TASKS)
    run = shape.delay({"t": (order.delay(1), double.delay(1)), "s": {1, 2}})
    assert run.result(PATIENCE) == (
        "{'t': ({'number': 1, 'at': '2026-01-01T00:00:00Z'}, 2), 's': {1, 2}}"
    )
    run = shape.delay(deque([double.delay(1), 3], maxlen=5))
    assert run.result(PATIENCE) == "deque([2, 3], maxlen=5)"


def test_what_waits_for_a_run_that_failed_is_not_ready_and_so_on(
    jtask_worker: StartWorker,
) -> None:
    jtask_worker(*TASKS)
    first = fail.delay(1)
    second = double.delay(first)
    third = double.delay(second)
    with pytest.raises(RunNotReady, match=second.run_id):
        third.result(PATIENCE)
    assert second.state.name is StateName.NOT_READY
    assert first.run_id in second.state.message
    assert "no 1" in second.state.message


def test_a_failure_that_is_allowed_is_the_value(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS)
    run = shape.delay([allow_failure(fail.delay(1)), double.delay(1)])
    assert run.result(PATIENCE) == "[ValueError('no 1'), 2]"


def test_the_record_says_which_run_went_into_which_input(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS)
    first, second, third = double.delay(1), double.delay(2), double.delay(3)
    run = total.apply_async(([first, second],), wait_for=[third])
    assert run.result(PATIENCE) == 6
    info = run.info
    assert info is not None
    assert info.needs is not None
    assert info.needs.arguments == {"xs": (first.run_id, second.run_id)}
    assert info.needs.wait_for == (third.run_id,)


# --- the rest of the ways in ---------------------------------------------------------------------


@task(queue="deps", serializer="cloudpickle")
def pickled(value: object) -> object:
    return value


def test_pickles_take_pickles_and_json(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS, pickled)
    run = pickled.delay({"a": pickled.delay({1, 2}), "b": [order.delay(1)]})
    assert run.result(PATIENCE) == {"a": {1, 2}, "b": [{"number": 1, "at": "2026-01-01T00:00:00Z"}]}


def test_a_pickle_does_not_go_into_json(jtask_worker: StartWorker) -> None:
    upstream = pickled.delay(1)
    with pytest.raises(SerializationError, match="declare both with the same serializer"):
        double.delay(upstream)
    unknown = get_run(upstream.run_id)
    run = double.delay(unknown)
    jtask_worker(*TASKS, pickled)
    with pytest.raises(RunNotReady, match="task 'double' takes JSON"):
        run.result(PATIENCE)


def test_a_handle_that_was_made_of_an_id_does_as_well(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS)
    assert double.delay(get_run(double.delay(1).run_id)).result(PATIENCE) == 4


def test_what_is_quoted_is_not_waited_for(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS)
    assert shape.delay(quote([1, 2])).result(PATIENCE) == "[1, 2]"
    with pytest.raises(SerializationError):
        shape.delay(quote([double.delay(1)]))


def test_many_calls_with_handles_are_sent_together(jtask_worker: StartWorker) -> None:
    first = double.delay_many([(i,) for i in range(5)])
    second = double.delay_many([(run,) for run in first])
    third = total.delay_many([{"xs": second}, {"xs": [*first, 1]}])
    jtask_worker(*TASKS)
    assert [run.result(PATIENCE) for run in third] == [40, 21]


def test_of_many_runs_none_is_sent_when_the_last_waits_for_too_many() -> None:
    client = get_client()
    handles = map(client.handle, client.ids.new_many(client.inline_limit // 36))
    with pytest.raises(ArgumentError, match="join them in several steps"):
        total.delay_many([*[([1],)] * 1000, (list(handles),)])
    assert on_io(lambda broker: broker.queues.depth(total.queue)) == 0


def test_an_iterator_beside_a_run_is_refused_instead_of_arriving_empty() -> None:
    upstream = double.delay(1)
    with pytest.raises(ArgumentError, match="can be read once only"):
        total.delay_many([(iter([1, 2]),), ([upstream],)])


def test_a_large_value_goes_on_as_a_large_argument(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS, large, length)
    size = get_client().inline_limit + 1000
    assert length.delay([large.delay(size), large.delay(5)]).result(PATIENCE) == size + 5


@task(queue="deps")
def large(size: int) -> str:
    return "x" * size


@task(queue="deps")
def length(texts: list[str]) -> int:
    return sum(map(len, texts))


def test_a_run_that_waits_says_for_what_and_can_be_cancelled(jtask_worker: StartWorker) -> None:
    gate = threading.Event()
    held.gate = gate  # type: ignore[attr-defined]
    jtask_worker(*TASKS, held)
    first = held.delay(1)
    second = double.delay(first)
    third = double.delay(second)
    try:
        eventually(lambda: first.run_id in second.state.message)
        eventually(lambda: second.run_id in third.state.message)
        with pytest.raises(ResultTimeout):
            third.result(0.05)
        second.cancel()
        with pytest.raises(RunNotReady, match="ended as Cancelled"):
            third.result(PATIENCE)
    finally:
        gate.set()
    assert first.result(PATIENCE) == 1


@task(queue="deps")
def held(x: int) -> int:
    assert held.gate.wait(PATIENCE)  # type: ignore[attr-defined]
    return x


def test_a_run_that_nobody_knows_is_no_reason_to_wait(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS)
    run = double.delay(get_run(get_client().ids.new()))
    with pytest.raises(RunNotReady, match="there is no run"):
        run.result(PATIENCE)


def test_a_retry_takes_the_values_again(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS, flaky)
    assert flaky.delay([double.delay(1)]).result(PATIENCE) == [2]


@task(queue="deps", retries=2)
def flaky(xs: list[int]) -> list[int]:
    if runtime.attempt < 3:
        raise ValueError("not yet")
    return xs


def test_a_cached_run_is_looked_up_by_the_values_that_it_takes(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS, kept)
    assert kept.delay(double.delay(1)).result(PATIENCE) == 3
    again = kept.delay(double.delay(1))
    assert again.result(PATIENCE) == 3
    assert again.state.name is StateName.CACHED


@task(queue="deps", cache_policy=INPUTS)
def kept(x: int) -> int:
    return x + 1


@pytest.mark.parametrize("length", [2, 3, 30])
@pytest.mark.parametrize("backwards", [False, True])
def test_runs_that_wait_for_each_other_are_not_ready_as_soon_as_the_ring_is_closed(
    jtask_worker: StartWorker, length: int, backwards: bool
) -> None:
    ids = get_client().ids.new_many(length)[:: -1 if backwards else 1]
    for run_id, other in zip(ids, [*ids[1:], ids[0]], strict=True):
        send_by_hand(run_id, Needs({"x": (other,)}))
    jtask_worker(*TASKS)
    for run_id in ids:
        with pytest.raises(RunNotReady, match="waits for"):
            get_run(run_id).result(PATIENCE)


def test_a_ring_is_named(jtask_worker: StartWorker) -> None:
    first, second, third = ids = get_client().ids.new_many(3)
    for run_id, other in zip(ids, (second, third, first), strict=True):
        send_by_hand(run_id, Needs({"x": (other,)}))
    jtask_worker(*TASKS)
    named = f"{first} waits for run {second}, which waits for run {third}, which waits for run "
    assert any(f"{named}{first}: none" in get_end(run_id).message for run_id in ids)


def get_end(run_id: str) -> State:
    run = get_run(run_id)
    run.wait(PATIENCE)
    return run.state


def test_a_ring_that_is_closed_after_some_of_it_waits_is_found_all_the_same(
    jtask_worker: StartWorker,
) -> None:
    first, second, third = get_client().ids.new_many(3)
    # This one does not look, and so does not find that the last one is not known.
    send_by_hand(third, Needs({"x": (second,)}), parked_under="run-test")
    send_by_hand(first, Needs({"x": (third,)}))
    jtask_worker(*TASKS)
    eventually(lambda: third in get_run(first).state.message)
    send_by_hand(second, Needs({"x": (first,)}))
    for run_id in (first, second):
        with pytest.raises(RunNotReady, match="waits for"):
            get_run(run_id).result(PATIENCE)
    on_io(lambda broker: broker.runs.wake("run-test", 1, first=False))
    with pytest.raises(RunNotReady, match="waits for"):
        get_run(third).result(PATIENCE)


def test_a_run_that_waits_for_one_with_a_later_id_is_in_no_ring(
    jtask_worker: StartWorker,
) -> None:
    first, second = get_client().ids.new_many(2)
    held.gate = gate = threading.Event()  # type: ignore[attr-defined]
    send_by_hand(second, Needs({"x": (held.delay(1).run_id,)}))
    send_by_hand(first, Needs({"x": (second,)}))
    jtask_worker(*TASKS, held)
    eventually(lambda: second in get_run(first).state.message)
    gate.set()
    assert get_run(first).result(PATIENCE) == 4


def test_a_message_names_some_runs_of_a_long_ring() -> None:
    named = str(Ways(tuple(f"r{i}" for i in range(100))))
    assert "which waits for run r10, which waits for 89 more in turn" in named
    assert named.endswith(" of which the last waits for run r0")


def test_a_run_that_waits_for_itself_is_not_ready(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS)
    run_id = get_client().ids.new()
    send_by_hand(run_id, Needs(wait_for=(run_id,)))
    with pytest.raises(RunNotReady, match="waits for itself"):
        get_run(run_id).result(PATIENCE)


def waits_for(run: Run[Any], run_id: str | None) -> bool:
    return f"it waits for run {run_id}" in run.state.message


@task
def followed(number: int) -> int:
    """Called directly: has a run in the background wait for this very call."""
    waiting.append(double.delay(get_run(runtime.run_id or "")))
    waiting.append(double.apply_async((number,), wait_for=[get_run(runtime.run_id or "")]))
    eventually(lambda: all(waits_for(run, runtime.run_id) for run in waiting))
    if number < 0:
        raise ValueError("no")
    return number


waiting: list[Any] = []


def test_a_run_waits_for_a_direct_call_that_goes_on(jtask_worker: StartWorker) -> None:
    waiting.clear()
    jtask_worker(*TASKS)
    assert followed(5) == 5
    assert [run.result(PATIENCE) for run in waiting] == [10, 10]


def test_a_run_waits_for_a_submitted_run_of_another_process(jtask_worker: StartWorker) -> None:
    may_end = threading.Event()

    @task
    def hold() -> int:
        may_end.wait()
        return 4

    jtask_worker(*TASKS)
    submitted = hold.submit()
    # As another process has it: without the handle of this one.
    run = double.delay(get_client().handle(submitted.run_id).as_value)
    eventually(lambda: waits_for(run, submitted.run_id))
    may_end.set()
    assert run.result(PATIENCE) == 8


def test_the_failure_of_a_direct_call_reaches_who_waits_for_it(jtask_worker: StartWorker) -> None:
    waiting.clear()
    jtask_worker(*TASKS)
    with pytest.raises(ValueError, match="no"):
        followed(-1)
    for run in waiting:
        with pytest.raises(RunNotReady, match="ended as Failed"):
            run.result(PATIENCE)


def test_a_direct_call_that_goes_on_says_so() -> None:
    get_client()
    seen: list[str] = []

    @task
    def look() -> None:
        seen.append(get_run(runtime.run_id or "").state.name)

    look()
    assert seen == ["Running"]


class Told:
    """Notes of which ends it is told."""

    def __init__(self) -> None:
        self.run_ids: list[str] = []

    @hookimpl
    def jtask_stored(self, end: StoredEnd) -> None:
        self.run_ids.append(end.run_id)


@pytest.fixture
def told() -> Iterator[Told]:
    plugin = Told()
    get_plugins().add(plugin)
    yield plugin
    get_plugins().remove(plugin)


def test_the_end_of_a_direct_call_is_told_if_somebody_has_asked_for_it(told: Told) -> None:
    get_client()
    ids: list[str] = []

    @task
    def work(*, is_asked_for: bool) -> None:
        ids.append(runtime.run_id or "")
        if is_asked_for:
            assert get_run(ids[-1]).state.name is StateName.RUNNING

    work(is_asked_for=False)
    work(is_asked_for=True)
    assert all(get_run(run_id).wait(PATIENCE) for run_id in ids)
    eventually(lambda: told.run_ids)
    assert told.run_ids == ids[1:]


def send_by_hand(run_id: str, needs: Needs, parked_under: str | None = None) -> None:
    holes = {name: {"=run": ids[0]} for name, ids in needs.arguments.items()}
    payload = json.dumps({**holes, "=": [*holes]} if holes else {"x": 1}).encode()
    envelope = Envelope(run_id, double.key, double.name, "json", payload, time.time(), needs=needs)
    at = None if parked_under is None else time.time() + 3600
    message = Message(run_id, "deps", envelope.encode(), at=at, parked_under=parked_under)
    on_io(lambda broker: broker.runs.enqueue([message]))


def test_a_run_with_many_needs_is_parked_few_times(jtask_worker: StartWorker) -> None:
    runs = double.delay_many([(i,) for i in range(1000)])
    join = total.delay(runs)
    jtask_worker(*TASKS)
    assert join.result(PATIENCE) == 2 * sum(range(1000))
    parked = [event for event in events_of(join.run_id) if "waits for run" in event.detail]
    assert len(parked) < 20


def test_a_chain_of_a_hundred_ends(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS)
    run = double.delay(0)
    for _ in range(99):
        run = double.delay(run)
    assert run.result(PATIENCE) == 0


def test_too_many_needs_are_refused_at_the_call() -> None:
    runs = [get_run(run_id) for run_id in get_client().ids.new_many(30_000)]
    with pytest.raises(ArgumentError, match="join them in several steps"):
        total.delay(runs)


def test_the_plugin_has_to_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = double.delay(1)
    monkeypatch.setattr("jtask.plugins.Plugins.caller", lambda *_: None)
    with pytest.raises(ConfigurationError, match="add 'dependencies' to JTASK_PLUGINS"):
        double.delay(upstream)


def test_an_error_in_what_comes_fails_the_run(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS)
    run = double.delay(shape.delay("a"))
    with pytest.raises(ArgumentError, match="'x'"):
        run.result(PATIENCE)


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JTASK_LEASE", "1")


@pytest.mark.usefixtures("short_lease", "jtask_broker")
def test_who_finds_that_a_run_was_over_already_wakes_what_waits_for_it(
    jtask_worker: StartWorker,
) -> None:
    upstream, downstream = get_client().ids.new(), get_client().ids.new()
    send_by_hand(upstream, Needs())
    send_by_hand(downstream, Needs({"x": (upstream,)}), parked_under=f"run-{upstream}")

    async def lose_after_storing(broker: Broker) -> None:
        taken: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        consumption = await broker.runs.consume(["deps"], 1, taken.set_result)
        assert (await taken).run_id == upstream
        now = time.time()
        state = State(StateName.COMPLETED, now)
        record = SettledRun(
            upstream, double.key, "", state, 1, now, now, now, 0.0, "", "json", b"5"
        )
        assert await broker.results.put(OutcomeRecord(upstream, encode_outcome(record)))
        await consumption.close()

    on_io(lose_after_storing)
    jtask_worker(*TASKS)
    assert get_run(downstream).result(PATIENCE) == 10


def test_an_end_of_which_a_worker_could_not_hear_wakes_all_the_same(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def keep_silent(*_: object) -> None: ...

    # As if the news came to nobody, and the gap was noticed later.
    monkeypatch.setattr(AwaitedRuns, "tell", keep_silent)
    held.gate = gate = threading.Event()  # type: ignore[attr-defined]
    jtask_worker(*TASKS, held)
    first = held.delay(1)
    second = double.delay(first)
    eventually(lambda: first.run_id in second.state.message)

    async def notice(broker: Broker) -> None:
        awaited_at(broker)._on_gap()

    on_io(notice)
    gate.set()
    assert second.result(PATIENCE) == 2


@task(queue="deps", limit=1)
def one_at_a_time(x: int) -> int:
    return x


def test_a_run_that_waits_keeps_no_slot_of_a_limit(jtask_worker: StartWorker) -> None:
    held.gate = gate = threading.Event()  # type: ignore[attr-defined]
    jtask_worker(*TASKS, held, one_at_a_time)
    first = held.delay(1)
    waiting, *others = one_at_a_time.delay_many([(first,), (2,), (3,), (4,)])
    try:
        assert [run.result(PATIENCE) for run in others] == [2, 3, 4]
        eventually(lambda: first.run_id in waiting.state.message)
    finally:
        gate.set()
    assert waiting.result(PATIENCE) == 1


@task(queue="deps", isolation="process")
def apart(order: Order) -> int:
    return order.number


def test_a_task_in_a_process_of_its_own_gets_the_values(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS, apart)
    assert apart.delay(order.delay(7)).result(PATIENCE) == 7


@task(queue="deps")
def mended(x: int) -> int:
    if not mended.is_mended:  # type: ignore[attr-defined]
        raise ValueError("not yet")
    return x


def test_a_replay_takes_the_values_again(jtask_worker: StartWorker) -> None:
    mended.is_mended = False  # type: ignore[attr-defined]
    jtask_worker(*TASKS, mended)
    run = mended.delay(double.delay(1))
    with pytest.raises(ValueError, match="not yet"):
        run.result(PATIENCE)
    mended.is_mended = True  # type: ignore[attr-defined]
    eventually(lambda: list_letters())
    assert replay_letter(run.run_id).result(PATIENCE) == 2


class Box(BaseModel):
    content: Any
    label: str = Field(default="", alias="text")


class Pair(NamedTuple):
    left: Any
    right: Any


@task(queue="deps")
def typed(box: Box, pair: Pair, orders: dict[int, Order]) -> str:
    return f"{box!r} {pair!r} {[(key, one.number, one.at.year) for key, one in orders.items()]}"


def test_handles_may_be_anywhere_inside(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS, typed)
    one, two = double.delay(1), double.delay(2)
    run = shape.delay({one: [{two}, frozenset([one])], "x": ((one,), {"y": two})})
    assert run.result(PATIENCE) == "{2: [{4}, frozenset({2})], 'x': ((2,), {'y': 4})}"
    order_of_two = Order(cast("int", two), datetime(2026, 1, 1, tzinfo=UTC))
    box = Box(content=[one, {"two": two}], text="a box")
    other = typed.delay(box, Pair(one, "r"), {5: order_of_two, 6: cast("Order", order.delay(3))})
    assert other.result(PATIENCE) == (
        "Box(content=[2, {'two': 4}], label='a box') Pair(left=2, right='r') "
        "[(5, 4, 2026), (6, 3, 2026)]"
    )


class OwnList(list[Any]):
    pass


class OwnSet(set[Any]):
    pass


def test_handles_may_be_in_containers_of_other_classes(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS)
    run = total.delay(double.map([1, 2], deferred=True).as_values)
    assert run.result(PATIENCE) == 6
    one = double.delay(1)
    held = {"a": OwnList([(one,)]), "b": OwnSet([one]), "c": defaultdict(list, d=[one])}
    other = shape.delay([held, MappingProxyType({"e": one})])
    assert other.result(PATIENCE) == "[{'a': [(2,)], 'b': {2}, 'c': {'d': [2]}}, {'e': 2}]"


class Colour(Enum):
    RED = 1


@pytest.mark.parametrize(
    ("holding", "text"),
    [
        (lambda run: Box(content=run, text="a box"), "would come back as dict, not Box"),
        (lambda run: [Box(content=1, text="a box"), run], r"\(dict\) in place of Box.*\(at 0\)"),
        (lambda run: OwnList([{"a": Colour.RED}, run]), r"1 \(int\) in place of .*\(at 0.a\)"),
        (lambda run: [(n for n in [1]), run], "in place of <generator"),
        (lambda run: Pair(run, 1), "would come back as list, not Pair"),
    ],
)
def test_what_would_change_beside_a_handle_is_refused_at_the_call(
    jtask_memory: str, holding: Callable[[object], object], text: str
) -> None:
    with pytest.raises(SerializationError, match=rf"argument 'value' of task 'shape'.*{text}"):
        shape.delay(holding(double.delay(1)))


@task(queue="deps", unique=True)
def unique(x: int) -> int:
    return x


@task(queue="deps", limit=1, limit_key="{x}")
def limited(x: int, n: int) -> int:
    return x + n


def test_a_key_that_is_made_of_arguments_takes_a_run_by_its_id(jtask_worker: StartWorker) -> None:
    one, two = double.delay(1), double.delay(2)
    runs = [unique.delay(one), unique.delay(two)]
    with pytest.raises(NotUnique):
        unique.delay(get_run(one.run_id))
    many = limited.delay_many([(one, n) for n in range(20)])
    jtask_worker(*TASKS, unique, limited)
    assert [run.result(PATIENCE) for run in runs] == [2, 4]
    assert [run.result(PATIENCE) for run in many] == [2 + n for n in range(20)]


@pytest.mark.parametrize("hole", [{"=run": ["a"]}, {"=run": "of nobody"}, {"=run": None}])
def test_a_hole_that_no_run_fills_fails_the_run(jtask_worker: StartWorker, hole: object) -> None:
    jtask_worker(*TASKS)
    upstream, run_id = double.delay(1), get_client().ids.new()
    payload = json.dumps({"x": hole, "=": ["x"]}).encode()
    needs = Needs({"x": (upstream.run_id,)})
    envelope = Envelope(run_id, double.key, double.name, "json", payload, time.time(), needs=needs)
    on_io(lambda broker: broker.runs.enqueue([Message(run_id, "deps", envelope.encode())]))
    with pytest.raises(SerializationError, match="tags that cannot be read"):
        get_run(run_id, double).result(PATIENCE)
