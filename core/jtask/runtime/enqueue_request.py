"""A run that is about to be enqueued, as plugins see it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jtask.declaration.task_info import TaskInfo
from jtask.field_defaults import new_dict, new_list
from jtask.needs import Needs
from jtask.runtime.run_context import parameters_of

WhenSent = Callable[[Sequence[str], BaseException | None], object]
"""Called with the ids of runs that were stored, and what was raised instead, or None."""


@dataclass(slots=True)
class EnqueueRequest:
    """A run about to be enqueued, given to the `jtask_enqueue` hook.

    Attributes:
        run_id: Its id.
        task: Its task.
        args: Positional arguments; a `jtask.serialization.holes.Hole` stands where the value of
            another run will go.
        kwargs: Keyword arguments, likewise.
        queue: Where it will wait.
        at: Not before this instant, seconds since the epoch; None is now.
        expires: Not after this instant; None is never.
        tags: Those of the task and of the caller.
        headers: Sent with the run; a plugin may add to them.
        shared: What plugins keep for all runs of one call, such as `delay_many`, each under its own
            name.
        count: How many runs the call has.
        when_sent: Called once each when the call is over, in its thread: with the ids of the runs
            that the caller gets, and what it raised, or None. They must not block; a failure is
            logged. One list for all runs of one call; a plugin may add to it.
        trace_id: The trace that it is sent in, for its first event; set by a plugin.
        needs: The runs that it will wait for; None for nearly all.
    """

    run_id: str
    task: TaskInfo[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    queue: str
    at: float | None
    expires: float | None
    tags: tuple[str, ...]
    headers: dict[str, str] = field(default_factory=new_dict)
    shared: dict[str, Any] = field(default_factory=new_dict)
    count: int = 1
    when_sent: list[WhenSent] = field(default_factory=new_list)
    trace_id: str = ""
    needs: Needs | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """The arguments by parameter name, defaults included."""
        return parameters_of(self.task, self.args, self.kwargs)
