"""Transactions with keys, in background runs, and steps: what is kept with the broker."""

# ruff: noqa: PT012, SIM117 - what is in a block is what is tested

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from in_process import StartWorker, events_of, lose_workers, on_each_broker, on_io
from waiting import PATIENCE, eventually, until

from jtask import get_run, runtime, task
from jtask.cache_policies import INPUTS
from jtask.client import get_client
from jtask.contract import Broker
from jtask.errors import (
    BrokerError,
    BrokerFull,
    BrokerUnavailable,
    CommitFailed,
    ResultError,
    SerializationError,
    TransactionError,
)
from jtask.settings import get_settings
from jtask_caching.operations import list_entries
from jtask_transactions import Transaction, get_transaction, once, transaction
from jtask_transactions.locks import lock_name
from jtask_transactions.records import STEPS, TRANSACTIONS, record_name

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


def perform(key: str, done: list[Any], value: Any = "value", **options: Any) -> Any:
    """Do something under a key unless it is done; return what is recorded."""
    with transaction(key=key, **options) as txn:
        if not txn.is_committed():
            done.append(value)
            txn.stage(value)
    return txn.read()


# --- keys (Prefect's 73) -----------------------------------------------------------------------


def test_the_work_of_a_key_is_done_once_and_its_value_is_read() -> None:
    done: list[Any] = []
    value = {"id": 7, "at": (1, 2)}
    assert perform("order:7", done, value) == value
    assert perform("order:7", done, "another") == value
    assert perform("order:8", done, "another") == "another"
    assert done == [value, "another"]


def test_the_same_on_an_event_loop() -> None:
    async def main() -> list[Any]:
        found = []
        for number in range(2):
            async with transaction(key="k") as txn:
                found.append(txn.is_committed())
                txn.stage(number)  # nothing, where it is committed
            found.append(await txn.aread())
        return found

    assert asyncio.run(main()) == [False, 0, True, 0]


def test_what_is_rolled_back_is_not_recorded() -> None:
    done: list[Any] = []
    with pytest.raises(ValueError, match="no"), transaction(key="k") as txn:
        txn.stage("lost")
        raise ValueError("no")
    assert txn.read() is None
    assert perform("k", done, "kept") == "kept"


def test_what_is_staged_is_recorded_when_the_outermost_commits() -> None:
    with transaction():
        assert perform("inner", [], "value") is None
        with transaction(commit_mode="EAGER"):
            assert perform("eager", [], "value") == "value"
        assert perform("inner", [], "again") is None
    assert perform("inner", []) == "again"


def test_overwrite_does_it_again_and_replaces_the_record() -> None:
    assert perform("k", [], 1) == 1
    assert perform("k", [], 2, overwrite=True) == 2
    assert perform("k", [], 3) == 2


def test_nothing_is_recorded_that_is_not_to_be() -> None:
    done: list[Any] = []
    for _ in range(2):
        assert perform("k", done, 1, write_on_commit=False) is None
    assert done == [1, 1]


def test_a_block_that_stages_nothing_is_recorded_too() -> None:
    with transaction(key="k"):
        pass
    with transaction(key="k") as txn:
        assert txn.is_committed()
    assert txn.read() is None


def test_keys_are_any_text() -> None:
    for key in ("a b\nc", "x" * 2000, "ä/*.>", "\x00"):
        assert perform(key, [], key) == key
        assert perform(key, [], "other", isolation_level="SERIALIZABLE") == key


def test_the_record_is_written_after_the_hooks_and_not_when_one_fails() -> None:
    seen: list[Any] = []

    def look(txn: Transaction) -> None:
        seen.append(perform("k", [], "by the hook", write_on_commit=False))

    def fail(txn: Transaction) -> None:
        raise ValueError("no")

    with pytest.raises(CommitFailed, match="transaction 'k' could not be committed"):
        with transaction(key="k") as txn:
            txn.stage("value", on_commit_hooks=[look, fail])
    assert (seen, txn.read()) == ([None], None)


def test_two_that_come_at_once_both_execute_and_the_last_record_stands() -> None:
    with transaction(key="k") as first:
        with transaction(key="k", commit_mode="EAGER") as second:
            assert not second.is_committed()
            second.stage("second")
        first.stage("first")
    assert perform("k", []) == "first"


def test_of_serializable_ones_one_executes_and_the_others_see_its_record() -> None:
    done: list[Any] = []
    begun = threading.Barrier(8)

    def work(number: int) -> None:
        begun.wait(PATIENCE)
        values.append(perform("k", done, number, isolation_level="SERIALIZABLE"))

    values: list[Any] = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(done) == 1
    assert values == done * 8
    assert on_io(lambda broker: broker.slots.holders(lock_name("k"))) == []


def test_one_that_waits_is_woken_when_the_lock_is_given_back() -> None:
    entered = threading.Event()
    took: list[float] = []

    async def wait() -> None:
        async with transaction(key="k", isolation_level="SERIALIZABLE") as txn:
            took.append(time.monotonic())
            assert txn.is_rolled_back() is False
            entered.set()

    with pytest.raises(ValueError, match="no"):
        with transaction(key="k", isolation_level="SERIALIZABLE"):
            waiter = threading.Thread(target=lambda: asyncio.run(wait()))
            waiter.start()
            eventually(lambda: _waits_for_lock())
            assert not entered.is_set()
            before = time.monotonic()
            raise ValueError("no")
    waiter.join(PATIENCE)
    # Much sooner than the lease: nobody had to look again.
    assert took[0] - before < get_settings().lease / 3


def _waits_for_lock() -> bool:
    from jtask.client.slot_news import slot_news_of

    return lock_name("k") in slot_news_of(get_client())._waiting


def test_a_lock_is_not_waited_for_inside_of_what_holds_it() -> None:
    with transaction(key="k", isolation_level="SERIALIZABLE") as outer:
        for value in ("first", "second"):
            with transaction(key="k") as inner:
                assert not inner.is_committed()
                inner.stage(value)
        outer.stage("outer")
    assert perform("k", []) == "outer"


def test_a_lost_lock_lets_nobody_overwrite_what_another_has_recorded() -> None:
    undone: list[Any] = []
    with pytest.raises(CommitFailed, match="somebody else has recorded transaction 'k'"):
        with transaction(key="k", isolation_level="SERIALIZABLE") as txn:
            txn.stage("mine", [undone.append])
            # As if the lease had ended, and another process had been quicker.
            with transaction(key="k", isolation_level="READ_COMMITTED") as other:
                other.locks = {}
                other.stage("theirs")
                other.commit()
    assert undone == [txn]
    assert perform("k", []) == "theirs"


def test_a_value_that_cannot_be_recorded_is_refused_where_it_is_staged() -> None:
    with (
        pytest.raises(ResultError, match="the value of transaction 'k'"),
        transaction(key="k") as t,
    ):
        t.stage(object())
    assert t.is_rolled_back()
    limit = get_client().inline_limit
    with pytest.raises(ResultError, match="are recorded: return where"), transaction(key="k") as t:
        t.stage("x" * limit)
    assert perform("k", []) == "value"


def test_a_record_that_cannot_be_read_is_not_passed_over() -> None:
    on_io(lambda broker: broker.records.put(TRANSACTIONS, record_name("k"), b"rubbish"))
    with pytest.raises(TransactionError, match="recorded of transaction 'k' cannot be read"):
        perform("k", [])


def test_a_pickled_record_is_read_only_where_pickles_are_declared() -> None:
    @task(serializer="cloudpickle")
    def pickle() -> Any:
        return perform("k", [], {1: object})

    assert pickle() is None  # its task commits later
    assert pickle() == {1: object}
    with transaction(key="k") as txn:
        assert txn.is_committed()
    with pytest.raises(SerializationError, match="written with 'cloudpickle', and 'json'"):
        txn.read()


def test_a_record_ends_after_the_time_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JTASK_TRANSACTION_TTL", "1")
    get_settings.cache_clear()
    assert perform("k", [], 1) == 1
    eventually(lambda: perform("k", [], 2) == 2)


# --- tasks -------------------------------------------------------------------------------------


def test_a_background_run_commits_when_it_completes_and_undoes_an_attempt_that_fails(
    jtask_worker: StartWorker,
) -> None:
    calls: list[str] = []

    @task(on_commit=[lambda txn: calls.append("commit inner")])
    def inner() -> None:
        calls.append("inner")

    @inner.on_rollback
    def undo(txn: Transaction) -> None:
        calls.append("undo inner")

    @task(retries=1)
    def outer() -> int:
        inner()
        if runtime.attempt == 1:
            raise ValueError("once more")
        return 7

    @outer.on_commit
    async def stand(txn: Transaction) -> None:
        calls.append(f"commit outer {txn.staged_value}")

    jtask_worker(outer)
    run = outer.delay()
    assert run.result(PATIENCE) == 7
    assert run.state.name == "Completed"
    assert calls == ["inner", "undo inner", "inner", "commit inner", "commit outer 7"]


def test_what_a_background_run_of_a_plain_task_did_is_undone_when_it_fails(
    jtask_worker: StartWorker,
) -> None:
    undone: list[str] = []

    @task(on_rollback=[lambda txn: undone.append(txn.staged_value)])
    async def inner(name: str) -> str:
        return name

    @task
    async def outer() -> None:
        await inner("a")
        await asyncio.gather(inner("b"))
        async with transaction():
            await inner("c")
        raise ValueError("no")

    jtask_worker(outer)
    run = outer.delay()
    assert run.wait(PATIENCE)
    assert run.state.name == "Failed"
    assert undone == ["c", "b", "a"]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_background_run_whose_commit_fails_is_rolled_back_and_keeps_its_value(
    jtask_worker: StartWorker, is_async: bool
) -> None:
    undone: list[Any] = []

    def fail(txn: Transaction) -> None:
        raise ValueError("no mail")

    options: dict[str, Any] = {"on_commit": [fail], "on_rollback": [undone.append]}

    @task(**options)
    def plain() -> int:
        return 7

    @task(**options)
    async def asynchronous() -> int:
        return 7

    work = asynchronous if is_async else plain
    jtask_worker(work)
    run = work.delay()
    assert run.result(PATIENCE) == 7
    assert run.state.name == "RolledBack"
    assert run.state.is_completed()
    assert "ValueError: no mail" in run.state.message
    assert len(undone) == 1
    eventually(lambda: [event.state for event in events_of(run.run_id)][-1:] == ["RolledBack"])


@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_run_did_is_undone_when_a_stopping_worker_hands_it_back(
    jtask_worker: StartWorker, is_async: bool
) -> None:
    calls: list[str] = []
    go_on = threading.Event()

    @task(on_commit=[lambda txn: calls.append("commit")])
    def inner() -> None:
        calls.append("inner")

    inner.on_rollback(lambda txn: calls.append("undo"))

    @task
    def plain() -> str:
        inner()
        assert go_on.wait(PATIENCE)
        return "done"

    @task
    async def asynchronous() -> str:
        inner()
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        return "done"

    outer = asynchronous if is_async else plain
    worker = jtask_worker(outer)
    run = outer.delay()
    eventually(lambda: calls == ["inner"])
    assert worker.stop(timeout=0) == 1
    eventually(lambda: calls == ["inner", "undo"])
    go_on.set()
    jtask_worker(outer)
    assert run.result(PATIENCE) == "done"
    eventually(lambda: calls[-1] == "commit")
    assert calls == ["inner", "undo", "inner", "commit"]


def test_what_a_run_did_is_undone_when_its_time_is_over_and_what_it_does_later_too(
    jtask_worker: StartWorker,
) -> None:
    undone: list[int] = []
    go_on = threading.Event()

    @task(on_rollback=[lambda txn: undone.append(txn.staged_value)])
    def inner(number: int) -> int:
        return number

    @task(timeout_seconds=0.3)
    def outer() -> None:
        inner(1)
        while not go_on.is_set():
            try:
                time.sleep(0.01)
            except BaseException:  # it does not want to end
                continue
        inner(2)

    jtask_worker(outer)
    run = outer.delay()
    assert run.wait(PATIENCE)
    assert run.state.name == "TimedOut"
    eventually(lambda: undone == [1])
    go_on.set()
    eventually(lambda: undone == [1, 2])


def test_what_a_run_did_that_is_cancelled_is_undone(jtask_worker: StartWorker) -> None:
    calls: list[str] = []

    @task(on_rollback=[lambda txn: calls.append("undo")])
    async def inner() -> None:
        calls.append("inner")

    @task
    async def outer() -> None:
        await inner()
        await asyncio.sleep(PATIENCE)

    jtask_worker(outer)
    run = outer.delay()
    eventually(lambda: calls == ["inner"])
    run.cancel()
    assert run.wait(PATIENCE)
    assert (run.state.name, calls) == ("Cancelled", ["inner", "undo"])


def test_a_worker_that_was_started_inside_a_transaction_is_not_in_it(
    jtask_worker: StartWorker,
) -> None:
    calls: list[str] = []

    @task(on_commit=[lambda txn: calls.append("commit")])
    def work() -> bool:
        txn = get_transaction()
        return txn is not None and txn.parent is None

    with transaction():
        jtask_worker(work)
        assert work.delay().result(PATIENCE)
        assert calls == ["commit"]


def test_what_is_recorded_of_a_direct_call_is_how_its_transaction_ended() -> None:
    ids: list[str] = []

    @task
    def work() -> int:
        ids.append(runtime.run_id)
        return 7

    get_client()
    with pytest.raises(ValueError, match="no"), transaction():
        work()
        raise ValueError("no")
    with transaction():
        work()
    rolled_back, completed = (get_run(run_id, work) for run_id in ids)
    for run, state in ((rolled_back, "RolledBack"), (completed, "Completed")):
        assert run.wait(PATIENCE)
        assert (run.state.name, run.result()) == (state, 7)
    eventually(lambda: [e.state for e in events_of(ids[0])][-2:] == ["Completed", "RolledBack"])


def test_a_value_is_cached_when_the_outermost_transaction_commits() -> None:
    executed: list[int] = []

    @task(cache_policy=INPUTS)
    def work(number: int) -> list[int]:
        executed.append(number)
        return [number]

    with pytest.raises(ValueError, match="no"), transaction():
        work(1)
        raise ValueError("no")
    assert list_entries() == []
    with transaction():
        work(1).append(2)  # the value that is cached is the one that was returned
        with transaction(commit_mode="EAGER"):
            work(2)
        assert [entry.task for entry in list_entries()] == ["work"]
        work(1)
    assert executed == [1, 1, 2, 1]
    assert work(1) == [1]
    assert work(2) == [2]
    assert executed == [1, 1, 2, 1]


def test_a_key_inside_a_run_is_recorded_when_that_completes(jtask_worker: StartWorker) -> None:
    done: list[int] = []

    @task(retries=1)
    def work() -> Any:
        lazy = perform("lazy", done, runtime.attempt)
        eager = perform("eager", done, 10 * runtime.attempt, commit_mode="EAGER")
        if runtime.attempt == 1:
            raise ValueError("once more")
        return [lazy, eager]

    jtask_worker(work)
    assert work.delay().result(PATIENCE) == [None, 10]
    assert done == [1, 10, 2]
    assert perform("lazy", done) == 2


# --- steps -------------------------------------------------------------------------------------


def test_a_retry_does_not_repeat_a_step(jtask_worker: StartWorker) -> None:
    done: list[str] = []

    def charge(order: str) -> tuple[str, int]:
        done.append(order)
        return order, len(done)

    @task(retries=2)
    def work(order: str) -> list[Any]:
        receipt = once("charge", charge, order)
        if runtime.attempt < 3:
            raise ValueError("once more")
        return [receipt, once("charge", charge, "again")]

    jtask_worker(work)
    first = work.delay("a").result(PATIENCE)
    assert first == [("a", 1), ("a", 1)]
    assert work.delay("b").result(PATIENCE)[0][0] == "b"
    assert done == ["a", "b"]


def test_a_redelivery_does_not_repeat_a_step_of_a_coroutine(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JTASK_LEASE", "1")
    get_settings.cache_clear()
    done: list[int] = []

    async def charge() -> int:
        done.append(1)
        return len(done)

    @task(queue="steps")
    async def work() -> int:
        return await once("charge", charge)

    run = work.delay()
    # As if a worker had done the step and died.
    body = b'{"key":"charge","run_id":"x","at":1.0,"serializer":"json"}\n41'
    name = record_name(run.run_id, "charge")
    on_io(lambda broker: broker.records.put(STEPS, name, body))
    lose_workers("steps", 1)
    jtask_worker(work)
    assert run.result(PATIENCE) == 41
    assert done == []


def test_of_two_executions_of_one_run_the_first_recorded_value_counts(
    jtask_worker: StartWorker,
) -> None:
    @task
    def work() -> int:
        def overtaken() -> int:
            body = b'{"key":"s","run_id":"x","at":1.0,"serializer":"json"}\n41'
            name = record_name(runtime.run_id, "s")
            on_io(lambda broker: broker.records.put(STEPS, name, body))
            return 1

        return once("s", overtaken)

    jtask_worker(work)
    assert work.delay().result(PATIENCE) == 41


def test_a_step_that_cannot_be_recorded_fails_its_run_for_good(jtask_worker: StartWorker) -> None:
    done: list[int] = []
    limit = get_client().inline_limit

    @task(retries=3)
    def work(size: int) -> Any:
        return once("big", lambda: done.append(1) or "x" * size)

    jtask_worker(work)
    run = work.delay(limit)
    assert isinstance(run.exception(PATIENCE), ResultError)
    assert "are recorded: return where it is stored" in str(run.exception())
    assert done == [1]
    assert work.delay(10).result(PATIENCE) == "x" * 10


def test_a_step_goes_through_the_serializer_of_its_task(jtask_worker: StartWorker) -> None:
    @task(serializer="cloudpickle", retries=1)
    def work() -> Any:
        found = once("type", lambda: {1: object})
        if runtime.attempt == 1:
            raise ValueError("once more")
        return found

    jtask_worker(work)
    assert work.delay().result(PATIENCE) == {1: object}


# --- the broker is away ------------------------------------------------------------------------


class Away:
    """A store that cannot be reached from some request on."""

    def __init__(self, real: Any, method: str) -> None:
        self._real, self._method = real, method

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            raise BrokerUnavailable("it is away")
        return getattr(self._real, name)


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def take_away(method: str) -> None:
        broker: Broker = get_client().broker
        monkeypatch.setattr(broker, "records", Away(broker.records, method))

    return take_away


def test_a_key_needs_the_broker_and_a_block_without_one_does_not(
    away: Callable[[str], None],
) -> None:
    away("get")
    with pytest.raises(BrokerUnavailable, match="transaction 'k' needs the broker: it is away"):
        perform("k", [])
    with transaction() as txn:
        txn.stage(1)
    assert txn.is_committed()


def test_a_broker_that_refuses_is_told_as_that_whatever_it_makes_its_errors_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Refusal(BrokerFull):
        def __init__(self, code: int, reason: str) -> None:
            super().__init__(f"{reason} ({code})")

    class Full:
        async def put(self, *args: object, **options: object) -> bool:
            raise Refusal(507, "no room")

        async def get(self, *args: object) -> None:
            return None

    monkeypatch.setattr(get_client().broker, "records", Full())
    with pytest.raises(CommitFailed, match=r"'k' needs the broker: no room \(507\)") as failed:
        perform("k", [])
    assert type(failed.value.__cause__) is BrokerFull


def test_a_record_that_cannot_be_written_rolls_back(away: Callable[[str], None]) -> None:
    undone: list[Any] = []
    with pytest.raises(CommitFailed, match="needs the broker: it is away"):
        with transaction(key="k", isolation_level="SERIALIZABLE") as txn:
            txn.stage(1, [undone.append])
            away("put")
    assert undone == [txn]
    assert on_io(lambda broker: broker.slots.holders(lock_name("k"))) == []


def test_a_step_that_is_done_and_not_recorded_says_that_it_may_be_done_again(
    jtask_worker: StartWorker, away: Callable[[str], None]
) -> None:
    @task
    def work() -> Any:
        return once("s", lambda: away("put"))

    jtask_worker(work)
    error = work.delay().exception(PATIENCE)
    assert isinstance(error, BrokerError)
    assert "needs the broker: it is away" in str(error)
    assert "may be done again" in error.__notes__[0]


def test_who_is_cancelled_while_it_waits_leaves_no_lock() -> None:
    async def main() -> None:
        async with transaction(key="k", isolation_level="SERIALIZABLE"):
            other = asyncio.create_task(_enter("k"))
            await until(_waits_for_lock)
            other.cancel()
            with pytest.raises(asyncio.CancelledError):
                await other
        assert await asyncio.wait_for(_enter("k"), PATIENCE)

    async def _enter(key: str) -> bool:
        token = transaction(key=key, isolation_level="SERIALIZABLE")
        token.begin_in = lambda parent: None  # type: ignore[method-assign] # as another program's
        async with token:
            return True

    asyncio.run(main())
