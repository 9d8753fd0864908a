"""A schedule as it is kept in the broker's records, and the runs that follow from it.

A schedule has one pending run at a time, delayed to its instant like any other. Its id follows from
the schedule and the instant, so it does not matter how many processes put it there.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from jtask.contract import TOP_PRIORITY, Event, Message, is_name
from jtask.run_arguments import recorded
from jtask.serialization import codecs_of
from jtask.settings import get_settings
from jtask.states import StateName
from jtask.wire.envelope import Envelope
from jtask.wire.fields import count, if_given, items, known_fields, mapping, name, seconds, text
from jtask_schedules.headers import CHAIN, HEADER, INSTANT
from jtask_schedules.trigger import (
    Trigger,
    check_cron,
    check_every,
    check_missed,
    check_timezone,
)

if TYPE_CHECKING:
    from jtask.declaration import TaskInfo


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a task's code says of its schedule, and all that it takes to make a run of it.

    Attributes:
        task: The task's key, which is also the schedule's.
        name: The task's name.
        queue: Where the runs wait.
        priority: Of the runs.
        serializer: How the payload is written.
        payload: The arguments of a call without arguments, in base64.
        tags: Of the runs.
        cron: The option.
        every: The option.
        timezone: The option.
        missed: The option.
    """

    task: str
    name: str
    queue: str
    priority: int
    serializer: str
    payload: str
    tags: tuple[str, ...]
    cron: str | None
    every: float | None
    timezone: str
    missed: str

    @property
    def version(self) -> str:
        """Tells one declaration from another of the same task."""
        # Without the payload: how "no arguments" is pickled may depend on the Python that did it,
        # and workers of two Pythons would have two versions.
        content = asdict(replace(self, payload=""))
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def trigger(self) -> Trigger:
        """When the runs are due."""
        return Trigger(self.cron, self.every, self.timezone, self.task)


@dataclass(frozen=True, slots=True)
class Schedule:
    """One schedule. Instants are seconds since the epoch.

    Attributes:
        declaration: The one in force.
        chain: A token that the runs carry; another one makes all earlier runs void.
        declared: When a worker last said that its code has this declaration.
        superseded: Versions of earlier declarations, oldest first.
        paused: Whether no runs are due.
        pending: Instant of the one run that is enqueued; None when none is.
        started: Instants of the latest runs that were let start, oldest first.
        covered: Runs due up to this instant are made up for by one that was let start.
        skipped: Instants of the latest runs that were called off, oldest first.
    """

    declaration: Declaration
    chain: str
    declared: float
    superseded: tuple[str, ...] = ()
    paused: bool = False
    pending: float | None = None
    started: tuple[float, ...] = ()
    covered: float | None = None
    skipped: tuple[float, ...] = ()

    @property
    def last(self) -> float | None:
        """Instant of the last run that was let start."""
        return max(self.started, default=None)

    @property
    def key(self) -> str:
        """The task's key."""
        return self.declaration.task

    @property
    def trigger(self) -> Trigger:
        """When the runs are due."""
        return self.declaration.trigger

    def run_id(self, instant: float) -> str:
        """Return the id of the run that is due at an instant: a UUIDv7 of that time.

        All processes come to the same one. What is a random part elsewhere is a hash here.

        Args:
            instant: Seconds since the epoch.
        """
        # The chain is part of it. Without it, a run that is put in place again after a pause would
        # have the id of the one that was withdrawn, and the broker would take it for a duplicate.
        millis = round(instant * 1000)
        text = f"{self.key}\0{self.declaration.version}\0{self.chain}\0{millis}"
        digits = hashlib.sha256(text.encode()).hexdigest()
        variant = 8 + int(digits[3], 16) % 4  # RFC 9562: the two bits 10, then two of the hash
        return (
            f"{millis >> 16:08x}-{millis & 0xFFFF:04x}-7{digits[:3]}-"
            f"{variant:x}{digits[4:7]}-{digits[7:19]}"
        )

    def message(self, instant: float) -> Message:
        """Return the run that is due at an instant."""
        # Instants are compared for equality later. They are whole milliseconds, so three digits
        # come back as the same float.
        headers = {HEADER: self.key, CHAIN: self.chain, INSTANT: f"{instant:.3f}"}
        return self._message(self.run_id(instant), instant, headers, instant)

    def message_now(self, run_id: str, now: float) -> Message:
        """Return a run beside the schedule, which starts at once."""
        return self._message(run_id, now, {}, None)

    def event(self, run_id: str, at: float) -> Event:
        """Return the first event of a run: it says on which queue it is, and with what.

        Args:
            run_id: Of this schedule.
            at: When it was due, seconds since the epoch.
        """
        declared = self.declaration
        limit = get_settings().event_arguments if declared.serializer == "json" else 0
        return Event(
            run_id,
            StateName.SCHEDULED.value,
            at,
            declared.task,
            tags=declared.tags,
            queue=declared.queue,
            arguments=recorded(base64.b64decode(declared.payload), limit) if limit else "",
        )

    def _message(
        self, run_id: str, created: float, headers: dict[str, str], at: float | None
    ) -> Message:
        declared = self.declaration
        envelope = Envelope(
            run_id=run_id,
            task_key=declared.task,
            task_name=declared.name,
            serializer=declared.serializer,
            payload=base64.b64decode(declared.payload),
            created=created,
            tags=declared.tags,
            headers=headers,
        )
        return Message(run_id, declared.queue, envelope.encode(), declared.priority, at)

    def encode(self) -> bytes:
        """Return the body of the record."""
        return json.dumps(asdict(self)).encode()


class Tick(NamedTuple):
    """What a run says of the schedule that it came from."""

    key: str
    chain: str
    instant: float
    run_id: str


def decode_schedule(key: str, body: bytes) -> Schedule:
    """Read the body of a record; what a later version added is left out.

    Args:
        key: Of the record.
        body: Its body.

    Raises:
        ValueError: It is no schedule, or one that no worker can have declared.
    """
    found = known_fields(body)
    try:
        return Schedule(
            declaration=_declaration(key, mapping(found["declaration"])),
            chain=name(found["chain"]),
            declared=seconds(found["declared"]),
            superseded=tuple(map(name, items(found.get("superseded", [])))),
            paused=found.get("paused") is True,
            pending=if_given(seconds, found.get("pending")),
            started=tuple(map(seconds, items(found.get("started", [])))),
            covered=if_given(seconds, found.get("covered")),
            skipped=tuple(map(seconds, items(found.get("skipped", [])))),
        )
    except KeyError as error:
        raise ValueError(f"the schedule has no field {error}") from None


def _declaration(key: str, found: dict[str, Any]) -> Declaration:
    declaration = Declaration(
        task=name(found["task"]),
        name=name(found["name"]),
        queue=name(found["queue"]),
        priority=count(found["priority"]),
        serializer=name(found["serializer"]),
        payload=text(found["payload"]),
        tags=tuple(map(text, items(found["tags"]))),
        cron=check_cron(found.get("cron")),
        every=check_every(found.get("every")),
        timezone=check_timezone(name(found["timezone"])) or "UTC",
        missed=check_missed(found["missed"]),
    )
    base64.b64decode(declaration.payload, validate=True)
    if declaration.task != key or not is_name(key) or not is_name(declaration.queue):
        raise ValueError("the schedule is of another task, or its queue is none")
    if declaration.priority > TOP_PRIORITY:
        raise ValueError(f"the priority {declaration.priority} is none")
    if (declaration.cron is None) == (declaration.every is None):
        raise ValueError("the schedule has no trigger, or two")
    return declaration


def tick_of(run_id: str, headers: Mapping[str, str]) -> Tick | None:
    """Return which tick of which schedule a run is; None for any other run."""
    key = headers.get(HEADER)
    if key is None:
        return None
    try:
        instant = seconds(headers.get(INSTANT, "0"))
    except ValueError:
        instant = 0.0  # no schedule has such a run, and this one is refused as any other
    return Tick(key, headers.get(CHAIN, ""), instant, run_id)


def declaration_of(task: "TaskInfo[..., Any]") -> Declaration | None:
    """Return what a task's code declares; None when it has no schedule."""
    options = task.options
    if options.get("cron") is None and options.get("every") is None:
        return None
    return Declaration(
        task=task.key,
        name=task.name,
        queue=task.queue,
        priority=task.priority,
        serializer=task.serializer,
        payload=base64.b64encode(codecs_of(task).arguments.encode((), {})).decode(),
        tags=tuple(sorted(task.tags)),
        cron=cast("str | None", options.get("cron")),
        every=cast("float | None", options.get("every")),
        timezone=cast("str | None", options.get("timezone")) or "UTC",
        missed=str(options.get("missed") or "coalesce"),
    )
