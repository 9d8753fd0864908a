"""Where a run stands, told from its events: decisions only."""

import re
from dataclasses import dataclass

from jtask.contract import Event
from jtask.ids import created_at
from jtask.states import EXECUTING, FINAL, StateName

_FAILED = (StateName.FAILED, StateName.TIMED_OUT, StateName.CRASHED, StateName.NOT_READY)
_HASH = re.compile(r"-[0-9a-f]{12}$")  # see `declaration.keys.task_key`


@dataclass(slots=True)
class RunSummary:
    """The latest that is known of one run; times in seconds since the epoch.

    Attributes:
        run_id: The run.
        task: Its task's key.
        state: Its latest state.
        at: When it entered that.
        created: When it was enqueued.
        started: When its first attempt that is known of began.
        attempt: The latest.
        worker: Who holds or held it.
        detail: What was said with the latest state, its first line.
        tags: Those of the run.
        parent: The run that called or enqueued it; empty when there is none.
        version: The task's version.
        run_name: The run's own name.
        queue: Where it was put; empty for a direct call, and when it is not known.
        until: The instant that its latest state waits for.
        arguments: JSON, by parameter name, as the caller recorded it; of what was too long the
            beginning, which is no JSON; empty when nothing was recorded.
        error: Of a run that failed, the name of the type of what was raised, such as `ValueError`,
            or its state where nothing was; else empty.
        trace_id: The trace that it belongs to, that of its latest attempt; empty without one.
    """

    run_id: str
    task: str
    state: str
    at: float
    created: float
    started: float | None = None
    attempt: int = 1
    worker: str = ""
    detail: str = ""
    tags: tuple[str, ...] = ()
    parent: str = ""
    version: str = ""
    run_name: str = ""
    queue: str = ""
    until: float | None = None
    arguments: str = ""
    error: str = ""
    trace_id: str = ""

    @property
    def ended(self) -> float | None:
        """When it was over; None before."""
        return self.at if self.state in FINAL else None

    @property
    def took(self) -> float | None:
        """Seconds from its first start to its end; None before, and for one that never started."""
        if self.started is None or self.state not in FINAL:
            return None
        return max(0.0, self.at - self.started)

    @property
    def name(self) -> str:
        """The readable part of its task's key."""
        return name_of(self.task)

    def take_in(self, event: Event) -> None:
        """Add one event; those of a run may come in any order.

        They come from several processes, so their order of arrival is not that of their instants,
        and clocks differ: a final state stands whatever else arrives.
        """
        self.task = self.task or event.task
        self.tags = self.tags or event.tags
        self.parent = self.parent or event.parent
        self.version = self.version or event.version
        self.run_name = self.run_name or event.run_name
        self.queue = self.queue or event.queue
        self.arguments = self.arguments or event.arguments
        # What was sent in one trace may be executed in another, which says more of it.
        if event.trace_id and (not self.trace_id or event.state != StateName.SCHEDULED):
            self.trace_id = event.trace_id
        # Never simply the latest to arrive.
        self.attempt = max(self.attempt, event.attempt)
        if event.state in EXECUTING and (self.started is None or event.at < self.started):
            self.started = event.at
        # It arrived late, or comes from a worker that did not know of the end.
        if self.state in FINAL and event.state not in FINAL:
            return
        if event.at >= self.at or (event.state in FINAL and self.state not in FINAL):
            self.state, self.at, self.until = str(event.state), event.at, event.until
            self.detail = event.detail.partition("\n")[0]
            self.error = (event.error or self.state) if self.state in _FAILED else ""
            self.worker = event.worker or self.worker


def summary_of(event: Event) -> RunSummary:
    """Return what one event tells of its run."""
    summary = RunSummary(
        event.run_id, event.task, str(event.state), event.at, created_at(event.run_id)
    )
    summary.take_in(event)
    return summary


def is_of_task(key: str, wanted: str) -> bool:
    """Tell whether a task's key is the wanted one, or the wanted name with the key's hash."""
    return wanted in (key, name_of(key))


def name_of(key: str) -> str:
    """Return the readable part of a task's key."""
    return _HASH.sub("", key)
