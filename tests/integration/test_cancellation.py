"""Cancel runs wherever they are, on both brokers."""

import asyncio
import contextlib
import json
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from in_process import StartWorker, events_of, on_each_broker, on_io
from waiting import PATIENCE, eventually

from jtask import Run, State, StateName, runtime, task
from jtask.client import get_client
from jtask.client.cancel_notices import NOTIFY_CANCELLED
from jtask.client.cancel_requests import (
    CancelRequest,
    cancel_requests,
    change_cancel_request,
    find_cancel_request,
    store_cancel_request,
)
from jtask.client.cancellation import settle_orphan
from jtask.errors import BrokerUnavailable, RunCancelled
from jtask.hooks import hookimpl
from jtask.ids import process_label
from jtask.lifecycle import Retry
from jtask.outcomes import CancelResult
from jtask.testing import run_worker
from jtask_cancellation.bulk import cancel_many, find_runs

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


@task
def quick(n: int = 0) -> int:
    return n


def waiting() -> set[str]:
    """The runs that no worker holds."""

    async def read(broker: Any) -> set[str]:
        return {run.run_id async for run in broker.queues.waiting()}

    return set(on_io(read))


def assert_cancelled(run: Run[Any], message: str) -> None:
    assert run.wait(PATIENCE)
    assert (run.state.name, run.state.message) == (StateName.CANCELLED, message)
    with pytest.raises(RunCancelled):
        run.result()


def test_a_waiting_run_never_starts_and_its_waiters_wake(jtask_worker: StartWorker) -> None:
    executed: list[int] = []

    @task(tags=["nightly"])
    def note(n: int) -> None:
        executed.append(n)

    run, other = note.delay(1), note.delay(2)
    woken = threading.Event()
    run.add_done_callback(lambda _: woken.set())
    answer = run.cancel("not today")
    assert answer.result is CancelResult.NEVER_STARTS
    assert answer.state is not None
    assert woken.wait(PATIENCE)
    assert_cancelled(run, "not today")
    jtask_worker(note)
    other.result(PATIENCE)
    assert executed == [2]
    [told] = eventually(lambda: [e for e in events_of(run.run_id) if e.state == "Cancelled"])
    assert (told.task, told.detail) == (note.key, "not today")
    assert run.info is not None
    assert (run.info.task_key, run.info.task_name) == (note.key, "note")


def test_a_delayed_run_never_starts() -> None:
    run = quick.apply_async((1,), countdown=3600)
    assert run.cancel().result is CancelResult.NEVER_STARTS
    assert_cancelled(run, "cancelled on request")


def test_an_event_loop_can_cancel() -> None:
    async def main() -> CancelResult:
        run = await quick.adelay(1)
        return (await run.cancel_async()).result

    assert asyncio.run(main()) is CancelResult.NEVER_STARTS


def test_a_run_that_a_worker_holds_for_later_never_starts(jtask_worker: StartWorker) -> None:
    begun, go_on, executed = threading.Event(), threading.Event(), []

    @task
    def block(n: int) -> None:
        executed.append(n)
        begun.set()
        go_on.wait(PATIENCE)

    jtask_worker(block, concurrency=1, prefetch=5)
    first, second = block.delay(1), block.delay(2)
    assert begun.wait(PATIENCE)
    eventually(lambda: second.run_id not in waiting())
    assert second.cancel("no").result is CancelResult.NEVER_STARTS
    assert second.wait(PATIENCE)  # though the only slot is still taken
    go_on.set()
    first.result(PATIENCE)
    assert_cancelled(second, "no")
    assert executed == [1]


def test_an_executing_coroutine_is_interrupted_and_not_tried_again(
    jtask_worker: StartWorker, jtask_plugin: Any
) -> None:
    asked: list[BaseException] = []

    class Always:
        @hookimpl
        def jtask_failed(self, run: Any, error: BaseException) -> Retry:
            asked.append(error)
            return Retry(0.0)

    jtask_plugin(Always())
    begun, cleaned = threading.Event(), threading.Event()

    @task
    async def sleepy() -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned.set()

    jtask_worker(sleepy)
    run = sleepy.delay()
    assert begun.wait(PATIENCE)
    assert run.cancel("enough").result is CancelResult.INTERRUPTED
    assert cleaned.wait(PATIENCE)
    assert_cancelled(run, "enough")
    assert asked == []


def test_a_second_cancellation_does_not_interrupt_the_clean_up(jtask_worker: StartWorker) -> None:
    begun, cleaning, go_on, cleaned = (threading.Event() for _ in range(4))

    @task
    async def careful() -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            cleaning.set()
            while not go_on.is_set():
                await asyncio.sleep(0.005)
            cleaned.set()

    jtask_worker(careful)
    run = careful.delay()
    assert begun.wait(PATIENCE)
    run.cancel("once")
    assert cleaning.wait(PATIENCE)
    assert run.cancel("once").result is CancelResult.INTERRUPTED
    go_on.set()
    assert_cancelled(run, "once")
    assert cleaned.is_set()


@pytest.mark.parametrize("end", ["raises", "returns"])
def test_an_executing_function_sees_that_it_is_asked_to_end(
    end: str, jtask_worker: StartWorker
) -> None:
    begun = threading.Event()

    @task
    def patient() -> str:
        begun.set()
        eventually(lambda: runtime.cancelled)
        if end == "raises":
            raise RunCancelled
        return str(runtime.cancelled)

    jtask_worker(patient)
    run = patient.delay()
    assert begun.wait(PATIENCE)
    assert run.cancel("stop it").result is CancelResult.INTERRUPTED
    if end == "raises":
        assert_cancelled(run, "stop it")
    else:
        assert run.result(PATIENCE) == "stop it"
        assert run.state.name is StateName.COMPLETED


def test_a_plain_function_that_never_looks_is_interrupted_after_a_grace(
    jtask_worker: StartWorker,
) -> None:
    begun, cleaned = threading.Event(), threading.Event()

    @task(retries=3)
    def deaf() -> None:
        begun.set()
        try:
            while True:
                time.sleep(0.001)
        finally:
            cleaned.set()

    jtask_worker(deaf, concurrency=1)
    run = deaf.delay()
    assert begun.wait(PATIENCE)
    assert run.cancel("enough").result is CancelResult.INTERRUPTED
    assert_cancelled(run, "enough")
    assert cleaned.is_set()


def test_a_plain_function_that_waits_in_c_is_left_behind_and_its_slot_is_free(
    jtask_worker: StartWorker,
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @task(queue="held-up")
    def wait() -> None:
        begun.set()
        go_on.wait(PATIENCE)

    @task(queue="held-up")
    def beside() -> str:
        return "here"

    jtask_worker(wait, beside, concurrency=1)
    run = wait.delay()
    assert begun.wait(PATIENCE)
    other = beside.delay()
    run.cancel("enough")
    assert_cancelled(run, "enough")
    assert other.result(PATIENCE) == "here"
    go_on.set()


def test_a_cancelled_run_that_its_worker_hands_back_does_not_start_again() -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    @task
    async def stubborn() -> None:
        begun.release()
        while not go_on.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    run = stubborn.delay()
    with run_worker(stubborn) as worker:
        assert begun.acquire(timeout=PATIENCE)
        assert run.cancel("enough").result is CancelResult.INTERRUPTED
        worker.stop(0)
    with run_worker(stubborn):
        assert_cancelled(run, "enough")
    go_on.set()
    assert not begun.acquire(blocking=False)


def test_a_run_that_was_to_be_cancelled_when_its_worker_handed_it_back_does_not_start_again() -> (
    None
):
    begun = threading.Semaphore(0)

    @task
    async def sleepy() -> None:
        begun.release()
        await asyncio.sleep(3600)

    run = sleepy.delay()
    with run_worker(sleepy) as worker:
        assert begun.acquire(timeout=PATIENCE)
        # The caller died before it could ask the worker.
        on_io(lambda broker: store_cancel_request(broker, run.run_id, "enough"))
        assert worker.stop(0) == 1
    with run_worker(sleepy):
        assert_cancelled(run, "enough")
    assert not begun.acquire(blocking=False)


def test_a_run_that_awaits_its_retry_never_starts_again_and_keeps_its_history(
    jtask_worker: StartWorker, jtask_plugin: Any
) -> None:
    class Later:
        @hookimpl
        def jtask_failed(self, run: Any, error: BaseException) -> Retry:
            return Retry(time.time() + 3600, "later")

    jtask_plugin(Later())

    @task
    def failing() -> None:
        raise ValueError("first try")

    jtask_worker(failing)
    run = failing.delay()
    eventually(lambda: on_io(lambda b: b.queues.find(run.run_id)))
    assert eventually(lambda: run.cancel("give up")).result is CancelResult.NEVER_STARTS
    assert_cancelled(run, "give up")
    assert run.info is not None
    assert [a.failure.message for a in run.info.history if a.failure] == ["first try"]
    assert run.attempt == 2


def test_a_run_that_is_over_says_how_it_ended(jtask_worker: StartWorker) -> None:
    jtask_worker(quick)
    run = quick.delay(3)
    assert run.result(PATIENCE) == 3
    answer = run.cancel()
    assert answer.result is CancelResult.ALREADY_OVER
    assert answer.state is not None
    assert answer.state.name is StateName.COMPLETED
    assert run.result() == 3


def test_a_run_that_never_was_is_not_found_and_nothing_is_left_behind() -> None:
    client = get_client()
    answer = client.handle(client.ids.new()).cancel()
    assert (answer.result, answer.state) == (CancelResult.NOT_FOUND, None)
    assert on_io(cancel_requests) == []


def test_the_answer_is_true_when_cancelling_races_with_executing(
    jtask_worker: StartWorker,
) -> None:
    executed: set[int] = set()

    @task
    def plain(n: int) -> int:
        executed.add(n)
        time.sleep(0.001)
        return n

    @task
    async def loop(n: int) -> int:
        executed.add(n)
        await asyncio.sleep(0)
        return n

    runs: list[Run[int]] = []
    for n in range(150):
        runs += [plain.delay(2 * n), loop.delay(2 * n + 1)]
    jtask_worker(plain, loop, concurrency=4)
    # The worker begins with the first one, the cancelling with the last one.
    answers = cancel_many([run.run_id for run in reversed(runs)])[::-1]
    for n, (run, answer) in enumerate(zip(runs, answers, strict=True)):
        assert run.wait(PATIENCE)
        state = run.state.name
        assert state in (StateName.COMPLETED, StateName.CANCELLED)
        if answer.result is CancelResult.NEVER_STARTS:
            assert state is StateName.CANCELLED
            assert n not in executed
        elif answer.result is CancelResult.ALREADY_OVER:
            assert answer.state is not None
            assert answer.state.name is state
        else:
            assert answer.result in (CancelResult.INTERRUPTED, CancelResult.ASKED)
        if state is StateName.COMPLETED:
            assert n in executed
    assert CancelResult.NEVER_STARTS in {answer.result for answer in answers}


def test_runs_are_found_by_task_tag_and_queue(jtask_worker: StartWorker) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @task(queue="mine", tags=["slow"])
    def block() -> None:
        begun.set()
        go_on.wait(PATIENCE)

    jtask_worker(block)
    executing = block.delay().run_id
    waiting = quick.with_options(tags=["slow"]).delay(1).run_id
    other = quick.with_options(queue="mine").delay(2).run_id
    try:
        assert begun.wait(PATIENCE)
        eventually(lambda: on_io(lambda b: b.queues.find(other)) or True)

        def ids(**conditions: str) -> set[str]:
            return {run.run_id for run in find_runs(**conditions)}

        assert ids(tag="slow") == {executing, waiting}
        assert ids(task="block") == ids(task=block.key) == {executing}
        assert ids(tag="slow", task="quick") == {waiting}
        assert executing in ids(queue="mine")
        assert waiting not in ids(queue="mine")
    finally:
        go_on.set()


def begin_and_die(run_id: str, *, taken_off: bool, began: float | None = None) -> None:
    """Do the first steps of a cancellation, as a caller that is killed then."""

    async def begin(broker: Any) -> None:
        wish, _ = await store_cancel_request(broker, run_id, "left behind")
        if began is not None:
            facts = json.dumps({"message": wish.message, "at": began}).encode()
            await broker.records.put("cancellations", run_id, facts + b"\n" + wish.head)
        if taken_off:
            assert await broker.runs.cancel(run_id)

    on_io(begin)


def test_a_worker_ends_a_run_that_a_dying_caller_took_off_its_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = quick.delay(1)
    begin_and_die(run.run_id, taken_off=True, began=time.time() - 60)
    monkeypatch.setattr("jtask_cancellation.worker_side._FIRST_LOOK", 0.01)
    with run_worker(quick):
        assert_cancelled(run, "left behind")
        eventually(lambda: on_io(cancel_requests) == [])
    assert run.info is not None
    assert run.info.task_key == quick.key


def test_a_run_whose_worker_dies_with_it_as_it_is_taken_off_its_queue_comes_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = quick.delay(1)
    runs = get_client().broker.runs
    take_off = runs.cancel

    async def of_a_worker_that_dies(run_id: str) -> bool:
        await take_off(run_id)
        return False  # as a worker has just got it, whom nobody hears of again

    with monkeypatch.context() as patch:
        patch.setattr(runs, "cancel", of_a_worker_that_dies)
        patch.setattr("jtask.client.cancellation._PATIENCE", 0.1)
        patch.setattr("jtask.client.cancellation._LONG_PATIENCE", 0.2)
        assert run.cancel("enough").result is CancelResult.NOT_FOUND
    monkeypatch.setattr("jtask_cancellation.worker_side._FIRST_LOOK", 0.01)
    monkeypatch.setattr("jtask_cancellation.worker_side._LOST_AFTER", 0.1)
    with run_worker(quick):
        assert_cancelled(run, "enough")
        eventually(lambda: on_io(cancel_requests) == [])


@pytest.mark.parametrize("patience", [0.1, 2.0])
def test_a_run_that_a_worker_takes_off_its_queue_for_the_caller_never_starts(
    patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = quick.delay(1)
    broker = get_client().broker
    take_off, later = broker.runs.cancel, list[asyncio.Task[Any]]()

    async def by_a_worker(run_id: str) -> bool:
        if later:
            return False
        await take_off(run_id)
        later.append(asyncio.create_task(store_end(run_id)))
        return False

    async def store_end(run_id: str) -> None:
        await asyncio.sleep(0.5)  # as while a cluster has no leader
        request = await find_cancel_request(broker, run_id)
        assert request is not None
        await settle_orphan(broker, lambda _: None, request)

    monkeypatch.setattr(broker.runs, "cancel", by_a_worker)
    monkeypatch.setattr("jtask.client.cancellation._PATIENCE", patience)
    assert run.cancel("enough").result is CancelResult.NEVER_STARTS
    assert_cancelled(run, "enough")


def test_a_cancellation_older_than_outcomes_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    run = quick.delay(1)
    begin_and_die(run.run_id, taken_off=True, began=time.time() - 100 * 86_400)
    monkeypatch.setattr("jtask_cancellation.worker_side._FIRST_LOOK", 0.01)
    with run_worker(quick):
        eventually(lambda: on_io(cancel_requests) == [])
    assert on_io(lambda broker: broker.results.get(run.run_id)) is None


def test_a_worker_that_comes_later_ends_a_run_that_was_to_be_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    executed: list[int] = []
    go_on = threading.Event()

    @task
    def slow(n: int) -> None:
        executed.append(n)
        eventually(lambda: runtime.cancelled or go_on.is_set())
        raise RunCancelled

    run = slow.delay(1)
    begin_and_die(run.run_id, taken_off=False)
    monkeypatch.setattr("jtask_cancellation.worker_side._FIRST_LOOK", 0.01)
    with run_worker(slow):
        assert_cancelled(run, "left behind")
        eventually(lambda: on_io(cancel_requests) == [])


def test_a_worker_finds_a_cancellation_that_it_was_not_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def nobody_hears(*_: Any, **__: Any) -> list[bytes]:
        return []

    monkeypatch.setattr("jtask_cancellation.worker_side._FIRST_LOOK", 0.01)
    monkeypatch.setattr("jtask_cancellation.worker_side._LONGEST_PAUSE", 0.01)
    run = quick.apply_async((1,), countdown=3600)
    with run_worker(quick):
        with monkeypatch.context() as patch:
            patch.setattr(get_client().broker.requests, "ask", nobody_hears)
            begin_and_die(run.run_id, taken_off=True, began=time.time() - 60)
        assert_cancelled(run, "left behind")
        eventually(lambda: on_io(cancel_requests) == [])


def test_a_stopping_worker_can_be_asked_until_its_runs_are_over() -> None:
    begun = threading.Event()

    @task
    def patient() -> None:
        begun.set()
        eventually(lambda: runtime.cancelled)
        raise RunCancelled

    run = patient.delay()
    with run_worker(patient) as worker:
        assert begun.wait(PATIENCE)
        stopping = threading.Thread(target=worker.stop, args=(PATIENCE,))
        stopping.start()
        assert run.cancel("now").result is CancelResult.INTERRUPTED
        stopping.join(PATIENCE)
    assert_cancelled(run, "now")


# --- hooks of runs that no worker held ----------------------------------------------------------

told: list[tuple[str, str, str, str]] = []
"""Run, state's message, worker and thread of each call of a hook."""


def tell(task: Any, run: Any, state: State) -> None:
    assert runtime.run_id == run.run_id
    assert state.name is StateName.CANCELLED
    thread = threading.current_thread().name
    told.append((run.run_id, state.message, run.worker, thread))


async def tell_later(task: Any, run: Any, state: State) -> None:
    await asyncio.sleep(0)
    tell(task, run, state)


@task(on_cancellation=[tell])
def plain_told(n: int = 0) -> None: ...


@task(on_cancellation=[tell_later])
async def async_told(n: int = 0) -> None: ...


both = pytest.mark.parametrize("told_task", [plain_told, async_told], ids=["plain", "async"])


@pytest.fixture
def _no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whoever cancels not have the code of any task, and workers look soon."""
    monkeypatch.setattr("jtask.client.cancel_notices.find_task", lambda _: None)
    monkeypatch.setattr("jtask_cancellation.worker_side._FIRST_LOOK", 0.01)


@pytest.fixture(autouse=True)
def _nothing_told() -> None:
    told.clear()


@both
@pytest.mark.parametrize("delay", [None, 3600])
def test_where_the_code_is_the_hooks_of_a_waiting_run_are_called_at_once(
    told_task: Any, delay: float | None
) -> None:
    run = told_task.apply_async((1,), countdown=delay)
    other = get_client().handle(run.run_id)
    assert other.cancel("not today").result is CancelResult.NEVER_STARTS
    assert told == [(run.run_id, "not today", "", "jtask-cancelled")]
    assert on_io(cancel_requests) == []
    assert other.cancel("again").result is CancelResult.ALREADY_OVER
    assert len(told) == 1


def test_a_hook_may_cancel_other_runs() -> None:
    later = plain_told.delay(2)

    @task(on_cancellation=[lambda *_: later.cancel("too")])
    def leader() -> None: ...

    assert leader.delay().cancel().result is CancelResult.NEVER_STARTS
    assert [(run_id, message) for run_id, message, _, _ in told] == [(later.run_id, "too")]


def test_many_at_once_have_their_hooks_called_each() -> None:
    runs = plain_told.delay_many([(n,) for n in range(50)])
    cancel_many([run.run_id for run in runs], "all")
    assert sorted(run_id for run_id, *_ in told) == sorted(run.run_id for run in runs)
    assert on_io(cancel_requests) == []


@both
@pytest.mark.usefixtures("_no_code")
def test_without_the_code_a_worker_that_serves_the_task_calls_the_hooks_once(
    told_task: Any, jtask_worker: StartWorker
) -> None:
    for _ in range(3):
        jtask_worker(told_task)
    jtask_worker(quick)
    run = told_task.apply_async((1,), countdown=3600)
    assert run.cancel("not today").result is CancelResult.NEVER_STARTS
    assert_cancelled(run, "not today")
    eventually(lambda: on_io(cancel_requests) == [])
    [(run_id, message, worker, thread)] = told
    assert (run_id, message) == (run.run_id, "not today")
    assert worker != ""
    assert thread.startswith("jtask-task")
    eventually(lambda: len(events_of(run.run_id)) >= 2)
    assert [e.state for e in events_of(run.run_id)] == ["Scheduled", "Cancelled"]


@pytest.mark.usefixtures("_no_code")
def test_a_worker_that_is_asked_again_while_it_claims_the_hooks_calls_them(
    monkeypatch: pytest.MonkeyPatch, jtask_worker: StartWorker
) -> None:
    claiming, go_on = threading.Event(), threading.Event()

    async def change_slowly(broker: Any, request: CancelRequest) -> bool:
        changed = await change_cancel_request(broker, request)
        claiming.set()
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        return changed

    monkeypatch.setattr("jtask.client.cancel_notices.change_cancel_request", change_slowly)
    # A claim that nobody honours would keep all others away for as long.
    monkeypatch.setattr("jtask.client.cancel_notices._CLAIM_SECONDS", 3600.0)
    jtask_worker(plain_told)
    run = plain_told.apply_async((1,), countdown=3600)
    run.cancel("not today")
    assert claiming.wait(PATIENCE)
    worker = process_label()
    question = json.dumps({"run_id": run.run_id, "task": plain_told.key, "worker": worker})

    async def ask_again(broker: Any) -> list[bytes]:
        return await broker.requests.ask(
            NOTIFY_CANCELLED, question.encode(), timeout=PATIENCE, answers=1
        )

    assert on_io(ask_again) == [worker.encode()]
    go_on.set()
    eventually(lambda: told)
    eventually(lambda: on_io(cancel_requests) == [])
    assert [run_id for run_id, *_ in told] == [run.run_id]


@pytest.mark.usefixtures("_no_code")
def test_without_code_and_worker_the_hooks_wait_for_a_worker_that_serves_the_task(
    jtask_worker: StartWorker,
) -> None:
    run = plain_told.delay(1)
    run.cancel("not today")
    assert_cancelled(run, "not today")
    jtask_worker(quick)
    assert quick.delay(1).result(PATIENCE) == 1
    [request] = on_io(cancel_requests)
    assert (request.run_id, told) == (run.run_id, [])
    jtask_worker(plain_told)
    eventually(lambda: told)
    eventually(lambda: on_io(cancel_requests) == [])
    assert [message for _, message, _, _ in told] == ["not today"]


@pytest.mark.usefixtures("_no_code")
def test_the_hooks_are_called_by_another_worker_when_the_one_that_began_died(
    jtask_worker: StartWorker,
) -> None:
    run = plain_told.delay(1)
    run.cancel("not today")

    until = time.time() + 1

    async def begin_to_tell(broker: Any) -> None:
        wish = await find_cancel_request(broker, run.run_id)
        assert wish is not None
        assert await change_cancel_request(broker, replace(wish, claimed=until))

    on_io(begin_to_tell)
    jtask_worker(plain_told)
    eventually(lambda: told)
    assert time.time() >= until


def test_plugins_hear_of_a_run_that_is_cancelled_on_its_queue(jtask_plugin: Any) -> None:
    heard: list[Any] = []

    class Ears:
        @hookimpl
        def jtask_state(self, run: Any, state: State) -> None:
            heard.append((run.run_id, run.queue, run.tags, state.name.value))

        @hookimpl
        def jtask_settled(self, run: Any, outcome: Any) -> None:
            heard.append((run.run_id, outcome.state.message))

    jtask_plugin(Ears())

    @task(tags=["nightly"])
    def listened() -> None: ...

    run = listened.apply_async(queue="ears")
    run.cancel("no more")
    assert heard == [
        (run.run_id, "ears", ("nightly",), "Cancelled"),
        (run.run_id, "no more"),
    ]
    assert run.info is None or run.info.worker == ""


def test_a_connection_that_is_lost_for_a_moment_delays_a_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requests = get_client().broker.requests
    ask, lost = requests.ask, set[str]()

    async def lost_once(topic: str, *args: Any, **options: Any) -> list[bytes]:
        if topic not in lost:
            lost.add(topic)
            raise BrokerUnavailable("the connection is lost")
        return await ask(topic, *args, **options)

    monkeypatch.setattr(requests, "ask", lost_once)
    run = quick.with_options(delay=3600).delay()
    assert run.cancel().result is CancelResult.NEVER_STARTS
    assert lost
    assert find_runs(task=None, tag=None, queue=None) == []
