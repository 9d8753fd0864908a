"""Every decision of the lifecycle, as tables."""

import asyncio

import pytest

from jtask.errors import (
    ProcessDied,
    ResultError,
    RunCancelled,
    RunCrashed,
    RunExpired,
    RunFailed,
    RunNotReady,
    RunRefused,
    RunTimedOut,
    SoftTimeout,
)
from jtask.lifecycle import (
    Discard,
    Execute,
    Finish,
    Release,
    Reschedule,
    Retry,
    after_error,
    decide_start,
    describe,
    is_suspect,
    isolated_limit,
    may_isolate,
    retryable,
)
from jtask.states import StateName

S = StateName
LOST_1 = Finish(S.CRASHED, "the run lost 1 worker, one each try", dead_letter=True)
LOST_3 = Finish(S.CRASHED, "the run lost 3 workers, one each try", dead_letter=True)
TOO_LATE = Finish(S.EXPIRED, "the run was not started before it expired")


@pytest.mark.parametrize(
    ("crashes", "max_crashes", "settled", "expires", "decision"),
    [
        (0, 3, False, None, Execute()),
        (2, 3, False, None, Execute()),
        (3, 3, False, None, LOST_3),
        (1, 1, False, None, LOST_1),
        (0, 3, False, 100.0, Execute()),
        (0, 3, False, 99.9, TOO_LATE),
        (0, 3, True, None, Discard()),
        # What is settled is neither dead-lettered nor expired any more; a crash comes before an
        # expiry, so that a run which kills workers is kept to be looked at.
        (3, 3, True, 99.9, Discard()),
        (3, 3, False, 99.9, LOST_3),
    ],
)
def test_admission(
    crashes: int, max_crashes: int, settled: bool, expires: float | None, decision: object
) -> None:
    found = decide_start(
        crashes=crashes, max_crashes=max_crashes, settled=settled, expires=expires, now=100.0
    )
    assert found == decision


@pytest.mark.parametrize(("losses", "suspect"), [(0, False), (1, False), (2, True), (8, True)])
def test_a_run_is_a_suspect_from_its_second_lost_worker_on(losses: int, suspect: bool) -> None:
    assert is_suspect(losses) is suspect


@pytest.mark.parametrize(("max_crashes", "may"), [(1, False), (2, False), (3, True), (10, True)])
def test_a_suspect_is_isolated_only_while_it_has_a_life_left(max_crashes: int, may: bool) -> None:
    assert may_isolate(max_crashes) is may
    assert isolated_limit(max_crashes) > max_crashes


RETRY = Retry(55.0, "try again")
AGAIN = Reschedule(55.0, S.AWAITING_RETRY, "try again", new_attempt=True)
# error, may be retried, how it ends without a retry
ENDS: list[tuple[BaseException, bool, Finish]] = [
    (ValueError("no"), True, Finish(S.FAILED, "the task raised ValueError: no")),
    (TimeoutError(), True, Finish(S.FAILED, "the task raised TimeoutError")),
    (RunFailed("sub"), True, Finish(S.FAILED, "the task raised RunFailed: sub")),
    (RunCrashed("sub"), True, Finish(S.FAILED, "the task raised RunCrashed: sub")),
    (ProcessDied("killed"), False, Finish(S.CRASHED, "killed")),
    (ResultError("not JSON"), False, Finish(S.FAILED, "not JSON")),
    (RunTimedOut("5 s"), True, Finish(S.TIMED_OUT, "5 s")),
    (SoftTimeout("4 s"), True, Finish(S.TIMED_OUT, "4 s")),
    (RunCancelled("why"), False, Finish(S.CANCELLED, "why")),
    (RunRefused("full"), False, Finish(S.CANCELLED, "full")),
    (RunNotReady("dep"), False, Finish(S.NOT_READY, "dep")),
    (RunExpired("late"), False, Finish(S.EXPIRED, "late")),
    (SystemExit(2), False, Finish(S.CRASHED, "the task raised SystemExit: 2")),
    (KeyboardInterrupt(), False, Finish(S.CRASHED, "the task raised KeyboardInterrupt")),
    (
        asyncio.CancelledError(),
        False,
        Finish(S.CRASHED, "the task's coroutine was cancelled from inside"),
    ),
]
IDS = [type(end[0]).__name__ for end in ENDS]


@pytest.mark.parametrize(("error", "may_retry", "settled"), ENDS, ids=IDS)
def test_what_follows_an_error(error: BaseException, may_retry: bool, settled: Finish) -> None:
    assert retryable(error) is may_retry
    assert after_error(error, None, stopping=False) == settled
    assert after_error(error, RETRY, stopping=False) == (AGAIN if may_retry else settled)


@pytest.mark.parametrize(("error", "may_retry", "settled"), ENDS, ids=IDS)
def test_only_a_cancelled_coroutine_is_handed_back_while_the_worker_stops(
    error: BaseException, may_retry: bool, settled: Finish
) -> None:
    cancelled = isinstance(error, asyncio.CancelledError)
    assert after_error(error, None, stopping=True) == (Release() if cancelled else settled)


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("two\n  lines"), "ValueError: two lines"),
        (ValueError(), "ValueError"),
        (ValueError("x" * 999), "ValueError: " + "x" * 488),
        (Mute(), "Mute: (its message cannot be made)"),
    ],
)
def test_an_error_is_described_in_one_line(error: Exception, text: str) -> None:
    assert describe(error) == text
