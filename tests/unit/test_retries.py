"""The retries plugin: which failures are tried again, when, and what options it takes."""

import asyncio
import functools
import logging
import math
import time
from typing import Any, cast

import pytest
from direct_calls import both, call_plain
from hypothesis import given
from hypothesis import strategies as st

from jtask import get_run_logger, runtime, task
from jtask.errors import RetryAfter, RunCancelled, RunTimedOut, TaskDefinitionError
from jtask.hooks import hookimpl
from jtask.retries import exponential_backoff
from jtask.runtime import RunContext
from jtask.settings import get_settings
from jtask.states import State, StateName
from jtask_retries.jitter import bounds, spread
from jtask_retries.policy import Policy, policy_of


class Flaky:
    """Fails a number of times, then returns its count of calls."""

    def __init__(self, failures: int, error: BaseException | None = None) -> None:
        self.failures = failures
        self.calls = 0
        self.error = error or ValueError("boom")

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return self.calls


# --- when the task says so ----------------------------------------------------------------------


@both
def test_a_task_says_itself_when_it_is_tried_again_and_nothing_else_is_asked(call: Any) -> None:
    def never(_task: Any, _run: Any, _state: Any) -> bool:
        return False

    begun = time.monotonic()
    body = Flaky(1, RetryAfter(0.05))
    value = call(
        body, retries=1, retry_delay_seconds=3600, retry_on=OSError, retry_condition_fn=never
    )
    assert value == 2
    assert time.monotonic() - begun >= 0.05


@both
@pytest.mark.parametrize("retries", [0, 2])
def test_a_task_asks_for_a_retry_as_often_as_retries_says(call: Any, retries: int) -> None:
    body = Flaky(9, RetryAfter(0, "the quota is used up"))
    with pytest.raises(RetryAfter, match=r"^the quota is used up$"):
        call(body, retries=retries)
    assert body.calls == retries + 1


def test_a_retry_that_a_task_asks_for_says_how_it_is_granted() -> None:
    assert str(RetryAfter(90)) == "to be retried after 90 s, as often as retries= says"
    again = RetryAfter(*RetryAfter(1.5, "busy").args)
    assert (again.seconds, str(again)) == (1.5, "busy")


@pytest.mark.parametrize("seconds", [-1, math.inf, math.nan, True, "5", 10**400])
def test_a_task_cannot_ask_for_a_retry_at_no_time(seconds: Any) -> None:
    with pytest.raises(ValueError, match="RetryAfter takes 0 or more seconds"):
        RetryAfter(seconds)


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        (Policy(1, [5.0]), RetryAfter(1e300)),
        (Policy(1, [1e300]), ValueError()),
        (Policy(1, [1e308], jitter=1e308), ValueError()),
    ],
)
def test_a_retry_that_is_far_away_is_in_ten_years(policy: Policy, error: Exception) -> None:
    assert policy.retry(1, error, 0.0).at == 10 * 365 * 86_400


# --- how often -----------------------------------------------------------------------------------


@both
def test_a_failed_call_is_tried_again_as_often_as_retries_says(call: Any) -> None:
    assert call(Flaky(2), retries=2) == 3
    body = Flaky(9)
    with pytest.raises(ValueError, match="boom"):
        call(body, retries=2)
    assert body.calls == 3


@both
@pytest.mark.parametrize("options", [{}, {"retries": 0}, {"retries": None}])
def test_without_retries_the_first_failure_is_the_last(call: Any, options: Any) -> None:
    body = Flaky(1)
    with pytest.raises(ValueError, match="boom"):
        call(body, **options)
    assert body.calls == 1


def test_with_options_changes_retries_for_the_copy_only() -> None:
    body = Flaky(99)

    @task(retries=1)
    def work() -> int:
        return body()

    for tried, copy in ((4, work.with_options(retries=3)), (1, work.with_options(retries=0))):
        body.calls = 0
        with pytest.raises(ValueError, match="boom"):
            copy()
        assert body.calls == tried
    body.calls = 0
    with pytest.raises(ValueError, match="boom"):
        work()
    assert body.calls == 2


@pytest.mark.parametrize("delays", ["[1, 2.5]", "1, 2.5", "1s,2500ms", '["1s", 2.5]'])
def test_settings_give_the_defaults(delays: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @task
    def plain() -> None: ...

    @task(retries=1, retry_delay_seconds=4)
    def own() -> None: ...

    monkeypatch.setenv("JTASK_DEFAULT_RETRIES", "3")
    monkeypatch.setenv("JTASK_DEFAULT_RETRY_DELAY_SECONDS", delays)
    get_settings.cache_clear()
    try:
        for work in (plain, own):
            work.forget_settings()
            assert work.hooks.failed is not None
        assert policy_of(plain) == Policy(3, [1.0, 2.5])
        assert policy_of(own) == Policy(1, [4.0])
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()


def test_a_task_without_retries_is_spared_the_hook() -> None:
    @task
    def plain() -> None: ...

    @task(retries=1)
    def retried() -> None: ...

    assert plain.hooks.failed is None
    assert retried.hooks.failed is not None


@both
@pytest.mark.parametrize("error", [SystemExit(1), RunCancelled("no")])
def test_a_crash_and_a_cancellation_are_not_tried_again(call: Any, error: BaseException) -> None:
    body = Flaky(1, error)
    with pytest.raises(type(error)):
        call(body, retries=3)
    assert body.calls == 1


@both
def test_a_timeout_is_tried_again(call: Any) -> None:
    assert call(Flaky(1, RunTimedOut("late")), retries=1) == 2


# --- which failures ------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("members", "kinds", "is_covered"),
    [
        ([ConnectionError(), TimeoutError()], (ConnectionError, TimeoutError), True),
        ([ConnectionResetError()], ConnectionError, True),
        ([ConnectionError(), KeyError("x")], ConnectionError, False),
        ([KeyError("x"), ExceptionGroup("", [ConnectionError()])], ConnectionError, False),
        ([ConnectionError(), ExceptionGroup("", [ConnectionError()])], ConnectionError, True),
        ([KeyError("x")], ExceptionGroup, True),
        ([KeyError("x")], Exception, True),
    ],
)
def test_retry_on_covers_a_group_if_it_covers_all_that_is_in_it(
    call: Any, members: list[Exception], kinds: Any, is_covered: bool
) -> None:
    body = Flaky(1, ExceptionGroup("several", members))
    if is_covered:
        assert call(body, retries=1, retry_on=kinds) == 2
    else:
        with pytest.raises(ExceptionGroup, match="several"):
            call(body, retries=1, retry_on=kinds)


@both
@pytest.mark.parametrize("kinds", [KeyError, (KeyError, LookupError), [LookupError]])
def test_retry_on_covers_these_errors_and_their_subclasses_only(call: Any, kinds: Any) -> None:
    assert call(Flaky(1, KeyError("x")), retries=1, retry_on=kinds) == 2
    body = Flaky(1)
    with pytest.raises(ValueError, match="boom"):
        call(body, retries=1, retry_on=kinds)
    assert body.calls == 1


def plain_condition(task: Any, run: Any, state: Any) -> bool:
    return "boom" in str(run.error)


async def async_condition(task: Any, run: Any, state: Any) -> bool:
    await asyncio.sleep(0)
    return "boom" in str(run.error)


class ConditionObject:
    def __call__(self, task: Any, run: Any, state: Any) -> bool:
        return plain_condition(task, run, state)


class AsyncConditionObject:
    async def __call__(self, task: Any, run: Any, state: Any) -> bool:
        return await async_condition(task, run, state)


CONDITIONS = [
    plain_condition,
    async_condition,
    functools.partial(plain_condition),
    functools.partial(async_condition),
    ConditionObject(),
    AsyncConditionObject(),
    ConditionObject().__call__,
]


@both
@pytest.mark.parametrize("condition", CONDITIONS)
def test_any_callable_may_be_the_condition(call: Any, condition: Any) -> None:
    assert call(Flaky(1), retries=1, retry_condition_fn=condition) == 2
    body = Flaky(1, ValueError("other"))
    with pytest.raises(ValueError, match="other"):
        call(body, retries=1, retry_condition_fn=condition)
    assert body.calls == 1


@both
def test_the_condition_sees_the_task_the_run_and_the_state_it_would_end_in(call: Any) -> None:
    seen: list[Any] = []

    def condition(task: Any, run: Any, state: Any) -> bool:
        with pytest.raises(ValueError, match="boom"):
            state.result()
        seen.append((task.name, run.attempt, state.name, state.message))
        return True

    call(Flaky(2), retries=2, retry_condition_fn=condition)
    message = "the task raised ValueError: boom"
    assert seen == [("work", n, StateName.FAILED, message) for n in (1, 2)]


@both
@pytest.mark.parametrize("is_async", [False, True])
def test_the_condition_knows_the_run_that_it_is_asked_about(call: Any, is_async: bool) -> None:
    def condition(task: Any, run: Any, state: Any) -> bool:
        return runtime.run_id == run.run_id and get_run_logger().name == "jtask.task.work"

    async def async_condition(task: Any, run: Any, state: Any) -> bool:
        await asyncio.sleep(0)
        return condition(task, run, state)

    asked = async_condition if is_async else condition
    assert call(Flaky(1), retries=1, retry_condition_fn=asked) == 2


def test_the_condition_of_an_asynchronous_task_is_awaited_on_its_loop() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def condition(task: Any, run: Any, state: Any) -> bool:
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())
        return True

    @task(retries=1, retry_condition_fn=condition)
    async def work() -> asyncio.AbstractEventLoop:
        if runtime.attempt == 1:
            raise ValueError
        return asyncio.get_running_loop()

    assert loops == [asyncio.run(work())]


async def failing_async_condition(task: Any, run: Any, state: Any) -> bool:
    raise LookupError("broken")


def failing_condition(task: Any, run: Any, state: Any) -> bool:
    raise LookupError("broken")


@both
@pytest.mark.parametrize("condition", [failing_condition, failing_async_condition])
def test_a_condition_that_fails_is_logged_and_means_no_retry(
    call: Any, condition: Any, caplog: pytest.LogCaptureFixture
) -> None:
    body = Flaky(1)
    with caplog.at_level(logging.ERROR, "jtask"), pytest.raises(ValueError, match="boom"):
        call(body, retries=3, retry_condition_fn=condition)
    assert body.calls == 1
    (record,) = caplog.records
    assert "the retry_condition_fn of task work failed" in record.getMessage()
    assert record.exc_info


def test_the_condition_is_not_asked_when_no_retry_is_left() -> None:
    asked: list[int] = []

    def condition(task: Any, run: Any, state: Any) -> bool:
        asked.append(run.attempt)
        return True

    with pytest.raises(ValueError, match="boom"):
        call_plain(Flaky(9), retries=2, retry_condition_fn=condition)
    assert asked == [1, 2]


def test_an_asynchronous_condition_of_a_plain_task_called_in_a_coroutine_is_awaited() -> None:
    async def main() -> int:
        return call_plain(Flaky(1), retries=1, retry_condition_fn=async_condition)

    assert asyncio.run(main()) == 2


# --- when ----------------------------------------------------------------------------------------


def delays(**options: Any) -> list[float]:
    @task(retries=4, **options)
    def work() -> None: ...

    _ = work.hooks
    return [policy_of(work).delay(attempt) for attempt in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, [0, 0, 0, 0]),
        (0, [0, 0, 0, 0]),
        (2, [2, 2, 2, 2]),
        ([1, 2.5], [1, 2.5, 2.5, 2.5]),
        ((1, 2, 3, 4, 5), [1, 2, 3, 4]),
        ([], [0, 0, 0, 0]),
        (exponential_backoff(10), [10, 20, 40, 80]),
        (lambda retries: [retries], [4, 4, 4, 4]),
        (lambda retries: retries, [4, 4, 4, 4]),
    ],
)
def test_a_delay_is_a_number_a_list_whose_last_one_repeats_or_a_function(
    given: Any, expected: list[float]
) -> None:
    assert delays(retry_delay_seconds=given) == expected


def test_exponential_backoff_lists_at_most_50_delays() -> None:
    assert exponential_backoff(10)(4) == [10, 20, 40, 80]
    assert len(exponential_backoff(1)(1000)) == 50
    for factor in (-1, float("nan"), "10", True):
        with pytest.raises(TaskDefinitionError, match="must be 0 or more seconds, got"):
            exponential_backoff(cast("Any", factor))


def test_a_delay_that_has_doubled_out_of_the_calendar_is_ten_years() -> None:
    work = task(retries=50, retry_delay_seconds=exponential_backoff(10))(lambda: None)
    _ = work.hooks
    assert policy_of(work).retry(50, ValueError(), time.time()).at < time.time() + 11 * 366 * 86_400


@given(factor=st.floats(0.001, 50), draw=st.floats(0, 1), delay=st.floats(0, 1e6))
def test_jitter_stays_within_its_bounds(factor: float, draw: float, delay: float) -> None:
    shortest, longest = bounds(factor)
    assert 0 <= shortest <= 1
    assert longest == 1 + factor
    assert delay * shortest <= spread(delay, factor, draw) <= delay * longest


@pytest.mark.parametrize("factor", [0.1, 0.3, 1, 3, 20, 2000])
def test_the_mean_of_a_jittered_delay_is_the_delay(factor: float) -> None:
    count = 20_000
    drawn = [spread(10.0, factor, (n + 0.5) / count) for n in range(count)]
    assert math.isclose(sum(drawn) / count, 10.0, rel_tol=0.002)
    assert max(drawn) > min(drawn)


def test_jitter_applies_to_each_delay() -> None:
    for plain, drawn in zip(
        [1, 2, 4, 8],
        delays(retry_delay_seconds=exponential_backoff(1), retry_jitter_factor=0.5),
        strict=True,
    ):
        assert 0 < drawn <= plain * 1.5
    assert delays(retry_jitter_factor=0.5) == [0, 0, 0, 0]


def test_a_direct_call_waits_for_its_retries_and_says_until_when(
    jtask_plugin: Any,
) -> None:
    states: list[State] = []

    class Watch:
        @hookimpl
        def jtask_state(self, run: RunContext, state: State) -> None:
            states.append(state)

    jtask_plugin(Watch())
    begun = time.time()
    assert call_plain(Flaky(1), retries=1, retry_delay_seconds=0.05) == 2
    names = [state.name.value for state in states]
    assert names == ["Pending", "Running", "AwaitingRetry", "Retrying", "Completed"]
    awaiting, retrying = states[2:4]
    until: Any = awaiting.details["until"]
    assert until >= begun + 0.05
    assert retrying.at >= until
    assert awaiting.message.startswith("ValueError: boom; attempt 2 of 2 at 20")


def test_an_asynchronous_direct_call_leaves_the_loop_to_others_while_it_waits() -> None:
    body = Flaky(1)

    @task(retries=1, retry_delay_seconds=60)
    async def work() -> int:
        return body()

    async def main() -> None:
        waiting = asyncio.create_task(work())
        while not body.calls:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)  # hangs for a minute if the wait blocks the loop
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(asyncio.wait_for(main(), 30))


def test_each_try_is_in_the_history_with_its_reason_and_traceback() -> None:
    histories: list[Any] = []

    @task(retries=2)
    def work() -> None:
        histories.append(runtime.history)
        raise ValueError(f"attempt {runtime.attempt}")

    with pytest.raises(ValueError, match="attempt 3"):
        work()
    assert [len(history) for history in histories] == [0, 1, 2]
    for number, past in enumerate(histories[-1], 1):
        assert past.number == number
        assert past.reason.startswith(f"ValueError: attempt {number}; attempt {number + 1} of 3")
        assert past.failure.type == "builtins.ValueError"
        assert "in work" in past.failure.traceback


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("retries", -1, "must be a whole number, 0 or more, got -1"),
        ("retries", True, "must be a whole number, 0 or more, got True"),
        ("retries", 1.5, "must be a whole number, 0 or more, got 1.5"),
        ("retry_delay_seconds", -1, "must be 0 or more seconds, got -1"),
        ("retry_delay_seconds", "1", "must be seconds or a list of them, got '1'"),
        ("retry_delay_seconds", math.inf, "must be 0 or more seconds, got inf"),
        ("retry_delay_seconds", math.nan, "must be 0 or more seconds, got nan"),
        ("retry_delay_seconds", [1, None], "must be 0 or more seconds, got None"),
        ("retry_delay_seconds", [1] * 51, "takes at most 50 delays, got 51"),
        ("retry_jitter_factor", -0.1, "must be a number, 0 or more, got -0.1"),
        ("retry_condition_fn", 3, "must be a function of task, run and state, got 3"),
        (
            "retry_condition_fn",
            lambda run: True,
            "<lambda>(run) cannot be called with (task, run, state)",
        ),
        ("retry_on", (), "names no exception, so nothing would be tried again: leave it out"),
        ("retry_on", [int], "must be Exception classes, got <class 'int'>"),
        ("retry_on", ValueError("x"), "must be Exception classes, got ValueError('x')"),
        ("retry_on", SystemExit, "must be Exception classes, got <class 'SystemExit'>"),
    ],
)
def test_a_wrong_value_is_refused_at_the_definition(option: str, value: Any, sentence: str) -> None:
    with pytest.raises(TaskDefinitionError) as raised:
        call_plain(Flaky(0), **{option: value})
    assert str(raised.value) == f"task 'work', option '{option}': {sentence}"


@pytest.mark.parametrize("answer", [None, "3", ["x"], [1] * 51])
def test_a_delay_function_that_gives_no_delays_is_refused_at_the_first_use(answer: Any) -> None:
    body = Flaky(0)
    with pytest.raises(TaskDefinitionError, match="option 'retry_delay_seconds', with retries=1: "):
        call_plain(body, retries=1, retry_delay_seconds=lambda retries: answer)
    assert body.calls == 0
