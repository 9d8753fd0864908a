"""State events on their way to the event log: collected, sent in batches, never waited for."""

import os
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from jtask.contract import Event, EventLog

if TYPE_CHECKING:
    from jtask.client.io_thread import IoThread
    from jtask.runtime import RunContext
    from jtask.states import State

FLUSH_SECONDS = 0.05
BATCH = 500
_BUFFERED = 100_000  # beyond this, while the broker is away, the oldest events go


class EventBuffer:
    """Collect this process's events; any thread may add.

    Args:
        io: Where `log` lives.
        log: Takes the batches.
    """

    def __init__(self, io: "IoThread", log: EventLog) -> None:
        self._io = io
        self._log = log
        self._events: deque[Event] = deque(maxlen=_BUFFERED)
        self._armed = False

    def on_state(self, run: "RunContext", state: "State") -> None:
        """Add the event of a state that a run entered."""
        event = Event(
            run.run_id,
            state.name,
            state.at,
            run.task.key,
            run.attempt,
            run.worker,
            state.message,
            cast("Any", state.details.get("until")) if state.details else None,
        )
        self.add(event)

    def add(self, event: Event) -> None:
        """Add one event; sent within FLUSH_SECONDS."""
        self._events.append(event)
        self._wake()

    def extend(self, events: list[Event]) -> None:
        """Add many events."""
        self._events.extend(events)
        self._wake()

    def flush(self) -> None:
        """Send what is there; on the I/O thread only."""
        self._armed = False
        events = self._events
        while events:
            self._log.append([events.popleft() for _ in range(min(len(events), BATCH))])

    def _wake(self) -> None:
        if not self._armed:
            self._armed = True
            self._io.post(self._arm)

    def _arm(self) -> None:
        self._io.loop.call_later(FLUSH_SECONDS, self.flush)


_emit: "Callable[[RunContext, State], None] | None" = None


def emit_if_connected(run: "RunContext", state: "State") -> None:
    """Record a state of a direct call, when this process talks to a broker anyway."""
    if _emit is not None:
        _emit(run, state)


def connect(emit: "Callable[[RunContext, State], None] | None") -> None:
    """Say where the events of direct calls go from now on; None is nowhere."""
    global _emit
    _emit = emit


def _disconnect_after_fork() -> None:
    connect(None)


os.register_at_fork(after_in_child=_disconnect_after_fork)
