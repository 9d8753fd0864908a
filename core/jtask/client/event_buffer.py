"""State events on their way to the event log: collected, sent in batches, never waited for.

What is lost with a process that dies is the history of 50 ms: no run depends on an event.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

from jtask.client.io_thread import IoThread
from jtask.contract import ATOMIC_LIMIT, Event, EventGroup, EventLog
from jtask.runtime import RunContext
from jtask.states import State, StateName

_log = logging.getLogger("jtask")
FLUSH_SECONDS = 0.05  # how long an event may wait for others to be sent with
BATCH = 500  # events in one call of the log
_make_event: Callable[..., Event] = getattr(tuple, "__new__")  # noqa: B009 - untyped
_NO_MORE = tuple(Event("", "", 0.0, ""))[8:]  # what only a run's first event says
_BUFFERED = 100_000  # beyond this, while the broker is away, the oldest events go


class EventBuffer:
    """Collect this process's events; any thread may add.

    Args:
        io: Where `log` lives.
        log: Takes the batches.
    """

    def __init__(self, io: IoThread, log: EventLog) -> None:
        self._io = io
        self._log = log
        self._events: deque[Event] = deque(maxlen=_BUFFERED)
        self._groups: deque[EventGroup] = deque(maxlen=_BUFFERED // ATOMIC_LIMIT)
        self._armed = False

    def on_state(self, run: RunContext, state: State) -> None:
        """Add the event of a state that a run entered; from any thread.

        Args:
            run: The run; what it says of its attempt and worker is copied now.
            state: What it entered.
        """
        self._events.append(event_of(run, state))
        if not self._armed:
            self._wake()

    def add(self, event: Event) -> None:
        """Add one event; from any thread. It is sent within FLUSH_SECONDS."""
        self._events.append(event)
        self._wake()

    def extend(self, events: Sequence[Event]) -> None:
        """Add many events; from any thread. A large group of them is sent as it is."""
        # Small ones share a batch with all else: there may be thousands.
        if isinstance(events, EventGroup) and len(events) >= BATCH:
            self._groups.append(events)
        else:
            self._events.extend(events)
        self._wake()

    def flush(self) -> None:
        """Send what is there; on the I/O thread only."""
        # First: an event that comes after the loop below then arms the buffer again.
        self._armed = False
        # The first events of their runs: before what else is said of these.
        while self._groups:
            self._append(self._groups.popleft())
        events = self._events
        while events:
            self._append([events.popleft() for _ in range(min(len(events), BATCH))])

    def _append(self, events: Sequence[Event]) -> None:
        try:
            self._log.append(events)
        except Exception as error:
            # One that cannot be written must not take the others along.
            for event in events if len(events) > 1 else ():
                self._append([event])
            if len(events) == 1:
                _log.debug("an event of run %s is lost: %s", events[0].run_id, error)

    def _wake(self) -> None:
        # No lock: two threads that both arm it make two timers, and the second finds nothing.
        if not self._armed:
            self._armed = True
            self._io.post(self._arm)

    def _arm(self) -> None:
        self._io.loop.call_later(FLUSH_SECONDS, self.flush)


def event_of(run: RunContext, state: State) -> Event:
    """Return the event of a state that a run entered.

    Args:
        run: The run; what it says of its attempt and worker is copied now.
        state: What it entered.
    """
    # Past the named tuple's own function, for every state of every run comes here.
    fields = (
        run.run_id,
        str(state.name),  # plain strings are encoded several times as fast as enums
        state.at,
        run.task.key,
        run.attempt,
        run.worker,
        state.message,
        cast("Any", state.details.get("until")) if state.details else None,
    )
    event = _make_event(Event, fields + _NO_MORE)
    if run.queue is None and state.name is StateName.PENDING:
        # Of a direct call, which nobody has enqueued.
        about = (run.tags, run.parent_id or "", run.version or "")
        event = event._replace(tags=about[0], parent=about[1], version=about[2])
    if run.headers and (name := run.own_name) is not None:
        event = event._replace(run_name=name)
    if state.data is not None and isinstance(state.data, BaseException):
        event = event._replace(error=type(state.data).__name__)
    if run.trace_id:
        event = event._replace(trace_id=run.trace_id)
    return event
