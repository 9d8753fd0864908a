"""Waits leave nothing behind, and end: after timeouts, forks and signals, on both brokers."""

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from in_process import StartWorker, on_each_broker
from waiting import PATIENCE

from jtask import Run, get_run, task
from jtask.client import get_client
from jtask.errors import JTaskError, ResultTimeout, RunNotFound
from jtask.ids import RunIds
from jtask.signal_safety import SignalSafeLock, refuse_in_interrupted_thread

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


@task
def work(n: int = 0) -> int:
    return n


def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client's own runs count as those of another process."""
    monkeypatch.setattr(get_client()._waits, "_client", RunIds().client)


def test_who_waits_again_after_a_timeout_gets_the_end(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = work.delay(3).run_id
    foreign(monkeypatch)
    first: Run[Any] = Run(run_id, get_client())
    second: Run[Any] = Run(run_id, get_client())
    for handle in (first, second, first):
        with pytest.raises(ResultTimeout):
            handle.result(0.02)
    jtask_worker(work)
    assert (second.result(PATIENCE), first.result(PATIENCE)) == (3, 3)


def test_a_handle_that_nobody_keeps_any_more_leaves_no_subscription(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed, opened = threading.Semaphore(0), 0
    run_id = work.delay(3).run_id
    foreign(monkeypatch)
    results = get_client().broker.results
    watch = results.watch

    async def counted_watch(*arguments: Any) -> Any:
        nonlocal opened
        subscription = await watch(*arguments)
        opened += 1
        return Counted(subscription, closed)

    monkeypatch.setattr(results, "watch", counted_watch)
    for _ in range(5):
        with pytest.raises(ResultTimeout):
            get_run(run_id).result(0.02)
    gc.collect()
    assert opened
    for _ in range(opened):
        assert closed.acquire(timeout=PATIENCE)


class Counted:
    """A subscription that tells when it is closed."""

    def __init__(self, subscription: Any, closed: threading.Semaphore) -> None:
        self._subscription, self._closed = subscription, closed

    async def close(self) -> None:
        await self._subscription.close()
        self._closed.release()


def test_many_who_come_and_go_on_one_handle_all_get_the_end(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = work.delay(3).run_id
    foreign(monkeypatch)
    handle: Run[Any] = Run(run_id, get_client())
    ends: list[int] = []

    def poll(pause: float) -> None:
        deadline = time.monotonic() + PATIENCE
        while not handle.wait(pause):
            assert time.monotonic() < deadline
        ends.append(handle.result())

    pollers = [threading.Thread(target=poll, args=(0.001 * n,)) for n in range(1, 9)]
    pollers.append(threading.Thread(target=lambda: ends.append(handle.result(PATIENCE))))
    for poller in pollers:
        poller.start()
    jtask_worker(work)
    for poller in pollers:
        poller.join(PATIENCE)
    assert ends == [3] * 9


def in_forked_child(act: Callable[[], Any]) -> str:
    """Do something in a forked child, and return what came of it as text."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = repr(act())
        except BaseException as error:
            said = type(error).__name__
        os.write(into, said.encode())
        os._exit(0)
    os.close(into)
    end = threading.Timer(PATIENCE, os.kill, (child, signal.SIGKILL))
    end.start()
    with os.fdopen(out) as answer:
        said = answer.read()
    end.cancel()
    os.waitpid(child, 0)
    return said


def test_a_handle_from_before_a_fork_works_in_the_child(
    jtask_broker: str, jtask_worker: StartWorker
) -> None:
    run, over = work.delay(4), work.delay(5)
    assert run.state.name == "Scheduled"
    assert not run.wait(0.02)
    with_worker = jtask_worker(work)
    assert over.result(PATIENCE) == 5
    assert in_forked_child(over.result) == "5"
    del with_worker
    if jtask_broker.startswith("memory"):
        # A child cannot see what its parent has in memory.
        fresh = work.with_options(delay=60).delay()
        assert in_forked_child(fresh.result) == RunNotFound.__name__
        return
    assert in_forked_child(lambda: run.result(PATIENCE)) == "4"
    waiting = work.with_options(delay=60).delay()
    assert in_forked_child(lambda: waiting.state.name.value) == "'Scheduled'"
    assert in_forked_child(lambda: asyncio.run(waiting.state_async()).name.value) == "'Scheduled'"
    assert in_forked_child(lambda: asyncio.run(waiting.wait_async(0.1))) == "False"
    assert in_forked_child(lambda: waiting.cancel().result.value) == "'never starts'"
    assert waiting.wait(PATIENCE)


class Interrupts:
    """Sends this process a signal in the middle of something that the main thread does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, handler: Callable[[], Any]) -> None:
        self._monkeypatch = monkeypatch
        self.came: list[Any] = []
        self._is_sent = False

        def handle(number: int, frame: object) -> None:
            del number, frame
            try:
                self.came.append(handler())
            except JTaskError as error:
                self.came.append(error)

        self._before = signal.signal(signal.SIGUSR1, handle)

    def within(self, owner: Any, name: str) -> None:
        """Interrupt the next call of a function in the main thread."""
        original = getattr(owner, name)

        def interrupted(*args: Any, **kwargs: Any) -> Any:
            is_main = threading.current_thread() is threading.main_thread()
            if is_main and not self._is_sent:
                # Once: the handler may come here as well.
                self._is_sent = True
                signal.raise_signal(signal.SIGUSR1)
            return original(*args, **kwargs)

        self._monkeypatch.setattr(owner, name, interrupted)

    def close(self) -> None:
        signal.signal(signal.SIGUSR1, self._before)


def test_a_run_delayed_in_a_signal_handler_is_stored_or_refused_and_nothing_hangs(
    jtask_broker: str, jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    jtask_worker(work)
    assert work.delay(1).result(PATIENCE) == 1
    interrupts = Interrupts(monkeypatch, lambda: work.delay(2))
    if jtask_broker.startswith("memory"):
        interrupts.within(get_client().broker.runs._storage.backlog, "add")  # type: ignore[attr-defined]
    else:
        from jtask_nats.client.blocking_links import BlockingLinks
        from jtask_nats.client.shared_socket import SharedSocket

        # By the connection that all share.
        monkeypatch.setattr(BlockingLinks, "_take", lambda _: None)
        interrupts.within(SharedSocket, "_send_now")
    try:
        # Another thread may write what the main thread sends.
        while not interrupts.came:
            assert work.delay(3).result(PATIENCE) == 3
    finally:
        interrupts.close()
    [refusal] = interrupts.came
    assert isinstance(refusal, JTaskError)
    assert "signal handler" in str(refusal)
    # And all goes on.
    assert work.delay(4).result(PATIENCE) == 4


@pytest.mark.parametrize("name", ["publish", "_read"])
def test_a_run_delayed_in_a_signal_handler_takes_no_answer_of_the_one_that_it_interrupts(
    name: str, jtask_broker: str, jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jtask_nats.client.blocking_link import BlockingLink

    if jtask_broker.startswith("memory"):
        pytest.skip("its runs are not sent anywhere")
    jtask_worker(work)
    assert [work.delay(n).result(PATIENCE) for n in range(3)] == [0, 1, 2]
    interrupts = Interrupts(monkeypatch, lambda: work.delay(7))
    interrupts.within(BlockingLink, name)
    try:
        interrupted = work.delay(3)
    finally:
        interrupts.close()
    [delayed] = interrupts.came
    assert interrupted.result(PATIENCE) == 3
    assert delayed.result(PATIENCE) == 7


def test_ids_made_in_a_signal_handler_are_unique(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = RunIds()
    interrupts = Interrupts(monkeypatch, ids.new)
    interrupts.within(time, "time_ns")
    try:
        made = [ids.new(), ids.new()]
    finally:
        interrupts.close()
    assert len({*made, *interrupts.came}) == 3
    assert made == sorted(made)


def test_signals_at_any_moment_leave_all_runs_accounted_for(jtask_worker: StartWorker) -> None:
    jtask_worker(work)
    # What the first call imports, no handler can import that has interrupted just that.
    work.delay(0).result(PATIENCE)
    nested: list[Run[int]] = []
    refused: list[JTaskError] = []

    # Not the timer that pytest-timeout has; one shot, for a handler must not interrupt itself.
    timer, number = signal.ITIMER_VIRTUAL, signal.SIGVTALRM

    def handle(number: int, frame: object) -> None:
        del number, frame
        try:
            nested.append(work.delay(1))
        except JTaskError as error:
            refused.append(error)
        signal.setitimer(timer, 0.002)

    before = signal.signal(number, handle)
    signal.setitimer(timer, 0.002)
    try:
        runs = [work.delay(0) for _ in range(300)]
    finally:
        signal.setitimer(timer, 0)
        signal.signal(number, before)
    assert sum(run.result(PATIENCE) for run in runs) == 0
    assert sum(run.result(PATIENCE) for run in nested) == len(nested)
    assert len({run.run_id for run in [*runs, *nested]}) == len(runs) + len(nested)


def test_the_lock_serves_one_thread_after_the_other() -> None:
    lock, inside = SignalSafeLock(), threading.Event()
    entered: list[str] = []

    def enter() -> None:
        inside.set()
        with lock:
            entered.append("second")

    with lock:
        other = threading.Thread(target=enter)
        other.start()
        assert inside.wait(PATIENCE)
        with pytest.raises(JTaskError, match="signal handler"):
            refuse_in_interrupted_thread()
        entered.append("first")
    other.join(PATIENCE)
    refuse_in_interrupted_thread()
    assert entered == ["first", "second"]


class Interrupted(Exception):
    """Ctrl-C, for one test."""


def test_a_handler_that_raises_at_any_moment_leaves_the_lock_free() -> None:
    lock, timer, number = SignalSafeLock(), signal.ITIMER_VIRTUAL, signal.SIGVTALRM

    def handle(number: int, frame: object) -> None:
        raise Interrupted

    def use_lock() -> None:
        signal.setitimer(timer, 0.001)
        while True:
            with lock:
                pass

    before = signal.signal(number, handle)
    try:
        for _ in range(100):
            with pytest.raises(Interrupted):
                use_lock()
    finally:
        signal.setitimer(timer, 0)
        signal.signal(number, before)
    other = threading.Thread(target=lock.acquire, daemon=True)
    other.start()
    other.join(PATIENCE)
    assert not other.is_alive()
