"""Runs of one call on their way, by column."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jtask.contract import Event, EventGroup, MessageGroup
from jtask.runs import Run
from jtask.states import StateName

_SCHEDULED = StateName.SCHEDULED.value


@dataclass(slots=True, eq=False)
class RunGroup(MessageGroup):
    """Checked and encoded runs of one call that only have to be sent, without claims or blobs.

    Of these there are thousands, and an object for each took longer than all else about them.

    Attributes:
        handles: What the caller gets.
        task_key: For the events.
        created: When they were prepared, seconds since the epoch.
        about: Their tags, parent and version, for the events.
        arguments: What is recorded of the arguments of each, for the events.
        trace_ids: The trace that each is sent in, likewise.
    """

    handles: list[Run[Any]] = field(kw_only=True)
    task_key: str = field(kw_only=True)
    created: float = field(kw_only=True)
    about: tuple[tuple[str, ...], str, str] = field(kw_only=True)
    arguments: Sequence[str] = field(kw_only=True)
    trace_ids: Sequence[str] = field(kw_only=True)

    def events(self) -> EventGroup:
        """Return the events of the runs, once they are stored."""
        about = (*self.about, self.queue)
        common = Event("", _SCHEDULED, self.created, self.task_key, 1, "", "", self.at, *about)
        return EventGroup(common, self.run_ids, self.arguments, self.trace_ids)
