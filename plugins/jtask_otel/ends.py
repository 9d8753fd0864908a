"""What is recorded when a worker or a process ends: exported, or given up after a few seconds.

OpenTelemetry's SDK exports at the end of a process too, but one signal after the other, and each
for as long as its exporter tries: up to a minute where no collector answers.
"""

import atexit
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

END_SECONDS = 5.0
"""How much longer an end may take, for all signals at once."""

CHILD_SECONDS = 2.0
"""The same for a child process, which its worker kills soon after."""

SAME_END_SECONDS = 60.0
"""Ends that follow each other so closely, such as a worker's and its process's, share the time."""

_log = logging.getLogger("jtask")


class Ends:
    """What this process exports when a worker ends, and when it ends itself.

    Args:
        seconds: How much longer an end may take.
    """

    def __init__(self, seconds: float = END_SECONDS) -> None:
        self.seconds = seconds
        self._flushers: dict[str, _Flusher] = {}
        self._own: list[_Flusher] = []

    def own(self, signal: str, provider: Any) -> None:
        """Export what a provider holds when the process ends, in place of the SDK.

        Args:
            signal: What it is for, such as `traces`.
            provider: OpenTelemetry's, made with `shutdown_on_exit=False`.
        """
        if not self._own:
            atexit.register(self.end_process)
        self._own.append(self._flusher(signal, provider))

    def end_worker(self) -> None:
        """Export what has been recorded so far; blocks for `seconds` at most."""
        from opentelemetry import _logs, metrics, trace

        providers = {
            "traces": trace.get_tracer_provider(),
            "metrics": metrics.get_meter_provider(),
            "logs": _logs.get_logger_provider(),
        }
        # Those of OpenTelemetry's API hold nothing.
        real = {name: one for name, one in providers.items() if hasattr(one, "force_flush")}
        self._export([self._flusher(name, one) for name, one in real.items()], _Flusher.flush)

    def end_process(self) -> None:
        """Export all, and nothing from now on; blocks for `seconds` at most."""
        self._export(self._own, _Flusher.shut_down)

    def _flusher(self, signal: str, provider: Any) -> "_Flusher":
        known = self._flushers.get(signal)
        if known is None or known.provider is not provider:
            known = self._flushers[signal] = _Flusher(signal, provider)
        return known

    def _export(self, flushers: "list[_Flusher]", how: "Callable[[_Flusher], _Export]") -> None:
        now = time.monotonic()
        given = {flusher: flusher.patience.left(now, self.seconds) for flusher in flushers}
        begun = {flusher: how(flusher) for flusher in flushers}
        late: list[str] = []
        for flusher, export in begun.items():
            took = export.wait(now + given[flusher]) - now
            flusher.patience.spend(time.monotonic(), took)
            # One that was given up before has been told of.
            if took == math.inf and given[flusher]:
                late.append(flusher.signal)
        if late:
            _log.warning(
                "the last %s were not exported: no collector has taken them within %g seconds",
                ", ".join(late),
                self.seconds,
            )


class Patience:
    """The time that ends which follow each other closely share."""

    def __init__(self) -> None:
        self._spent = 0.0
        self._ended = -math.inf

    def left(self, now: float, seconds: float) -> float:
        """Return how many seconds an end may take that begins now.

        Args:
            now: On the monotonic clock.
            seconds: What the ends may take together.
        """
        if now - self._ended > SAME_END_SECONDS:
            self._spent = 0.0
        return max(0.0, seconds - self._spent)

    def spend(self, now: float, seconds: float) -> None:
        """Take note of an end that is over.

        Args:
            now: On the monotonic clock.
            seconds: How long it took.
        """
        self._spent += seconds
        self._ended = now


class _Export:
    """One export, which somebody may wait for.

    Args:
        signal: What is exported.
        act: Exports; blocks.
    """

    def __init__(self, signal: str, act: Callable[[], object]) -> None:
        self._signal = signal
        self._act = act
        self._over = threading.Event()
        self._ended = math.inf

    def do(self) -> None:
        """Export; what is raised is logged."""
        try:
            self._act()
        except Exception as error:  # of an exporter that is somebody else's
            _log.warning("the last %s were not exported: %s", self._signal, error)
        self._ended = time.monotonic()
        self._over.set()

    def wait(self, until: float) -> float:
        """Wait for the end, and return when that was; infinity if it has not come.

        Args:
            until: When to give up; both are on the monotonic clock.
        """
        self._over.wait(max(0.0, until - time.monotonic()))
        return self._ended


class _Flusher:
    """Has a provider export what it holds, in a thread that nobody has to wait for.

    The thread is there from the start: from Python 3.12 on, a program that ends can start none.

    Args:
        signal: What the provider is for.
        provider: OpenTelemetry's.
    """

    def __init__(self, signal: str, provider: Any) -> None:
        self.signal = signal
        self.provider = provider
        self.patience = Patience()
        self._start()
        # A forked child has none of the threads.
        os.register_at_fork(after_in_child=self._start)

    def flush(self) -> _Export:
        """Begin to export."""
        return self._begin(self.provider.force_flush)

    def shut_down(self) -> _Export:
        """Begin to export for the last time."""
        return self._begin(self.provider.shutdown)

    def _start(self) -> None:
        self._begun: SimpleQueue[_Export] = SimpleQueue()
        threading.Thread(
            target=self._work, args=(self._begun,), name=f"jtask-{self.signal}", daemon=True
        ).start()

    def _begin(self, act: Callable[[], object]) -> _Export:
        export = _Export(self.signal, act)
        self._begun.put(export)
        return export

    def _work(self, begun: "SimpleQueue[_Export]") -> None:
        while True:
            begun.get().do()


ends = Ends()
"""Those of this process."""
