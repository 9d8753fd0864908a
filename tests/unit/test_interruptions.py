"""Where a plain function is interrupted, and where only a moment later."""

import concurrent.futures
import functools
import logging
import math
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from jtask import task
from jtask.errors import SoftTimeout
from jtask.signal_safety import result_of
from jtask_timeouts.moments import is_right

IN_TIME, LATE = math.inf, -math.inf
LOGS = [("app", "work"), ("jtask_logs.records", "take"), ("logging", "handle")]
WAITS = [("app", "work"), ("jtask.runs", "wait"), ("threading", "wait")]


def within(stack: list[tuple[str, str]], look: Callable[[FrameType], bool]) -> bool:
    """Call functions of some modules, each by the one before, and look at the innermost frame."""
    for module, name in reversed(stack):
        namespace: dict[str, Any] = {"__name__": module, "here": sys._getframe}
        exec(f"def {name}(then, *_): return then(here())", namespace)
        look = functools.partial(namespace[name], look)
    return look(sys._getframe())


@pytest.mark.parametrize(
    ("stack", "at_once", "late", "late_by_signal"),
    [
        ([("app", "work")], True, True, True),
        # Called by jtask, as a task that is called directly or a hook.
        ([("jtask.execution.calling", "call_plain"), ("app", "work")], True, True, True),
        ([("app", "work"), ("threading", "wait")], True, True, True),
        (LOGS, True, True, True),
        (WAITS, False, True, True),
        ([("app", "work"), ("jtask_nats.client.link", "open")], False, True, True),
        ([("jtask_of_others", "work")], True, True, True),
        ([*LOGS, ("logging", "acquire")], False, False, True),
        ([("app", "work"), ("threading", "__exit__")], False, False, True),
        ([("app", "work"), ("weakref", "remove")], False, False, False),
        ([("app", "__del__")], False, False, False),
    ],
)
def test_a_limit_is_held_back_where_it_would_be_lost_or_leave_a_lock_taken(
    stack: list[tuple[str, str]], at_once: bool, late: bool, late_by_signal: bool
) -> None:
    assert [
        within(stack, lambda frame: is_right(frame, IN_TIME, by_signal=False)),
        within(stack, lambda frame: is_right(frame, LATE, by_signal=False)),
        within(stack, lambda frame: is_right(frame, LATE, by_signal=True)),
    ] == [at_once, late, late_by_signal]


def test_a_wait_for_others_within_jtask_is_interrupted_at_once() -> None:
    class Awaited(concurrent.futures.Future[bool]):
        def result(self, timeout: float | None = None) -> bool:
            return is_right(sys._getframe(1), IN_TIME, by_signal=True)

    assert result_of(Awaited())


def test_limits_of_tasks_that_log_leave_the_log_to_others(tmp_path: Path) -> None:
    log = logging.getLogger("tasks that log")
    log.propagate = False
    log.addHandler(handler := logging.FileHandler(tmp_path / "log"))

    @task(soft_timeout_seconds=0.004, timeout_seconds=20)
    def logs() -> str:
        try:
            while True:
                log.warning("still here")
        except SoftTimeout:
            return "cleaned up"

    ends: list[str] = []
    threads = [
        threading.Thread(target=lambda: ends.extend(logs() for _ in range(60)), daemon=True)
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert ends == ["cleaned up"] * 180
    assert handler.lock is not None
    assert handler.lock.acquire(timeout=0)
    handler.lock.release()
    log.removeHandler(handler)
    handler.close()
