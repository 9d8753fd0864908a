"""Runs of one call on their way, by column."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

from jtask.contract import Event, MessageGroup
from jtask.runs import Run
from jtask.states import StateName

_SCHEDULED = StateName.SCHEDULED.value
_make_event: Callable[..., Event] = getattr(tuple, "__new__")  # noqa: B009 - untyped


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
        trace_ids: The trace that each is sent in, likewise; None for none.
    """

    handles: list[Run[Any]] = field(kw_only=True)
    task_key: str = field(kw_only=True)
    created: float = field(kw_only=True)
    about: tuple[tuple[str, ...], str, str] = field(kw_only=True)
    arguments: Sequence[str] = field(kw_only=True)
    trace_ids: Sequence[str] | None = field(kw_only=True, default=None)

    def events(self) -> list[Event]:
        """Return the events of the runs, once they are stored."""
        about = (*self.about, self.queue, "")
        head = (_SCHEDULED, self.created, self.task_key, 1, "", "", self.at, *about)
        rest = zip(self.arguments, self.trace_ids or repeat(""), strict=False)
        # Past the named tuple's own function, as in `event_of`.
        return [
            _make_event(Event, (run_id, *head, arguments, "", trace_id))
            for run_id, (arguments, trace_id) in zip(self.run_ids, rest, strict=True)
        ]
