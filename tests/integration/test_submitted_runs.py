"""Runs that a task runner of this process executes: `.submit()`, and futures as arguments."""

import asyncio
import gc
import threading
import time
from collections import UserDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from jtask import Run, State, StateName, get_run, runtime, tags, task
from jtask.annotations import allow_failure, opaque, quote
from jtask.client.process_client import get_client
from jtask.errors import (
    ArgumentError,
    ConfigurationError,
    ResultTimeout,
    RunCancelled,
    RunNotReady,
    SerializationError,
)
from jtask.futures import (
    Future,
    FutureList,
    SubmittedRun,
    as_completed,
    resolve_futures_to_results,
    resolve_futures_to_states,
    wait,
)
from jtask.outcomes import CancelResult
from jtask.task_runners import (
    BackgroundTaskRunner,
    ConcurrentTaskRunner,
    TaskRunner,
    ThreadPoolTaskRunner,
)
from jtask_transactions import transaction

PATIENCE = 30.0
A_RUN_ID = "01a22c2a-437c-739c-8c7e-64af47d0bdee"


@task
def add(a: int, b: int = 1) -> int:
    return a + b


@task
async def add_later(a: int, b: int = 1) -> int:
    await asyncio.sleep(0)
    return a + b


@task
def fail(text: str = "no") -> int:
    raise KeyError(text)


@task
def give(value: Any) -> Any:
    return value


@task
def hold(gate: Any) -> int:
    assert gate.wait(PATIENCE)
    return 1


@task
def go_down(depth: int) -> int:
    return 0 if depth == 0 else 1 + go_down.submit(depth - 1).result(PATIENCE)


@task
async def go_down_later(depth: int) -> int:
    return 0 if depth == 0 else 1 + await go_down_later.submit(depth - 1)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


# --- handles -----------------------------------------------------------------------------------


def test_a_submitted_run_returns_what_its_task_returned() -> None:
    value = object()
    future = give.submit(value)
    assert future.result(PATIENCE) is value
    assert future.done()
    assert future.state.result() is value
    assert future.exception() is None


def test_a_submitted_run_raises_what_its_task_raised() -> None:
    error = KeyError("no")

    @task
    def raise_it() -> None:
        raise error

    future = raise_it.submit()
    assert future.exception(PATIENCE) is error
    with pytest.raises(KeyError) as raised:
        future.result()
    assert raised.value is error
    assert future.result(raise_on_failure=False) is error
    assert future.state.name is StateName.FAILED


def test_submit_returns_at_once_and_is_the_same_for_coroutine_functions(
    gate: threading.Event,
) -> None:
    future = hold.submit(gate)
    assert not future.wait(0)
    with pytest.raises(ResultTimeout, match="did not end within 0 seconds"):
        future.result(0)
    gate.set()
    assert future.result(PATIENCE) == 1
    assert add_later.submit(1, b=4).result(PATIENCE) == 5


def test_a_coroutine_awaits_a_submitted_run() -> None:
    async def main() -> None:
        assert await add.submit(1) == 2
        assert await add_later.submit(1).result_async(PATIENCE) == 2
        future = add.submit(2)
        assert await future.wait_async(PATIENCE)
        assert (await future.state_async()).name is StateName.COMPLETED

    asyncio.run(main())


def test_a_run_of_this_process_is_found_by_its_id(gate: threading.Event) -> None:
    future = hold.submit(gate)
    assert get_run(future.run_id) is future
    assert get_run(future.run_id, hold) is future
    assert get_run(future.run_id).state.name in {StateName.PENDING, StateName.RUNNING}


def test_a_handle_tells_what_is_known_of_its_run() -> None:
    future = add.submit(1)
    future.wait(PATIENCE)
    assert future.attempt == 1
    assert future.end_time is not None
    assert future.start_time is not None
    assert future.start_time <= future.end_time
    assert future.info is not None
    assert future.info.task_name == "add"
    assert "Completed" in repr(future)


def test_a_handle_tells_the_same_of_its_run_as_is_recorded(jtask_broker: str) -> None:
    client = get_client()

    @task(task_run_name="looked at", tags=["a"], version="3")
    def look() -> None: ...

    @task
    def outer() -> Future[None]:
        return look.submit()

    future = outer()
    future.wait(PATIENCE)
    elsewhere = client.handle(future.run_id)
    elsewhere.wait(PATIENCE)
    assert future.info is not None
    assert elsewhere.info is not None
    assert future.info.run_name == "looked at"
    assert future.info.root == future.info.parent
    for fact in ("task_key", "parent", "root", "tags", "version", "run_name", "created"):
        assert getattr(future.info, fact) == getattr(elsewhere.info, fact)


def test_a_done_callback_gets_the_handle(gate: threading.Event) -> None:
    got: list[Future[int]] = []
    called = threading.Event()
    future = hold.submit(gate)
    future.add_done_callback(lambda one: (got.append(one), called.set()))
    gate.set()
    assert called.wait(PATIENCE)
    future.add_done_callback(got.append)
    assert got == [future, future]


def test_arguments_that_do_not_fit_are_refused_at_once() -> None:
    with pytest.raises(ArgumentError, match="task 'add' is missing argument 'a'"):
        add.submit()  # type: ignore[call-arg]
    with pytest.raises(ArgumentError, match=r"task 'add' has no argument 'bb'; did you mean 'b'\?"):
        add.submit(1, bb=2)  # type: ignore[call-arg]
    with pytest.raises(ArgumentError, match="takes 2 positional arguments, got 3"):
        add.submit(1, 2, 3)  # type: ignore[call-arg]


def test_return_state_waits_for_the_final_state() -> None:
    assert add.submit(1, return_state=True).result() == 2
    assert fail.submit(return_state=True).name is StateName.FAILED
    assert add(1, return_state=True).name is StateName.COMPLETED
    assert isinstance(fail(return_state=True).result(raise_on_failure=False), KeyError)
    assert asyncio.run(add_later(1, return_state=True)).result() == 2


def test_a_state_that_did_not_complete_says_so_where_it_is_taken() -> None:
    failed = fail(return_state=True)
    reason = "the run was not started: a state that it takes or waits for is Failed: KeyError"
    for call in (lambda: add(failed), lambda: add.submit(1, wait_for=[failed]).result(PATIENCE)):
        with pytest.raises(RunNotReady, match=reason):
            call()


def test_a_failure_that_nobody_asks_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail_unseen(see: bool) -> str:
        future = fail.submit("lost")
        future.wait(PATIENCE)
        if see:
            assert future.exception() is not None
        return future.run_id

    seen, unseen = fail_unseen(True), fail_unseen(False)
    gc.collect()
    assert f"run {unseen} of task fail has failed" in caplog.text
    assert "KeyError: 'lost'" in caplog.text
    assert seen not in caplog.text


@pytest.mark.parametrize("is_async", [False, True])
def test_who_asks_a_list_for_its_values_has_asked_of_all_that_fail(
    caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    begin = threading.Event()

    @task
    def fail_late() -> None:
        begin.wait(PATIENCE)
        raise KeyError("late")

    def fail_all() -> None:
        futures = FutureList([fail_late.submit(), fail.submit("lost"), fail.submit("too")])
        with pytest.raises(KeyError, match=r"lost|too"):
            asyncio.run(futures.result_async(PATIENCE)) if is_async else futures.result(PATIENCE)
        begin.set()
        assert futures.wait(PATIENCE)

    fail_all()
    gc.collect()
    assert caplog.text == ""


def test_futures_inside_of_something_are_resolved() -> None:
    held = {"a": [add.submit(1), 5]}
    assert resolve_futures_to_results(held) == {"a": [2, 5]}
    states = resolve_futures_to_states([fail.submit(), (add.submit(1),)])
    assert [states[0].name, states[1][0].name] == [StateName.FAILED, StateName.COMPLETED]
    in_a_set = resolve_futures_to_states({add.submit(1), add.submit(2)})
    assert [state.name for state in in_a_set] == [StateName.COMPLETED] * 2
    with pytest.raises(KeyError):
        resolve_futures_to_results([fail.submit()])
    assert isinstance(resolve_futures_to_results(allow_failure([fail.submit()]))[0], KeyError)


def test_a_list_of_handles_is_a_plain_list_once_it_holds_values() -> None:
    assert type(resolve_futures_to_results(add.map([1, 2]))) is list


# --- what a run sees ---------------------------------------------------------------------------


def test_a_submitted_run_has_its_parent_its_tags_and_its_context() -> None:
    @task(tags=["own"])
    def look() -> tuple[str | None, tuple[str, ...]]:
        return runtime.parent_id, runtime.tags

    @task
    def outer() -> tuple[str, Any]:
        with tags("inner"):
            return runtime.run_id, look.submit().result(PATIENCE)

    run_id, (parent, seen) = outer()
    assert parent == run_id
    assert seen == ("own", "inner")
    assert look.submit().result(PATIENCE) == (None, ("own",))


def test_runs_do_not_see_each_others_tags_and_ids() -> None:
    @task
    def look(number: int) -> bool:
        seen = runtime.run_id
        time.sleep(0)
        with tags(f"x{number}"):
            inner = see.submit(number).result(PATIENCE)
        return inner == (seen, (str(number), f"x{number}")) and runtime.run_id == seen

    @task
    def see(number: int) -> tuple[str | None, tuple[str, ...]]:
        return runtime.parent_id, runtime.tags

    futures: list[Future[bool]] = []
    for number in range(1_000):
        with tags(str(number)):
            futures.append(look.submit(number))
    assert all(future.result(PATIENCE) for future in futures)


def test_a_method_can_be_submitted() -> None:
    class Shop:
        name = "tea"

        @task
        def sell(self, count: int) -> str:
            return self.name * count

    assert Shop().sell.submit(2).result(PATIENCE) == "teatea"
    assert Shop().sell.map([1, 2]).result(PATIENCE) == ["tea", "teatea"]


def test_a_submitted_run_is_no_member_of_the_transaction_that_it_was_submitted_in() -> None:
    undone: list[int] = []

    @task(on_rollback=[lambda txn: undone.append(1)])
    def step() -> None: ...

    @task
    def outer() -> None:
        with transaction():
            step()
            step.submit().result(PATIENCE)
            raise KeyError

    for fail_inside in (outer, outer.fn):
        with pytest.raises(KeyError):
            fail_inside()
    assert undone == [1, 1]


def test_a_retry_holds_no_place() -> None:
    tries: list[int] = []
    begun = threading.Event()

    @task(retries=1, retry_delay_seconds=0.2)
    def flaky() -> int:
        tries.append(runtime.attempt)
        begun.set()
        if runtime.attempt == 1:
            raise KeyError
        return len(tries)

    with ThreadPoolTaskRunner(1):
        future = flaky.submit()
        assert begun.wait(PATIENCE)
        assert add.submit(1).result(PATIENCE) == 2
        assert future.result(PATIENCE) == 2
        assert future.attempt == 2


# --- places ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("down", [go_down, go_down_later])
def test_runs_that_submit_and_wait_never_deadlock(size: int, down: Any) -> None:
    with ThreadPoolTaskRunner(size):
        assert down.submit(8).result(PATIENCE) == 8


def test_no_more_runs_execute_at_once_than_there_are_places() -> None:
    now, most, lock = 0, 0, threading.Lock()

    @task
    def work(depth: int) -> None:
        nonlocal now, most
        if depth:
            wait([work.submit(0) for _ in range(3)])
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.005)
        with lock:
            now -= 1

    with ThreadPoolTaskRunner(3):
        work.map([1] * 10).result(PATIENCE)
    assert most == 3


def test_a_block_waits_for_its_runs_and_is_the_runner_of_them(gate: threading.Event) -> None:
    @task
    def inner() -> None: ...

    class Counting(ThreadPoolTaskRunner):
        begun = 0

        def start(self, call: Any) -> Future[Any]:
            self.begun += 1
            return super().start(call)

    @task
    def outer() -> None:
        inner.submit().result(PATIENCE)

    with Counting(1) as runner:
        future = outer.submit()
    assert future.done()
    assert runner.begun == 2


def test_a_task_runner_takes_a_task_and_parameters() -> None:
    runner: TaskRunner = ConcurrentTaskRunner(max_workers=2)
    assert runner.submit(add, {"a": 1}).result(PATIENCE) == 2
    assert runner.map(add, {"a": [1, 2]}).result(PATIENCE) == [2, 3]
    assert runner.submit(add, {"a": 1}, wait_for=[add.submit(1)]).result(PATIENCE) == 2
    assert isinstance(runner.duplicate(), ThreadPoolTaskRunner)
    assert runner.wait(PATIENCE)


def test_a_task_runner_refuses_what_is_no_task_and_what_are_no_parameters() -> None:
    runner: Any = ThreadPoolTaskRunner(1)
    for run in (runner.submit, runner.map):
        with pytest.raises(TypeError, match=r"executes tasks, got .*: declare it with @task"):
            run(add.fn, {"a": [1]})
        with pytest.raises(TypeError, match=r"'add' takes its parameters as a dict.*got \[1\]"):
            run(add, [1])


@pytest.mark.parametrize("size", [0, -1, 1.5, "2"])
def test_the_size_of_a_task_runner_is_a_whole_number(size: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_workers"):
        ThreadPoolTaskRunner(size)


# --- futures as arguments ----------------------------------------------------------------------


@dataclass
class Box:
    content: Any


def test_futures_anywhere_in_arguments_are_replaced() -> None:
    one = add.submit(0)
    given = {"list": [one, (one,)], "box": Box(one)}
    expected = {"list": [1, (1,)], "box": Box(1)}
    assert give.submit(given).result(PATIENCE) == expected
    assert give(given) == expected
    assert asyncio.run(add_later(one.as_value, add_later.submit(1).as_value)) == 3
    assert give.submit(one.state if one.wait() else None).result(PATIENCE) == 1


def test_a_run_that_waits_for_runs_holds_no_place(gate: threading.Event) -> None:
    with ThreadPoolTaskRunner(2):
        first = hold.submit(gate)
        waiting = [add.submit(first.as_value, number) for number in range(10)]
        assert add.submit(1).result(PATIENCE) == 2
        assert not any(future.done() for future in waiting)
        gate.set()
        assert [future.result(PATIENCE) for future in waiting] == [1 + n for n in range(10)]


def test_a_chain_of_a_hundred_and_a_fan_out_with_its_join() -> None:
    future = add.submit(0)
    for _ in range(99):
        future = add.submit(future.as_value)
    assert future.result(PATIENCE) == 100
    parts = [add.submit(number) for number in range(1_000)]

    @task
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    assert total.submit([part.as_value for part in parts]).result(PATIENCE) == 500_500


def test_wait_for_orders_without_data(gate: threading.Event) -> None:
    seen: list[str] = []

    @task
    def first() -> None:
        gate.wait(PATIENCE)
        seen.append("first")

    @task
    def second() -> None:
        seen.append("second")

    future = second.submit(wait_for=[first.submit()])
    gate.set()
    future.result(PATIENCE)
    second(wait_for=[first.submit()])
    assert seen == ["first", "second", "first", "second"]


@pytest.mark.parametrize(
    "several", [list, iter, lambda runs: {"a": [runs[0]]}, lambda runs: [[runs]]]
)
def test_what_is_waited_for_may_be_anywhere_inside(several: Any) -> None:
    upstream = fail.submit()
    state = give.submit(1, wait_for=several([upstream]), return_state=True)
    assert state.name is StateName.NOT_READY
    assert upstream.run_id in state.message


@pytest.mark.usefixtures("jtask_broker")
@pytest.mark.parametrize(
    "meant", [A_RUN_ID, [A_RUN_ID], [add], add, {"sum": add}, [[A_RUN_ID]], [("sum", {"of": add})]]
)
def test_what_names_a_run_and_is_no_handle_of_it_is_not_left_out_of_wait_for(meant: Any) -> None:
    for call in (
        lambda: give.submit(1, wait_for=meant),
        lambda: give(1, wait_for=meant),
        lambda: give.map([1], wait_for=meant),
        lambda: give.apply_async((1,), wait_for=meant),
        lambda: give.delay_many([(1,)], wait_for=meant),
    ):
        with pytest.raises(TypeError, match=r"or get_run\(run_id\) for an id"):
            call()


@pytest.mark.parametrize("in_arguments", [True, False])
def test_what_did_not_complete_ends_those_that_wait_as_not_ready(in_arguments: bool) -> None:
    upstream = fail.submit()
    future = give.submit([upstream]) if in_arguments else give.submit(1, wait_for=[upstream])
    assert isinstance(future.exception(PATIENCE), RunNotReady)
    assert future.state.name is StateName.NOT_READY
    assert upstream.run_id in future.state.message
    assert "Failed: KeyError: 'no'" in future.state.message
    # And so on.
    assert add.submit(future).exception(PATIENCE) is not None  # type: ignore[arg-type]
    with pytest.raises(RunNotReady, match=upstream.run_id):
        give(upstream)


def test_failures_that_are_allowed_are_passed() -> None:
    upstream = fail.submit()
    assert isinstance(give.submit(allow_failure(upstream)).result(PATIENCE), KeyError)
    assert isinstance(give(allow_failure([upstream]))[0], KeyError)
    for awaited in ([allow_failure(upstream)], allow_failure([upstream]), allow_failure(upstream)):
        assert give.submit(1, wait_for=awaited).result(PATIENCE) == 1  # type: ignore[call-overload]
    not_ready = give.submit(upstream)
    assert isinstance(give.submit(allow_failure(not_ready)).result(PATIENCE), RunNotReady)


@pytest.mark.usefixtures("jtask_broker")
def test_what_is_nested_too_deeply_for_runs_to_be_found_is_refused_unless_opaque() -> None:
    upstream = give.submit(1)
    value: list[Any] = []
    for _ in range(5_000):
        value = [value]
    for call in (give.submit, give, give.delay):
        with pytest.raises(SerializationError, match=r"or pass it as opaque\(value\)"):
            call([upstream, value])
    assert give.submit([upstream, opaque(value)]).result(PATIENCE)[0] == 1


class OneRun(UserDict[str, Any]):
    """Cannot be made of its content."""

    def __init__(self, *, run: Any) -> None:
        super().__init__(run=run)


@pytest.mark.usefixtures("jtask_broker")
def test_a_run_in_what_cannot_hold_its_value_instead_fails_with_the_reason() -> None:
    upstream = give.submit(1)
    submitted = give.submit(OneRun(run=upstream))
    assert submitted.wait(PATIENCE)
    assert submitted.state.name is StateName.FAILED
    for call in (submitted.result, lambda: give(OneRun(run=upstream))):
        with pytest.raises(SerializationError, match=r"\(OneRun\) holds a run, and no OneRun"):
            call()
    with pytest.raises(SerializationError, match=r"\(OneRun\) holds a run, and no OneRun"):
        give.delay(OneRun(run=upstream))


def test_what_is_quoted_is_passed_as_it_is() -> None:
    future = add.submit(1)
    assert give.submit(quote(future)).result(PATIENCE) is future
    assert give(quote([future]))[0] is future


def test_a_run_that_waits_for_itself_is_an_error() -> None:
    futures: list[Future[Any]] = []

    @task
    def wait_for_it(own: list[Future[Any]], ready: threading.Event) -> Any:
        ready.wait(PATIENCE)
        return own[0].result()

    ready = threading.Event()
    futures.append(wait_for_it.submit(futures, ready))
    ready.set()
    with pytest.raises(ValueError, match="deadlock"):
        futures[0].result(PATIENCE)


def test_two_runs_that_wait_for_each_other_are_an_error() -> None:
    futures: list[Future[Any]] = []
    ready = threading.Event()

    @task
    def wait_for_other(number: int) -> Any:
        ready.wait(PATIENCE)
        return futures[number].result()

    futures += [wait_for_other.submit(1), wait_for_other.submit(0)]
    ready.set()
    errors = [future.exception(PATIENCE) for future in futures]
    assert any("deadlock" in str(error) for error in errors)


# --- cancelling --------------------------------------------------------------------------------


def test_a_run_that_waits_for_a_place_never_starts_once_cancelled(gate: threading.Event) -> None:
    with ThreadPoolTaskRunner(1):
        first = hold.submit(gate)
        future = give.submit(1)
        assert future.cancel("enough").result is CancelResult.NEVER_STARTS
        with pytest.raises(RunCancelled, match="enough"):
            future.result(PATIENCE)
        assert future.state.name is StateName.CANCELLED
        gate.set()
        assert first.result(PATIENCE) == 1
    assert first.cancel().result is CancelResult.ALREADY_OVER


def test_a_run_that_waits_for_a_run_can_be_cancelled(gate: threading.Event) -> None:
    future = give.submit(hold.submit(gate))
    assert future.cancel().result is CancelResult.NEVER_STARTS
    assert isinstance(future.exception(PATIENCE), RunCancelled)


def test_a_plain_function_is_asked_to_end() -> None:
    begun = threading.Event()

    @task
    def look_around() -> None:
        begun.set()
        while runtime.cancelled is None:
            time.sleep(0.001)
        raise RunCancelled(runtime.cancelled)

    future = look_around.submit()
    assert begun.wait(PATIENCE)
    assert future.cancel("enough").result is CancelResult.ASKED
    assert isinstance(future.exception(PATIENCE), RunCancelled)
    assert future.state == State(StateName.CANCELLED, future.state.at, "enough")


def test_a_coroutine_is_interrupted() -> None:
    begun = threading.Event()

    @task
    async def sleep() -> None:
        begun.set()
        await asyncio.sleep(PATIENCE)

    async def cancel(future: Future[None]) -> CancelResult:
        return (await future.cancel_async("enough")).result

    future = sleep.submit()
    assert begun.wait(PATIENCE)
    assert asyncio.run(cancel(future)) is CancelResult.INTERRUPTED
    assert isinstance(future.exception(PATIENCE), RunCancelled)


def test_all_runs_of_a_task_runner_can_be_cancelled(gate: threading.Event) -> None:
    begun = threading.Event()

    @task
    def begin() -> None:
        begun.set()
        gate.wait(PATIENCE)

    with ThreadPoolTaskRunner(1) as runner:
        first = begin.submit()
        assert begun.wait(PATIENCE)
        others = give.map(range(10))
        runner.cancel_all()
        for future in as_completed(others, PATIENCE):
            assert future.state.name is StateName.CANCELLED
        gate.set()
    assert isinstance(first, SubmittedRun)


# --- with the background -----------------------------------------------------------------------


def test_runs_in_the_background_are_waited_for_with_submitted_ones(jtask_worker: Any) -> None:
    jtask_worker(add)
    runs = [add.delay(1), add.submit(2), add.delay(3)]
    assert {future.result() for future in as_completed(runs, PATIENCE)} == {2, 3, 4}
    assert add.submit(add.delay(1).as_value, 5).result(PATIENCE) == 7
    assert give([add.delay(1)]) == [2]


def test_a_map_can_be_deferred(jtask_worker: Any) -> None:
    jtask_worker(add)
    futures = add.map([1, 2], b=5, deferred=True)
    assert all(isinstance(future, Run) for future in futures)
    assert futures.result(PATIENCE) == [6, 7]


def test_a_task_runner_can_hand_runs_to_workers(jtask_worker: Any) -> None:
    jtask_worker(add)
    with BackgroundTaskRunner():
        future = add.submit(1, b=2)
        assert isinstance(future, Run)
    assert future.result(0) == 3


def test_other_processes_find_a_submitted_run_as_they_do_a_direct_call(jtask_broker: str) -> None:
    client = get_client()
    future = give.submit([1, "x"])
    future.wait(PATIENCE)
    elsewhere = client.handle(future.run_id)
    assert elsewhere.result(PATIENCE) == [1, "x"]
    assert elsewhere == future
    assert elsewhere.info is not None
    assert elsewhere.info.task_name == "give"


@task(idempotency_key="{number}")
def once(number: int) -> int:
    return number


def test_a_deferred_map_that_is_called_again_stores_what_is_missing(jtask_broker: str) -> None:
    before = once.map([1, 2], deferred=True)
    after = once.map([1, 2, 3], deferred=True)
    assert after[:2] == before
    assert after[2] not in before


# --- group, chain and chord --------------------------------------------------------------------


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


def test_the_body_of_an_empty_group_gets_an_empty_list() -> None:
    assert total.submit(add.map([]).as_values).result(PATIENCE) == 0


def test_groups_and_chords_can_be_parts_of_each_other() -> None:
    chords = [total.submit(add.map([1, 2], number).as_values) for number in range(3)]
    outer = total.submit([chord.as_value for chord in chords])
    assert outer.result(PATIENCE) == 3 + 5 + 7
    assert add.submit(outer.as_value, 1).result(PATIENCE) == 16


def test_the_body_runs_once_when_a_part_was_retried() -> None:
    bodies: list[int] = []

    @task(retries=2)
    def flaky(number: int) -> int:
        if runtime.attempt < 3:
            raise KeyError
        return number

    @task
    def body(numbers: list[int]) -> int:
        bodies.append(len(numbers))
        return sum(numbers)

    assert body.submit([flaky.submit(n).as_value for n in range(5)]).result(PATIENCE) == 10
    assert bodies == [5]


def test_a_part_that_fails_ends_the_body_and_all_that_follows_naming_the_part() -> None:
    parts = [add.submit(1), fail.submit(), add.submit(2)]
    body = total.submit([part.as_value for part in parts])
    after = add.submit(body.as_value)
    assert isinstance(after.exception(PATIENCE), RunNotReady)
    assert parts[1].run_id in body.state.message
    assert body.run_id in after.state.message


def test_a_group_can_be_cancelled(gate: threading.Event) -> None:
    with ThreadPoolTaskRunner(1):
        holding = hold.submit(gate)
        group = give.map(range(5))
        body = total.submit(group.as_values)
        for future in group:
            future.cancel()
        gate.set()
        assert isinstance(body.exception(PATIENCE), RunNotReady)
        assert holding.result(PATIENCE) == 1
