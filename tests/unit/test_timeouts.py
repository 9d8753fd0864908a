"""Limits as options, and what they do to direct calls."""

import asyncio
import contextlib
import math
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from traceback import format_exception_only
from typing import Any

import pytest
from programs import output_of

from jtask import runtime, task
from jtask.errors import JTaskError, RunTimedOut, SoftTimeout, TaskDefinitionError
from jtask_timeouts.deadlines import Deadlines, Step, TimedSteps
from jtask_timeouts.interrupts import HardInterrupt, SoftInterrupt
from jtask_timeouts.limits import Limits
from jtask_timeouts.verdict import Interruptions, conclude

SHORT = 0.05  # seconds


@pytest.mark.parametrize("name", ["timeout_seconds", "soft_timeout_seconds"])
@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, "3", True])
def test_a_limit_is_a_positive_number_of_seconds(name: str, value: object) -> None:
    with pytest.raises(TaskDefinitionError, match=rf"option '{name}': must be"):

        @task(**{name: value})  # type: ignore[call-overload,untyped-decorator]
        def work() -> None: ...


def test_the_soft_limit_is_below_the_hard_one() -> None:
    with pytest.raises(TaskDefinitionError, match=r"\(2\) must be less than timeout_seconds \(1\)"):

        @task(soft_timeout_seconds=2, timeout_seconds=1)
        def work() -> None: ...


def test_with_options_is_held_to_the_same_order() -> None:
    @task(soft_timeout_seconds=2)
    def work() -> None: ...

    with pytest.raises(TaskDefinitionError, match="must be less than"):
        work.with_options(timeout_seconds=1)


def test_a_limit_can_be_taken_off() -> None:
    @task(timeout_seconds=SHORT)
    def nap() -> str:
        time.sleep(4 * SHORT)
        return "rested"

    assert nap.with_options(timeout_seconds=None)() == "rested"


def test_an_unknown_isolation_is_refused() -> None:
    with pytest.raises(TaskDefinitionError, match='must be "none" or "process"'):

        @task(isolation="thread")
        def work() -> None: ...


def test_a_coroutine_function_without_limits_is_not_concerned() -> None:
    @task
    async def work() -> None: ...

    assert work.hooks.invoke is None


def test_a_direct_call_without_limits_is_not_watched() -> None:
    @task
    def caller() -> str:
        return sys._getframe(1).f_code.co_name

    assert caller() == "call_plain"


# --- plain functions -----------------------------------------------------------------------------


@task(timeout_seconds=SHORT)
def spin() -> None:
    while True:
        pass


def test_a_loop_of_python_code_is_cut() -> None:
    with pytest.raises(RunTimedOut, match=r"^task run exceeded timeout of 0\.05 seconds$"):
        spin()


def test_except_exception_does_not_stop_the_cut() -> None:
    @task(timeout_seconds=SHORT)
    def stubborn() -> None:
        while True:
            with contextlib.suppress(Exception):
                time.sleep(0.001)

    with pytest.raises(RunTimedOut):
        stubborn()


def test_finally_is_executed_when_a_function_is_cut() -> None:
    ended: list[str] = []

    @task(timeout_seconds=SHORT)
    def careful() -> None:
        try:
            while True:
                time.sleep(0.001)
        finally:
            ended.append("cleaned up")

    with pytest.raises(RunTimedOut):
        careful()
    assert ended == ["cleaned up"]


def test_a_direct_call_that_waits_in_c_is_cut_in_the_main_thread() -> None:
    program = """
import time
from jtask import task
from jtask.errors import RunTimedOut, SoftTimeout

@task(timeout_seconds=0.2)
def sleep(deep: bool) -> None:
    time.sleep(60)

@task(soft_timeout_seconds=0.1, timeout_seconds=30)
def outer() -> str:
    try:
        sleep(True)
    except SoftTimeout:
        return "outer first"
    return "undisturbed"

print(outer())
for _ in range(3):
    try:
        sleep(False)
    except RunTimedOut as error:
        print(error)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=40, check=True
    )
    assert (
        ended.stdout.splitlines()
        == ["outer first"] + ["task run exceeded timeout of 0.2 seconds"] * 3
    )


TRACED = """
import sys, threading
from jtask import task
from jtask.errors import RunTimedOut

@task(timeout_seconds=30)
def quick():
    return "quick"

@task(timeout_seconds=0.05)
def spin():
    while True:
        pass

def work():
    print(quick())
    try:
        spin()
    except RunTimedOut:
        print(quick())

def trace(frame, event, arg):
    return trace

threading.settrace(trace)
sys.settrace(trace)
work()
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def test_code_that_is_traced_goes_on_after_a_limit() -> None:
    # CPython 3.11 hangs where an exception was taken back that another thread had set.
    assert output_of(sys.executable, "-c", TRACED).split() == ["quick"] * 4


def test_what_a_task_returns_after_its_limit_does_not_count() -> None:
    @task(timeout_seconds=SHORT)
    def late() -> str:
        time.sleep(4 * SHORT)
        return "too late"

    with pytest.raises(RunTimedOut):
        late()


def test_a_timeout_error_of_the_tasks_own_is_not_taken_for_its_limit() -> None:
    @task(timeout_seconds=60)
    def asks() -> None:
        raise TimeoutError("the other side is slow")

    with pytest.raises(TimeoutError, match="the other side is slow") as caught:
        asks()
    assert type(caught.value) is TimeoutError


def test_a_soft_timeout_lets_a_function_clean_up_and_return() -> None:
    @task(soft_timeout_seconds=SHORT)
    def tidy() -> str:
        try:
            while True:
                time.sleep(0.001)
        except SoftTimeout:
            return "cleaned up"

    assert tidy() == "cleaned up"


def test_an_uncaught_soft_timeout_names_its_limit() -> None:
    @task(soft_timeout_seconds=SHORT)
    def careless() -> None:
        while True:
            time.sleep(0.001)

    with pytest.raises(SoftTimeout, match=r"^task run exceeded soft timeout of 0\.05 seconds$"):
        careless()


def test_a_soft_timeout_passes_whoever_takes_any_exception_for_an_error_of_his_own() -> None:
    @task(soft_timeout_seconds=SHORT, timeout_seconds=60)
    def goes_on_after_errors() -> str:
        try:
            while True:
                with contextlib.suppress(Exception, JTaskError):
                    time.sleep(0.001)
        except SoftTimeout:
            return "cleaned up"

    assert goes_on_after_errors() == "cleaned up"


def test_what_is_raised_at_a_soft_limit_is_shown_and_copied_as_a_soft_timeout() -> None:
    raised = SoftInterrupt("it took long")
    assert format_exception_only(raised) == ["jtask.errors.SoftTimeout: it took long\n"]
    copied = pickle.loads(pickle.dumps(raised))
    assert type(copied) is SoftTimeout
    assert str(copied) == "it took long"


def test_the_soft_limit_of_a_caller_ends_the_task_that_it_calls_its_retries_and_its_hooks() -> None:
    def endless(*_: object) -> None:
        while True:
            time.sleep(0.001)

    @task(retries=1000)
    def tried_again() -> None:
        endless()

    @task(on_running=[endless], on_completion=[endless])
    def hooked() -> None: ...

    @task(soft_timeout_seconds=SHORT, timeout_seconds=60)
    def caller(called: Any) -> str:
        try:
            called()
        except SoftTimeout:
            return "cleaned up"
        return "undisturbed"

    assert [caller(tried_again), caller(hooked)] == ["cleaned up", "cleaned up"]


def test_the_hard_limit_comes_although_the_soft_one_was_ignored() -> None:
    @task(soft_timeout_seconds=SHORT, timeout_seconds=2 * SHORT)
    def deaf() -> None:
        while True:
            with contextlib.suppress(SoftTimeout):
                time.sleep(0.001)

    with pytest.raises(RunTimedOut):
        deaf()


def test_an_interruption_never_hits_what_comes_after_the_function() -> None:
    """Functions that end about when their limits come; each interrupted thread goes on unharmed."""
    limit = 0.002

    @task(soft_timeout_seconds=limit, timeout_seconds=1.1 * limit)
    def brief(seconds: float) -> str:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass
        return "done"

    def many(hits: list[BaseException], ends: list[str]) -> None:
        try:
            for i in range(150):
                try:
                    # The last one is cut on the busiest machine too.
                    near = limit * (0.8 + 0.4 * (i % 10) / 10)
                    ends.append(brief(near if i < 149 else 2.0))
                except (RunTimedOut, SoftTimeout) as error:
                    ends.append(type(error).__name__)
                    continue
            for _ in range(20_000):
                str(object())
        except BaseException as error:
            hits.append(error)

    hits: list[BaseException] = []
    ends: list[str] = []
    threads = [threading.Thread(target=many, args=(hits, ends)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hits == []
    assert len(ends) == 600
    assert "RunTimedOut" in ends or "SoftTimeout" in ends


# --- asynchronous functions ----------------------------------------------------------------------


def test_a_coroutine_is_cut_at_its_await() -> None:
    ended: list[str] = []

    @task(timeout_seconds=SHORT)
    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    with pytest.raises(RunTimedOut, match="exceeded timeout"):
        asyncio.run(waits())
    assert ended == ["cancelled"]


@pytest.mark.parametrize("error", [None, ValueError("late")])
def test_what_comes_out_of_a_coroutine_that_held_up_its_loop_past_its_limit_does_not_count(
    error: Exception | None,
) -> None:
    @task(timeout_seconds=SHORT)
    async def blocks() -> str:
        time.sleep(4 * SHORT)
        if error is not None:
            raise error
        return "too late"

    @task(timeout_seconds=SHORT)
    async def blocks_between() -> AsyncIterator[int]:
        time.sleep(4 * SHORT)
        yield 1

    async def main() -> None:
        with pytest.raises(RunTimedOut) as caught:
            await blocks()
        assert caught.value.__cause__ is error
        with pytest.raises(RunTimedOut):
            await anext(blocks_between())
        current = asyncio.current_task()
        assert current is not None
        assert current.cancelling() == 0

    asyncio.run(main())


def test_a_soft_timeout_is_raised_at_the_await() -> None:
    @task(soft_timeout_seconds=SHORT)
    async def tidy() -> str:
        try:
            await asyncio.sleep(60)
        except SoftTimeout as error:
            await asyncio.sleep(0)
            return str(error)
        return "undisturbed"

    assert asyncio.run(tidy()) == "task run exceeded soft timeout of 0.05 seconds"


def test_a_soft_timeout_at_the_await_passes_whoever_takes_any_exception() -> None:
    @task(soft_timeout_seconds=SHORT, timeout_seconds=60)
    async def goes_on_after_errors() -> str:
        try:
            while True:
                with contextlib.suppress(Exception, JTaskError):
                    await asyncio.sleep(0.001)
        except SoftTimeout:
            return "cleaned up"

    assert asyncio.run(goes_on_after_errors()) == "cleaned up"


def test_a_soft_timeout_ends_the_children_of_a_task_group() -> None:
    ended: list[str] = []

    async def child() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("child")

    @task(soft_timeout_seconds=SHORT)
    async def parent() -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
        except SoftTimeout:
            return "cleaned up"
        return "undisturbed"

    async def main() -> int:
        assert await parent() == "cleaned up"
        return len(asyncio.all_tasks())

    assert asyncio.run(main()) == 1
    assert ended == ["child"]


def test_a_soft_timeout_comes_although_what_is_awaited_swallows_it() -> None:
    async def deaf() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

    @task(soft_timeout_seconds=SHORT)
    async def tidy() -> int:
        try:
            await asyncio.ensure_future(deaf())
        except SoftTimeout:
            current = asyncio.current_task()
            assert current is not None
            return current.cancelling()
        return -1

    assert asyncio.run(tidy()) == 0


def test_a_soft_timeout_comes_after_a_timeout_of_the_coroutines_own_at_the_same_moment() -> None:
    @task(soft_timeout_seconds=SHORT, timeout_seconds=60)
    async def polls() -> str:
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SHORT):
                        time.sleep(4 * SHORT)  # both are over when the loop gets to them
                        await asyncio.sleep(60)
        except SoftTimeout:
            current = asyncio.current_task()
            assert current is not None
            return f"cleaned up, cancelling {current.cancelling()}"

    assert asyncio.run(polls()) == "cleaned up, cancelling 0"


def test_a_cancellation_by_others_is_not_taken_for_a_limit() -> None:
    @task(timeout_seconds=60, soft_timeout_seconds=50)
    async def waits() -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        call = asyncio.ensure_future(waits())
        await asyncio.sleep(0)
        call.cancel()
        await call

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())


def test_a_timeout_of_the_coroutines_own_is_not_taken_for_a_limit() -> None:
    @task(timeout_seconds=60)
    async def impatient() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            return "gave up"
        return "undisturbed"

    assert asyncio.run(impatient()) == "gave up"


def test_the_loop_goes_on_undisturbed_after_a_limit() -> None:
    @task(timeout_seconds=SHORT)
    async def waits() -> None:
        await asyncio.sleep(60)

    async def main() -> int:
        with pytest.raises(RunTimedOut):
            await waits()
        await asyncio.sleep(0.01)
        current = asyncio.current_task()
        assert current is not None
        return current.cancelling()

    assert asyncio.run(main()) == 0


# --- the history ---------------------------------------------------------------------------------


def remarks_of(call: Any) -> list[str]:
    found: list[str] = []
    ready = threading.Event()

    def remember(_run: Any, state: Any) -> None:
        if state.name == "Running" and state.message:
            found.append(state.message)
            ready.set()

    def listen() -> threading.Event:
        run = runtime.current_run()
        assert run is not None
        run.on_state = remember
        return ready

    call(listen)
    return found


def test_the_stack_of_a_slow_function_is_told() -> None:
    @task(timeout_seconds=60, soft_timeout_seconds=SHORT)
    def slow(listen: Any) -> None:
        told = listen()
        try:
            assert told.wait(30)
            time.sleep(30)
        except SoftTimeout:
            pass

    (text,) = remarks_of(slow)
    assert text.startswith("still executing after 0.05 seconds\n")
    assert "in slow" in text
    assert "call_in_thread" not in text


def test_the_stack_of_a_waiting_coroutine_is_told() -> None:
    async def deeper() -> None:
        await asyncio.sleep(30)

    @task(timeout_seconds=2 * SHORT)
    async def slow(listen: Any) -> None:
        listen()
        await deeper()

    def call(listen: Any) -> None:
        with pytest.raises(RunTimedOut):
            asyncio.run(slow(listen))

    (text,) = remarks_of(call)
    assert "in slow" in text
    assert "in deeper" in text


def test_the_stack_of_a_coroutine_that_holds_up_its_loop_is_told() -> None:
    @task(timeout_seconds=2 * SHORT)
    async def blocks(listen: Any) -> None:
        assert listen().wait(30)

    def call(listen: Any) -> None:
        asyncio.run(blocks(listen))

    (text,) = remarks_of(call)
    assert "in blocks" in text
    assert "in wait" in text


# --- decisions -----------------------------------------------------------------------------------

LIMITS = Limits(soft=1, hard=2)


def test_an_interruption_after_the_return_changes_nothing_before_the_hard_limit() -> None:
    assert conclude(LIMITS, Interruptions(soft=True), ["value"], SoftInterrupt()) == "value"


def test_a_failure_during_clean_up_is_the_cause_of_the_timeout() -> None:
    failure = ValueError("clean-up failed")
    with pytest.raises(RunTimedOut) as caught:
        conclude(LIMITS, Interruptions(hard=True), [], failure)
    assert caught.value.__cause__ is failure


def test_the_cut_itself_is_not_shown() -> None:
    with pytest.raises(RunTimedOut) as caught:
        conclude(LIMITS, Interruptions(hard=True), [], HardInterrupt())
    assert caught.value.__cause__ is None


def test_ctrl_c_after_the_return_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt):
        conclude(LIMITS, Interruptions(), ["value"], KeyboardInterrupt())


# --- the thread ----------------------------------------------------------------------------------


def test_steps_happen_in_the_order_of_their_instants() -> None:
    happened: list[str] = []
    done = threading.Event()
    now = time.monotonic()
    deadlines = Deadlines()
    deadlines.add(TimedSteps([Step(now + 0.02, lambda: happened.append("b"))]))
    deadlines.add(
        TimedSteps([Step(now + 0.03, done.set), Step(now + 0.01, lambda: happened.append("a"))])
    )
    assert done.wait(30)
    assert happened == ["a", "b"]


def test_steps_of_one_instant_happen_in_their_order() -> None:
    happened: list[str] = []
    done = threading.Event()
    now = time.monotonic()
    first, second = Step(now, lambda: happened.append("a")), Step(now, lambda: happened.append("b"))
    Deadlines().add(TimedSteps([first, second, Step(now, done.set)]))
    assert done.wait(30)
    assert happened == ["a", "b"]


def test_a_step_that_fails_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()

    def fail() -> None:
        raise ValueError("a bad step")

    deadlines = Deadlines()
    deadlines.add(TimedSteps([Step(0.0, fail), Step(0.001, done.set)]))
    assert done.wait(30)
    assert "a bad step" in caplog.text


def test_what_is_over_is_forgotten_long_before_it_is_due() -> None:
    deadlines = Deadlines()
    for _ in range(5000):
        schedule = TimedSteps([Step(time.monotonic() + 3600, lambda: None)])
        deadlines.add(schedule)
        schedule.end()
    done = threading.Event()
    deadlines.add(TimedSteps([Step(0.0, done.set)]))
    assert done.wait(30)
    assert len(deadlines._heap) < 1100
