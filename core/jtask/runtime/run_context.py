"""The facts of one run."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jtask.admissions import Admission
from jtask.declaration.binding import bind_arguments
from jtask.declaration.task_info import TaskInfo
from jtask.field_defaults import new_dict
from jtask.outcomes import AttemptRecord
from jtask.runtime.flow_facts import FlowRun
from jtask.states import STARTS, TRANSITIONS, State, StateName, check_transition
from jtask.wire.failures import capture

RUN_NAME = "jtask-run-name"
"""The header with the name that a run was given, which its later attempts keep."""


@dataclass(slots=True, eq=False)
class RunContext:
    """The facts of one run, given to hooks; only the engine changes them.

    Times are seconds since the epoch.

    Attributes:
        run_id: The run.
        task: Its task.
        created_at: When it was called or enqueued.
        attempt: From 1.
        tags: Those of the task and of the caller.
        parent_id: The run that called or enqueued this one.
        root_id: The first of those above it, that nothing of jtask started; None for such a run.
        version: The task's version where it was called or enqueued.
        queue: Where it came from; None for a direct call.
        worker: Who executes it.
        headers: What plugins sent along.
        scheduled_for: The instant at which its schedule wanted it; None for a run without one.
        started_at: When its first attempt began.
        run_time: Seconds that earlier attempts took.
        history: Earlier attempts.
        args: Positional arguments.
        kwargs: Keyword arguments.
        state: Where it stands.
        attempt_started_at: When this attempt began.
        attempt_ended_at: When its function failed; None while it has not.
        error: What the last attempt raised, once one has failed.
        lost_workers: How many workers were lost with it before.
        waited_for: Why its start was put off before, one sentence; empty when it was not.
        token: What whoever woke it has given it; None when it was not woken, or given nothing.
        cancelled: Why the run was asked to end; None while it was not. A plain task looks at
            `runtime.cancelled` from time to time and returns or raises `RunCancelled`.
        blocking: Whether its thread has no event loop to await hooks with.
        on_cancel: Called, on the I/O thread, when the run is asked to end, and when its worker
            takes it back in order to stop: then `cancelled` is None, and a CancelledError has to
            come out of the function. A plugin that executes it elsewhere sets this.
        abandon: Ends the run with an error although its function still executes; called at most
            once, by a plugin that then raises `RunAbandoned` if the function returns after all.
            From the loop of an asynchronous task, from any thread for a plain one. None where
            nothing can be left behind, as in a direct call.
        is_handed_back: Whether the worker has handed it back although its function still executes.
        is_abandoned: Whether `abandon` has ended its attempt although its function still executes.
        on_state: Called with each state that the run enters, to record it; set by jtask itself.
        on_wait: Called with 1 and their ids as the run's code begins to wait for other runs, and
            with -1 and the same as it goes on, from any thread: while the sum is not 0, its slot is
            free. Set by jtask itself; None where the run has no slot.
        trace_id: The trace that its attempt belongs to, for its events; set by a plugin.
        admission: Who hears that the attempt is over; set by jtask itself.
        notes: What plugins keep with the run for their other hooks, each under its own name.
        caller: The run of this process whose function has called this one directly.
        submitted_in: The flow run of this process that it was submitted in, if it was in one.
        is_copy: Whether it is a copy in a process that only executes the function: its states and
            its end are another process's.
        is_submitted: Whether it executes beside its caller, which may be over first.
        submitter: The run of this process that has submitted it.
        concerns: Headers of plugins that are asked from now on, see `concern`.
        lines_attempt: The latest of its attempts that has written to its log; 0 when none has. Set
            by who writes there, and will say when no more lines come.
        is_streamed: Whether its function is a generator that pauses for the caller at each item.
        step: What goes on with that generator; None before it is begun. For a plugin it is the
            function.
        emit: Takes an item of a generator that executes in the background; set by a plugin. For an
            asynchronous task what it returns is awaited.
    """

    run_id: str
    task: TaskInfo[..., Any]
    created_at: float
    attempt: int = 1
    tags: tuple[str, ...] = ()
    parent_id: str | None = None
    root_id: str | None = None
    queue: str | None = None
    worker: str = ""
    headers: Mapping[str, str] = field(default_factory=new_dict)
    scheduled_for: float | None = None
    started_at: float | None = None
    run_time: float = 0.0
    history: tuple[AttemptRecord, ...] = ()
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=new_dict)
    state: State | None = None
    attempt_started_at: float | None = None
    attempt_ended_at: float | None = None
    error: BaseException | None = None
    lost_workers: int = 0
    cancelled: str | None = None
    blocking: bool = False
    on_cancel: Callable[[], None] | None = None
    abandon: Callable[[BaseException], None] | None = None
    is_handed_back: bool = False
    is_abandoned: bool = False
    on_state: "Callable[[RunContext, State], None] | None" = None
    on_wait: Callable[[int, Collection[str]], object] | None = None
    version: str | None = None
    waited_for: str = ""
    token: str | None = None
    trace_id: str = ""
    admission: Admission | None = None
    notes: dict[str, Any] = field(default_factory=new_dict)
    caller: "RunContext | None" = None
    submitted_in: FlowRun | None = None
    is_copy: bool = False
    is_submitted: bool = False
    submitter: "RunContext | None" = None
    concerns: tuple[str, ...] = ()
    lines_attempt: int = 0
    is_streamed: bool = False
    step: Callable[[], Any] | None = None
    emit: Callable[[Any], Any] | None = None

    @property
    def id(self) -> str:
        """The run's id, under Prefect's name."""
        return self.run_id

    @property
    def run_count(self) -> int:
        """The number of the attempt, under Prefect's name."""
        return self.attempt

    @property
    def task_name(self) -> str:
        """The name of the task."""
        return self.task.name

    @property
    def name(self) -> str:
        """The run's own name, for people; without one that of its task."""
        return self.own_name or self.task.name

    @property
    def own_name(self) -> str | None:
        """The name that the run was given; None when it has none."""
        return self.headers.get(RUN_NAME)

    @property
    def label(self) -> str:
        """The run in a line for people: its id, and its own name if it has one."""
        return f"{self.run_id} ({self.own_name})" if self.own_name else self.run_id

    @property
    def function(self) -> Callable[..., Any]:
        """What executes the task: its body or, of a generator called directly, the next step."""
        return self.step or self.task.body

    @property
    def parameters(self) -> dict[str, Any]:
        """The arguments by parameter name, defaults included."""
        return parameters_of(self.task, self.args, self.kwargs)

    def cancel(self, message: str) -> bool:
        """Ask the run to end; on the I/O thread.

        Args:
            message: Why, kept with its state.

        Returns:
            bool: Whether something ends it even if the task never looks at `cancelled`.
        """
        self.cancelled = message  # first: whoever is interrupted looks here for the reason
        if self.on_cancel is not None:
            self.on_cancel()
        return self.on_cancel is not None

    def let_go(self) -> None:
        """Drop what leads back to the run, once it is over or hands on to another attempt.

        An exception holds the frames that it came through, and they hold the run: left there, the
        arguments of each run that fails would wait for the garbage collector.
        """
        self.abandon = self.error = self.caller = self.submitter = self.on_wait = None
        self.args, self.kwargs = (), {}
        if self.state is not None and self.state.data is not None:
            self.state = replace(self.state, data=None)

    def callers(self) -> "Iterator[RunContext]":
        """Yield the runs inside of which this one is called directly, the nearest first."""
        caller = self.caller
        while caller is not None:
            yield caller
            caller = caller.caller

    def concern(self, header: str) -> None:
        """Have a plugin's hooks called for the rest of this run, as if it carried a header.

        For what its function does while it executes: the plugin may have nothing to do with the
        task itself. From inside the run.

        Args:
            header: One that the plugin names (`jtask_headers`).
        """
        if header not in self.concerns:
            self.concerns = (*self.concerns, header)
        if self.admission is None:
            # Nobody was asked to admit the attempt; the plugin is to hear of its end all the same.
            self.admission = Admission()
            self.admission.is_complete = True

    def hand_on(self, header: str, value: str) -> None:
        """Send a header along: to the run's next attempt, and to a process that executes this one.

        From a hook that is called before the attempt is over.

        Args:
            header: One that the plugin names (`jtask_headers`), or nobody does.
            value: Its value; replaces that of before.
        """
        # A new mapping: direct calls of one context share theirs.
        self.headers = {**self.headers, header: value}

    def rename(self, name: str) -> None:
        """Give the run a name of its own, from now on; see `hand_on`."""
        self.hand_on(RUN_NAME, name)

    def note(self, text: str) -> None:
        """Add something to the run's history without changing its state; from any thread."""
        if self.on_state is not None and self.state is not None:
            self.on_state(self, State(self.state.name, time.time(), text))

    def end_attempt(self, reason: str) -> AttemptRecord:
        """Return the record of the attempt that just failed."""
        return AttemptRecord(
            self.attempt,
            self.attempt_started_at,
            self.attempt_ended_at or time.time(),
            self.worker,
            reason,
            None if self.error is None else capture(self.error),
        )

    def enter(
        self,
        name: StateName,
        message: str = "",
        at: float | None = None,
        *,
        details: Mapping[str, object] | None = None,
        data: Any = None,
        load: Callable[[bool], Any] | None = None,
    ) -> State:
        """Enter a state; the one place where a run's state changes.

        Args:
            name: The state.
            message: One sentence for people.
            at: When it was entered, if that is not now.
            details: What to keep with it.
            data: What a final state comes with.
            load: Makes that once it is asked for, see `State`.

        Raises:
            IllegalTransition: The table in `jtask.states` does not allow it.
        """
        current = self.state
        if name not in (STARTS if current is None else TRANSITIONS[current.name]):
            check_transition(current.name if current else None, name)
        state = State(name, time.time() if at is None else at, message, details or {}, data, load)
        self.state = state
        if self.on_state is not None:
            self.on_state(self, state)
        return state


def parameters_of(
    task: TaskInfo[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return arguments by parameter name, defaults included.

    Raises:
        ArgumentError: They do not fit.
    """
    bound = bind_arguments(task.name, task.signature, args, kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)
