"""Connect for direct calls that are to be recorded, while they go on."""

import importlib
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from jtask.client.client import Client
from jtask.client.event_buffer import event_of
from jtask.client.opening import find_unshared
from jtask.client.outcome_buffer import MOST, record_of, report_lost
from jtask.client.process_client import client_for_recording
from jtask.contract import Event, OutcomeRecord
from jtask.execution import direct_call
from jtask.outcomes import Outcome
from jtask.runtime import RunContext
from jtask.settings import get_settings
from jtask.states import State

_FINISH_SECONDS = 2.0  # how long the end of a process may be delayed


def begin_recording() -> None:
    """Have the direct calls from now on recorded; returns at once.

    Raises:
        ConfigurationError: A setting is wrong.
    """
    settings = get_settings()
    if settings.record_direct_calls == "auto" and find_unshared(settings.url) is not None:
        return  # nobody else could look them up; a process that is connected can itself
    global _connecting
    if _connecting is None or not _connecting.is_alive:
        _connecting = _Connecting()
        _connecting.start()


class _Connecting:
    """What is to be recorded before there is a connection, and the thread that makes it."""

    def __init__(self) -> None:
        self._waiting: deque[Event | OutcomeRecord] = deque(maxlen=MOST)
        self._client: Client | None = None
        self._thread = threading.Thread(target=self._connect, name="jtask-record", daemon=True)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        direct_call.record(self._on_state, self._on_end)
        # Before the executors of the interpreter end, which is before `atexit`: to connect takes
        # one. Python has no public way to say so; what is registered last is called first, and
        # executors are when this module is imported.
        importlib.import_module("concurrent.futures.thread")
        register = cast("Callable[..., Any] | None", getattr(threading, "_register_atexit", None))
        with suppress(RuntimeError):  # the process is ending
            if register is not None:
                register(self._finish)
        try:
            self._thread.start()
        except RuntimeError as error:  # no thread can be started
            self._give_up(error)

    def _connect(self) -> None:
        try:
            self._client = client_for_recording(self._is_wanted)
        except Exception as error:
            self._give_up(error)
        else:
            self._hand_over()

    def _is_wanted(self) -> bool:
        return direct_call.is_recorded_by(self._on_state)

    def _hand_over(self) -> None:
        client = self._client
        while self._waiting and client is not None:
            one = self._waiting.popleft()
            if isinstance(one, Event):
                client.events.add(one)
            else:
                client.outcomes.add(one)

    def _give_up(self, error: Exception) -> None:
        direct_call.stop_recording(self._on_state)
        report_lost(str(error))

    def _finish(self) -> None:
        if self._thread.is_alive():
            self._thread.join(_FINISH_SECONDS)
        if self._thread.is_alive():
            report_lost("the program has ended before it was connected")

    def _on_state(self, run: RunContext, state: State) -> None:
        self._waiting.append(event_of(run, state))
        self._hand_over()  # where the thread was faster

    def _on_end(self, run: RunContext, outcome: Outcome) -> None:
        record = record_of(run, outcome)
        if record is not None:
            self._waiting.append(record)
            self._hand_over()


_connecting: _Connecting | None = None


def _forget_after_fork() -> None:
    global _connecting
    _connecting = None


os.register_at_fork(after_in_child=_forget_after_fork)
