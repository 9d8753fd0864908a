"""Several calls are one run, on both brokers: idempotency keys, unique runs, debouncing."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from in_process import StartWorker, lose_workers, on_each_broker, on_io
from waiting import PATIENCE, eventually

import jtask_once.claims
import jtask_once.debouncing
from jtask import Run, get_run, runtime, task
from jtask.client import get_client
from jtask.contract import Broker, DeadLetter, Message
from jtask.errors import (
    BrokerFull,
    BrokerUnavailable,
    NotUnique,
    RunCancelled,
    RunCrashed,
    RunRefused,
    SerializationError,
)
from jtask.settings import get_settings
from jtask.states import StateName
from jtask.wire.envelope import Envelope
from jtask_dead_letters.operations import replay_letter
from jtask_once.reservations import BUCKET
from jtask_queues.operations import purge_queue

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


class Gate:
    """What tasks note, and whether they may end."""

    def __init__(self) -> None:
        self.began: list[Any] = []
        self.open = threading.Event()

    def pass_through(self, what: Any) -> Any:
        self.began.append(what)
        assert self.open.wait(PATIENCE)
        return what


@pytest.fixture
def gate() -> Gate:
    return Gate()


def records() -> list[str]:
    """Return the names of the keys that somebody has."""
    found: list[Any] = on_io(lambda broker: broker.records.list(BUCKET))
    return [record.key for record in found]


def depth(queue: str) -> int:
    return int(on_io(lambda broker: broker.queues.depth(queue)))


def refused(call: Callable[[], object]) -> str:
    """Make a call whose key is taken; return the run that has it."""
    with pytest.raises(NotUnique) as caught:
        call()
    assert caught.value.run_id in str(caught.value)
    return caught.value.run_id


# --- unique ------------------------------------------------------------------------------------


def stall_first_enqueue(monkeypatch: pytest.MonkeyPatch, seconds: float) -> threading.Event:
    """Have the broker take its time with the next run; returns what says that it has begun."""
    broker = get_client().broker
    store, stalled = broker.runs.enqueue, threading.Event()

    async def stall(messages: Any) -> None:
        if not stalled.is_set():
            stalled.set()
            await asyncio.sleep(seconds)
        await store(messages)

    monkeypatch.setattr(broker.runs, "enqueue", stall)
    return stalled


def test_a_key_is_taken_until_its_run_is_over_and_free_at_once(
    gate: Gate, jtask_worker: StartWorker
) -> None:
    @task(unique="{tenant}")
    def work(tenant: str) -> str:
        return str(gate.pass_through(tenant))

    run = work.delay("a")
    assert refused(lambda: work.delay("a")) == run.run_id
    jtask_worker(work)
    eventually(lambda: gate.began)
    assert refused(lambda: work.delay("a")) == run.run_id
    gate.open.set()
    for _ in range(20):
        assert run.result(PATIENCE) == "a"
        run = work.delay("a")
    run.result(PATIENCE)
    # Whoever has ended has let go of its key.
    eventually(lambda: records() == [])


def test_true_means_all_arguments(jtask_worker: StartWorker) -> None:
    @task(unique=True)
    def work(tenant: str, pages: int = 1) -> int:
        return pages

    run = work.delay("a")
    assert refused(lambda: work.delay("a", pages=1)) == run.run_id
    others = [work.delay("a", 2), work.delay("b")]
    jtask_worker(work)
    assert [one.result(PATIENCE) for one in (run, *others)] == [1, 2, 1]


def test_a_call_can_get_the_existing_run_instead(jtask_worker: StartWorker) -> None:
    @task(unique=True, on_conflict="existing")
    def work(tenant: str) -> str:
        return tenant

    runs = [work.delay("a"), work.delay("a"), *work.delay_many([("a",), ("b",), ("b",)])]
    assert len({run.run_id for run in runs}) == 2
    jtask_worker(work)
    assert [run.result(PATIENCE) for run in runs] == ["a", "a", "a", "b", "b"]


def test_a_call_can_have_a_key_that_its_task_does_not_declare(jtask_worker: StartWorker) -> None:
    @task
    def work(number: int) -> int:
        return number

    def key(call: object, parameters: dict[str, Any]) -> str:
        return f"parity {parameters['number'] % 2}"

    copy = work.with_options(unique=key)
    first, other = copy.delay(1), copy.delay(2)
    assert refused(lambda: copy.delay(3)) == first.run_id
    assert work.delay(3) != first
    jtask_worker(work)
    assert [first.result(PATIENCE), other.result(PATIENCE)] == [1, 2]
    eventually(lambda: records() == [])


def test_asynchronous_calls_are_unique_too(gate: Gate) -> None:
    @task(unique=True)
    def work(tenant: str) -> None: ...

    async def main() -> list[Any]:
        calls = [work.adelay("a") for _ in range(20)]
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(main())
    (run,) = [answer for answer in answers if isinstance(answer, Run)]
    errors = [answer for answer in answers if not isinstance(answer, Run)]
    assert {error.run_id for error in errors} == {run.run_id}
    assert depth(work.queue) == 1


def test_two_runs_of_one_call_with_one_key_send_none(gate: Gate) -> None:
    @task(unique=True)
    def work(tenant: str) -> None: ...

    with pytest.raises(NotUnique, match="two runs of one call have the same arguments"):
        work.delay_many([("a",), ("b",), ("a",)])
    taken = work.delay("c")
    assert refused(lambda: work.delay_many([("a",), ("b",), ("c",)])) == taken.run_id
    assert depth(work.queue) == 1
    work.delay_many([("a",), ("b",)])


def test_calls_with_one_key_are_one_run_in_however_many_groups_they_are_stored() -> None:
    @task(unique="{tenant}", on_conflict="existing")
    def work(tenant: str, number: int) -> None: ...

    runs = work.delay_many([("ab"[number % 2], number) for number in range(2500)])
    assert len(runs) == 2500
    assert len(set(runs)) == 2
    assert [run == runs[0] for run in runs] == [number % 2 == 0 for number in range(2500)]
    assert depth(work.queue) == 2


def test_a_delayed_run_has_its_key_and_lets_go_of_it_when_it_is_cancelled(gate: Gate) -> None:
    @task(unique=True)
    def work() -> None: ...

    run = work.apply_async(countdown=3600)
    assert refused(work.delay) == run.run_id
    run.cancel()
    assert work.with_options(delay=3600).delay() != run


def test_a_run_keeps_its_key_while_it_waits_for_a_retry(
    gate: Gate, jtask_worker: StartWorker
) -> None:
    @task(unique=True, retries=1, retry_delay_seconds=3600)
    def work() -> None:
        raise ValueError("boom")

    jtask_worker(work)
    run = work.delay()
    eventually(lambda: run.state.name is StateName.AWAITING_RETRY)
    assert refused(work.delay) == run.run_id


@pytest.mark.parametrize("end", ["fails", "expires", "is purged"])
def test_a_key_is_free_however_its_run_ends(end: str, jtask_worker: StartWorker) -> None:
    @task(unique=True, dead_letter=True)
    def work() -> None:
        raise ValueError("boom")

    run = work.with_options(expires=0.01).delay() if end == "expires" else work.delay()
    if end == "is purged":
        purge_queue(work.queue)
    else:
        jtask_worker(work)
    assert run.wait(PATIENCE)
    assert work.delay() != run


def test_a_run_that_lost_its_worker_keeps_its_key_until_it_has_crashed(
    monkeypatch: pytest.MonkeyPatch, jtask_worker: StartWorker
) -> None:
    monkeypatch.setenv("JTASK_LEASE", "1")
    monkeypatch.setenv("JTASK_MAX_CRASHES", "1")
    get_settings.cache_clear()

    @task(unique=True)
    def work() -> None: ...

    run = work.delay()
    lose_workers(work.queue, 1)
    assert refused(work.delay) == run.run_id
    jtask_worker(work)
    with pytest.raises(RunCrashed):
        run.result(PATIENCE)
    assert work.delay().result(PATIENCE) is None


def test_what_is_refused_for_sure_takes_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    @task(unique=True, idempotency_key="k")
    def work() -> None: ...

    async def full(messages: object) -> None:
        raise BrokerFull

    with monkeypatch.context() as patch:
        patch.setattr(get_client().broker.runs, "enqueue", full)
        with pytest.raises(BrokerFull):
            work.delay()
    assert records() == []
    work.delay()


def test_a_broker_that_is_away_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    @task(unique=True)
    def work() -> None: ...

    async def away(*args: object, **options: object) -> bool:
        raise BrokerUnavailable("the broker does not answer")

    monkeypatch.setattr(get_client().broker.records, "put", away)
    with pytest.raises(BrokerUnavailable, match=r"^the broker does not answer$"):
        work.delay()
    assert depth(work.queue) == 0


def test_a_record_that_names_no_run_is_replaced(jtask_worker: StartWorker) -> None:
    @task(unique="k")
    def work() -> int:
        return 7

    name = f"unique:{work.key}:k"
    on_io(lambda broker: broker.records.put(BUCKET, name, b"nonsense"))
    jtask_worker(work)
    assert work.delay().result(PATIENCE) == 7


# --- runs that come without a key --------------------------------------------------------------


def send_without_key(work: Any) -> Run[Any]:
    """Enqueue a run as somebody does who does not know keys."""
    client = get_client()
    run_id = client.ids.new()
    body = Envelope(run_id, work.key, work.name, "json", b"{}", time.time()).encode()
    on_io(lambda broker: broker.runs.enqueue([Message(run_id, work.queue, body)]))
    return get_run(run_id, work)


def test_a_run_that_came_without_its_key_takes_it_or_is_refused(
    gate: Gate, jtask_worker: StartWorker
) -> None:
    @task(unique="k")
    def work() -> Any:
        return gate.pass_through(runtime.run_id)

    jtask_worker(work)
    stranger = send_without_key(work)
    eventually(lambda: gate.began)
    assert refused(work.delay) == stranger.run_id
    other = send_without_key(work)
    with pytest.raises(RunRefused, match=f"another run has its key: {stranger.run_id}"):
        other.result(PATIENCE)
    gate.open.set()
    assert stranger.result(PATIENCE) == stranger.run_id
    assert work.delay().result(PATIENCE)
    eventually(lambda: records() == [])


def test_a_call_that_is_told_not_to_be_unique_is_left_out(
    gate: Gate, jtask_worker: StartWorker
) -> None:
    @task(unique="k")
    def work() -> Any:
        return gate.pass_through(runtime.run_id)

    jtask_worker(work)
    runs = [work.delay(), work.with_options(unique=None).delay()]
    eventually(lambda: len(gate.began) == 2)
    gate.open.set()
    assert [run.result(PATIENCE) for run in runs] == [run.run_id for run in runs]


def test_a_scheduled_run_is_left_out_while_another_one_is_not_over(
    gate: Gate, jtask_worker: StartWorker
) -> None:
    left_out: list[str] = []

    def note(task: object, run: Any, state: Any) -> None:
        left_out.append(state.message)

    @task(unique="k", every=1, key="once-beat", on_cancellation=[note])
    def beat() -> Any:
        return gate.pass_through(runtime.scheduled_for)

    called = beat.delay()
    jtask_worker(beat)
    eventually(lambda: len(left_out) == 2)
    assert left_out == [f"another run has its key: {called.run_id}"] * 2
    assert gate.began == [None]
    gate.open.set()
    called.result(PATIENCE)
    eventually(lambda: len(gate.began) > 1)
    assert gate.began[1] is not None


def test_a_replay_takes_over_the_keys_of_its_run(jtask_worker: StartWorker) -> None:
    attempts: list[str] = []

    @task(unique="{n}", idempotency_key="k-{n}")
    def work(n: int) -> int:
        attempts.append(str(runtime.run_id))
        if len(attempts) == 1:
            raise ValueError("boom")
        return n

    jtask_worker(work)
    run = work.delay(3)
    assert run.wait(PATIENCE)

    async def letters(broker: Broker) -> list[DeadLetter]:
        return [letter async for letter in broker.dead_letters.read()]

    eventually(lambda: on_io(letters))
    again = get_run(replay_letter(run.run_id).run_id, work)
    assert again.result(PATIENCE) == 3
    assert work.delay(3) == again


# --- idempotency keys --------------------------------------------------------------------------


def test_a_repeated_call_gets_the_run_that_is_there_before_and_after_its_end(
    gate: Gate, jtask_worker: StartWorker
) -> None:
    @task(idempotency_key="order-{order}")
    def charge(order: int) -> int:
        return int(gate.pass_through(order))

    first, again = charge.delay(17), charge.delay(17)
    assert first == again
    jtask_worker(charge)
    eventually(lambda: gate.began)
    assert charge.delay(17) == first
    gate.open.set()
    assert [run.result(PATIENCE) for run in (first, again, charge.delay(17))] == [17] * 3
    assert charge.delay_many([(17,), (18,), (18,)])[0] == first
    assert charge.delay(18).result(PATIENCE) == 18
    assert sorted(gate.began) == [17, 18]


def test_a_run_that_failed_is_given_back_too(jtask_worker: StartWorker) -> None:
    @task(idempotency_key="k")
    def work() -> None:
        raise ValueError("boom")

    jtask_worker(work)
    first = work.delay()
    assert isinstance(first.exception(PATIENCE), ValueError)
    assert work.delay() == first


def test_a_key_is_kept_as_long_as_the_outcome(
    monkeypatch: pytest.MonkeyPatch, jtask_worker: StartWorker
) -> None:
    monkeypatch.setenv("JTASK_RESULT_TTL", "1")
    get_settings.cache_clear()

    @task(idempotency_key="k")
    def work() -> int:
        return 7

    jtask_worker(work)
    first = work.delay()
    first.result(PATIENCE)
    eventually(lambda: on_io(lambda broker: broker.results.get(first.run_id)) is None)
    again = work.delay()
    assert again != first
    assert again.result(PATIENCE) == 7


def test_a_run_with_two_keys_has_both_or_none(gate: Gate, jtask_worker: StartWorker) -> None:
    @task(idempotency_key="{order}", unique="{tenant}")
    def charge(order: int, tenant: str) -> int:
        return order

    first = charge.delay(1, "a")
    # Repeated, although the other key is taken by the very run.
    assert charge.delay(1, "a") == first
    assert refused(lambda: charge.delay(2, "a")) == first.run_id
    assert f"idempotency_key:{charge.key}:2" not in records()
    jtask_worker(charge)
    first.result(PATIENCE)
    assert charge.delay(2, "a").result(PATIENCE) == 2


def test_a_caller_that_died_before_it_stored_holds_up_the_next_call_for_a_moment_only(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed: list[str] = []

    @task(idempotency_key="k")
    def work() -> str:
        executed.append(str(runtime.run_id))
        return "done"

    async def die(messages: object) -> None:
        raise SystemError("dead")

    with monkeypatch.context() as patch:
        patch.setattr(get_client().broker.runs, "enqueue", die)
        with pytest.raises(SystemError):
            work.delay()
    assert len(records()) == 1
    jtask_worker(work)
    run = work.delay()
    assert run.result(PATIENCE) == "done"
    assert executed == [run.run_id]


def test_a_caller_that_stalled_gets_the_run_that_took_its_place(
    monkeypatch: pytest.MonkeyPatch, jtask_worker: StartWorker
) -> None:
    executed: list[str] = []

    @task(idempotency_key="k")
    def work() -> str:
        executed.append(str(runtime.run_id))
        return "done"

    stalled = stall_first_enqueue(monkeypatch, 2.5)
    found: list[Run[str]] = []
    slow = threading.Thread(target=lambda: found.append(work.delay()))
    slow.start()
    assert stalled.wait(PATIENCE)
    quick = work.delay()
    jtask_worker(work)
    assert quick.result(PATIENCE) == "done"
    slow.join(PATIENCE)
    assert found == [quick]
    # The late one comes to a worker, and is not executed.
    eventually(lambda: depth(work.queue) == 0)
    assert executed == [quick.run_id]


def test_a_run_that_has_lost_its_key_is_not_executed(gate: Gate, jtask_worker: StartWorker) -> None:
    @task(unique="k")
    def work() -> None:
        gate.began.append(runtime.run_id)

    run = work.delay()
    name, other = f"unique:{work.key}:k", get_client().ids.new()
    body = jtask_once.claims.Reservation(other, time.time(), is_sealed=True).encode()
    on_io(lambda broker: broker.records.put(BUCKET, name, body))
    jtask_worker(work)
    with pytest.raises(RunRefused, match=f"another run has its key: {other}"):
        run.result(PATIENCE)
    assert run.state.name is StateName.CANCELLED
    assert gate.began == []


# --- debouncing --------------------------------------------------------------------------------


def test_a_burst_is_one_run_with_the_latest_arguments_and_all_get_its_result(
    jtask_worker: StartWorker,
) -> None:
    executed: list[tuple[str, float]] = []

    @task(debounce=1)
    def index(text: str) -> str:
        executed.append((text, time.time()))
        return text

    jtask_worker(index)
    runs = [index.delay(text) for text in ("a", "ab")]
    time.sleep(0.6)
    runs.append(index.delay("abc"))
    last = time.time()
    assert len(set(runs)) == 1
    assert [run.result(PATIENCE) for run in runs] == ["abc"] * 3
    ((text, at),) = executed
    assert text == "abc"
    assert at >= last + 0.99
    # What comes later is another burst.
    assert index.delay("z").result(PATIENCE) == "z"
    assert [text for text, _ in executed] == ["abc", "z"]


def test_each_key_has_bursts_of_its_own_also_within_one_call(jtask_worker: StartWorker) -> None:
    @task(debounce=1, debounce_key="{document}")
    def index(document: str, text: str) -> str:
        return f"{document}{text}"

    runs = index.delay_many([("a", "1"), ("b", "1"), ("a", "2"), ("a", "3"), ("b", "2")])
    runs.append(index.delay("b", "3"))
    assert len(set(runs)) == 2
    jtask_worker(index)
    assert [run.result(PATIENCE) for run in runs] == ["a3", "b3", "a3", "a3", "b3", "b3"]


def test_calls_of_a_burst_at_the_same_time_are_one_run(jtask_worker: StartWorker) -> None:
    @task(debounce=1)
    def index(number: int) -> int:
        return number

    async def main() -> list[Run[int]]:
        return await asyncio.gather(*(index.adelay(number) for number in range(20)))

    runs = asyncio.run(main())
    assert len(set(runs)) == 1
    jtask_worker(index)
    assert runs[0].result(PATIENCE) in range(20)


def test_a_burst_keeps_its_queue_and_waits_for_a_later_instant(jtask_worker: StartWorker) -> None:
    @task(debounce=1, queue="usual")
    def index(number: int) -> int:
        return number

    first = index.delay(1)
    assert index.apply_async((2,), queue="other", priority=5) == first
    later = time.time() + 3
    assert index.with_options(eta=later).delay(3) == first
    assert first.state.details["queue"] == "usual"
    until: Any = first.state.details["until"]
    assert abs(until - later) < 1
    jtask_worker(index)
    assert first.result(PATIENCE) == 3
    assert time.time() >= later


def test_a_run_that_waits_for_its_retry_belongs_to_no_burst(jtask_worker: StartWorker) -> None:
    @task(debounce=1, retries=1, retry_delay_seconds=2)
    def index(number: int) -> int:
        if runtime.attempt == 1 and number == 1:
            raise ValueError("boom")
        return number

    jtask_worker(index)
    first = index.delay(1)
    eventually(lambda: first.state.name is StateName.AWAITING_RETRY)
    second = index.delay(2)
    assert second != first
    assert [first.result(PATIENCE), second.result(PATIENCE)] == [1, 2]


def test_a_burst_can_be_cancelled(gate: Gate) -> None:
    @task(debounce=5)
    def index(number: int) -> int:
        return number

    first = index.delay(1)
    first.cancel()
    with pytest.raises(RunCancelled):
        first.result(PATIENCE)
    assert index.delay(2) != first


def test_arguments_that_are_too_large_for_a_message_are_not_debounced(gate: Gate) -> None:
    @task(debounce=1)
    def index(text: str) -> None: ...

    with pytest.raises(SerializationError, match="too large for a run that is debounced"):
        index.delay("x" * 2_000_000)
    assert records() == []


def test_a_caller_that_stalled_leaves_its_burst_to_another_one(
    monkeypatch: pytest.MonkeyPatch, jtask_worker: StartWorker
) -> None:
    executed: list[int] = []

    @task(debounce=1)
    def index(number: int) -> int:
        executed.append(number)
        return number

    stalled = stall_first_enqueue(monkeypatch, 1.8)
    found: list[Run[int]] = []
    slow = threading.Thread(target=lambda: found.append(index.delay(1)))
    slow.start()
    assert stalled.wait(PATIENCE)
    quick = index.delay(2)
    slow.join(PATIENCE)
    assert found == [quick]
    jtask_worker(index)
    assert quick.result(PATIENCE) == 2
    assert executed == [2]
    assert jtask_once.debouncing.SLOW_SECONDS < 1.8
