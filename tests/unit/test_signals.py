"""How a program hears that it shall stop."""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from jtask.worker.signals import STOP_SIGNALS, stop_signals_to

# On a busy machine; only a failure waits this long.
PATIENCE = 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_each_signal_is_told_although_the_main_thread_never_comes_round(number: int) -> None:
    told: list[int] = []
    twice = threading.Event()

    def tell(signalled: int) -> None:
        told.append(signalled)
        if len(told) == 2:
            twice.set()
        else:
            # From another thread, while the main one blocks in a lock that nothing interrupts.
            os.kill(os.getpid(), number)

    with stop_signals_to(tell):
        os.kill(os.getpid(), number)
        assert twice.wait(PATIENCE)
    assert told == [number, number]


def test_a_signal_that_comes_as_soon_as_it_can_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: queue.SimpleQueue[int] = queue.SimpleQueue()
    install = signal.signal

    def install_and_send(number: int, handler: Any) -> Any:
        before = install(number, handler)
        os.kill(os.getpid(), number)
        return before

    monkeypatch.setattr(signal, "signal", install_and_send)
    with stop_signals_to(told.put):
        monkeypatch.undo()
        assert {told.get(timeout=PATIENCE) for _ in STOP_SIGNALS} == {*STOP_SIGNALS}


def test_what_was_set_up_before_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with stop_signals_to(print):
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_another_thread_listens_for_nothing() -> None:
    found: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def work() -> None:
        with stop_signals_to(print):
            found.put(signal.getsignal(signal.SIGTERM))

    before: Callable[..., Any] | int | None = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found.get(timeout=PATIENCE) == before


def test_a_forked_child_can_be_terminated_and_its_parent_hears_nothing() -> None:
    told: list[int] = []
    with stop_signals_to(told.append):
        child = multiprocessing.get_context("fork").Process(target=threading.Event().wait)
        child.start()
        child.terminate()
        child.join(PATIENCE)
        assert child.exitcode == -signal.SIGTERM
        child.close()
    assert told == []
