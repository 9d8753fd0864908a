"""The client of this process: connected by its first use, closed at the end of the program.

A forked child has none before it uses one itself; handles that it has from its parent ask that one.
"""

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, overload

from jtask.client.client import Client
from jtask.client.program_end import at_program_end
from jtask.daemon_calls import call_in_daemon
from jtask.declaration.task_info import TaskInfo
from jtask.errors import BrokerUnavailable, TargetError
from jtask.execution import direct_call
from jtask.futures.future import Future
from jtask.futures.submitted_run import find_submitted
from jtask.settings import get_settings
from jtask.signal_safety import SignalSafeLock

R = TypeVar("R")


class _Failure(NamedTuple):
    reason: str
    ended: float  # by the monotonic clock


_lock = SignalSafeLock(is_brief=False)
_client: Client | None = None
_closes_at_end = False
_spare: Client | None = None
"""Made to record direct calls, and not asked for yet: the program may still connect elsewhere."""
_failure: _Failure | None = None
"""The last attempt to connect, if the broker could not be reached."""


def get_client() -> Client:
    """Return this process's client, connected by its first use.

    Who asks for it while another thread tries to connect shares that attempt, and its failure.

    Raises:
        ConfigurationError: A setting is wrong.
        BrokerUnavailable: The broker cannot be reached.
    """
    global _client, _spare
    # Without the lock: every call of a task comes this way.
    if _client is not None:
        return _client
    outdated, since = None, time.monotonic()
    with _lock:
        if _client is None:
            # Settings that were read anew may name another broker.
            if _spare is not None and _spare.settings is not get_settings():
                outdated, _spare = _spare, None
            _client, _spare = _spare or _connect(since), None
        client = _client
    # Without the lock, as in `close_client`.
    if outdated is not None:
        outdated.close()
    return client


def client_for_recording(is_wanted: Callable[[], bool]) -> Client | None:
    """Return this process's client, or connect one that `get_client` will take if it may.

    Args:
        is_wanted: Asked when nobody else connects or disconnects; None is returned if it denies.

    Raises:
        ConfigurationError: A setting is wrong.
        BrokerUnavailable: The broker cannot be reached.
    """
    global _spare
    since = time.monotonic()
    with _lock:
        if _client is None and _spare is None and is_wanted():
            _spare = _connect(since)
        return _client or _spare


def _connect(since: float) -> Client:
    global _failure
    # Each of many threads would wait as long as the one before it, one after the other.
    if _failure is not None and _failure.ended >= since:
        raise BrokerUnavailable(_failure.reason)
    try:
        client = Client()
    except BrokerUnavailable as error:
        _failure = _Failure(str(error), time.monotonic())
        raise
    if client.settings.record_direct_calls != "off":
        direct_call.record(client.events.on_state, client.outcomes.on_end)
        # Nobody waits for that: what is sent from now on comes after it.
        client.io.submit(client.calls.listen())
    _close_at_program_end()
    return client


def current_client() -> Client | None:
    """Return this process's client if it is connected."""
    return _client


async def connected_client() -> Client:
    """Return this process's client without blocking the event loop while it connects.

    Raises:
        ConfigurationError: A setting is wrong.
        BrokerUnavailable: The broker cannot be reached.
    """
    if _client is not None:
        return _client
    return await call_in_daemon("jtask-connect", get_client)


def close_client() -> None:
    """Disconnect this process; the next use connects again."""
    global _client, _spare, _failure
    with _lock:
        # The lock is not held while the client closes: that waits for the I/O thread, and whatever
        # is called there may want this lock.
        client, _client, _spare = _client or _spare, None, None
        _failure = None  # what is set up from now on may be another broker
        direct_call.stop_recording()
    if client is not None:
        client.close()


@overload
def get_run(run_id: str) -> Future[Any]: ...
@overload
def get_run(run_id: str, task: TaskInfo[..., R]) -> Future[R]: ...
def get_run(run_id: str, task: TaskInfo[..., Any] | None = None) -> Future[Any]:
    """Return a handle on a run of any process.

    The one that `.submit()` has returned, for a run that this process executes.

    Args:
        run_id: Its id.
        task: Its task, where the code is at hand: gives the result its declared type.

    Raises:
        RunNotFound: That is not a run id.
        TargetError: That is not a task.
    """
    if task is not None and not isinstance(task, TaskInfo):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TargetError(f"{task!r} is not a task: pass the function decorated with @task")
    submitted = find_submitted(run_id) if isinstance(run_id, str) else None  # pyright: ignore[reportUnnecessaryIsInstance]
    return get_client().handle(run_id, task) if submitted is None else submitted


def _close_at_program_end() -> None:
    global _closes_at_end
    # Not before there is a client: what is registered last is called first, so the I/O thread,
    # which `Client()` has registered, is stopped after this.
    if not _closes_at_end:
        _closes_at_end = True
        at_program_end(close_client)


def _forget_after_fork() -> None:
    global _client, _spare, _lock, _closes_at_end, _failure
    # The child's I/O thread will be another one, registered later.
    _closes_at_end = False
    # Another thread of the parent may have held the old one, and does not exist here.
    _lock = SignalSafeLock(is_brief=False)
    if _client is not None:
        _client.hand_over(get_client, connected_client)
    _client = _spare = _failure = None


os.register_at_fork(after_in_child=_forget_after_fork)
