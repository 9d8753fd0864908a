"""The run that is being executed here: `runtime.run_id`, `runtime.attempt`, `runtime.tags`, ...

Each name of `RunContext` can be read from this module inside a run; outside it is None.
"""

import contextlib
import time
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

from jtask.admissions import Admission
from jtask.contract import Broker, Event
from jtask.declaration.task_info import TaskInfo
from jtask.needs import Needs
from jtask.outcomes import AttemptRecord, CancelResult
from jtask.states import State, StateName, check_transition
from jtask.wire.envelope import Envelope
from jtask.wire.failures import capture

T = TypeVar("T")

WhenSent = Callable[[Sequence[str], BaseException | None], object]
"""Called with the ids of runs that were stored, and what was raised instead, or None."""

# Runs share a thread or a loop, so the current run belongs to the context.
_current: "ContextVar[RunContext | None]" = ContextVar("jtask_run", default=None)

# Without an annotation, which would make it one of the facts above.
call_headers = ContextVar[Mapping[str, str]]("jtask_call_headers", default=MappingProxyType({}))
"""What direct calls in a context carry: plugins that know runs by it are asked for them."""

# For type checkers and editors: no value is ever assigned, so that `__getattr__` below answers.
# The types are those inside a run, where such code belongs; outside all of them are None.
run_id: str
task: TaskInfo[..., Any]
task_name: str
created_at: float
attempt: int
tags: tuple[str, ...]
parent_id: str | None
queue: str | None
worker: str
headers: Mapping[str, str]
scheduled_for: float | None
started_at: float | None
attempt_started_at: float | None
version: str | None
run_time: float
history: tuple[AttemptRecord, ...]
args: tuple[Any, ...]
kwargs: dict[str, Any]
parameters: dict[str, Any]
state: State | None
error: BaseException | None
lost_workers: int
cancelled: str | None


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
        on_state: Called with each state that the run enters, to record it; set by jtask itself.
        admission: Who hears that the attempt is over; set by jtask itself.
        notes: What plugins keep with the run for their other hooks, each under its own name.
        caller: The run of this process whose function has called this one directly.
        is_copy: Whether it is a copy in a process that only executes the function: its states and
            its end are another process's.
        concerns: Headers of plugins that are asked from now on, see `concern`.
    """

    run_id: str
    task: TaskInfo[..., Any]
    created_at: float
    attempt: int = 1
    tags: tuple[str, ...] = ()
    parent_id: str | None = None
    queue: str | None = None
    worker: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    scheduled_for: float | None = None
    started_at: float | None = None
    run_time: float = 0.0
    history: tuple[AttemptRecord, ...] = ()
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict[str, Any])
    state: State | None = None
    attempt_started_at: float | None = None
    attempt_ended_at: float | None = None
    error: BaseException | None = None
    lost_workers: int = 0
    cancelled: str | None = None
    blocking: bool = False
    on_cancel: Callable[[], None] | None = None
    abandon: Callable[[BaseException], None] | None = None
    on_state: "Callable[[RunContext, State], None] | None" = None
    version: str | None = None
    waited_for: str = ""
    token: str | None = None
    admission: Admission | None = None
    notes: dict[str, Any] = field(default_factory=dict[str, Any])
    caller: "RunContext | None" = None
    is_copy: bool = False
    concerns: tuple[str, ...] = ()

    @property
    def task_name(self) -> str:
        """The name of the task."""
        return self.task.name

    @property
    def parameters(self) -> dict[str, Any]:
        """The arguments by parameter name, defaults included."""
        return _parameters(self.task, self.args, self.kwargs)

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
        self.abandon = self.error = self.caller = None
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
        check_transition(self.state.name if self.state else None, name)
        state = State(name, time.time() if at is None else at, message, details or {}, data, load)
        self.state = state
        if self.on_state is not None:
            self.on_state(self, state)
        return state


class HeldRun(NamedTuple):
    """A run that a worker holds.

    Attributes:
        run_id: The run.
        task: Its task.
        queue: Where it came from.
        tags: Its tags.
        has_slot: Whether it was given a slot; it may start at any moment.
        is_started: Whether the worker has begun to execute it.
    """

    run_id: str
    task: TaskInfo[..., Any]
    queue: str
    tags: tuple[str, ...]
    has_slot: bool
    is_started: bool


class WorkerHandle(Protocol):
    """What a plugin may ask of a worker."""

    @property
    def info(self) -> "WorkerInfo":
        """What the worker is."""
        ...

    @property
    def broker(self) -> Broker:
        """The worker's broker; its methods are called on the I/O loop only."""
        ...

    def run_on_io(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine on the I/O loop and block this thread until it is done.

        Args:
            coroutine: What to run; cancelled when the wait ends early.
            timeout: Seconds; None waits for ever.

        Raises:
            RuntimeError: Called on the I/O thread, which would wait for itself.
            TimeoutError: Not done in time.
        """
        ...

    async def on_io(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the I/O loop and await it from any other loop."""
        ...

    @property
    def is_stopping(self) -> bool:
        """Whether the worker takes no new runs because it was told to stop; from any thread."""
        ...

    async def started(self) -> bool:
        """Return once the worker takes runs; on any event loop.

        Returns:
            bool: False if it is stopping and never took any.
        """
        ...

    async def stopping(self) -> None:
        """Return once the worker takes no new runs; on any event loop."""
        ...

    def record(self, event: Event) -> None:
        """Record a state that a run entered without a run context; from any thread."""
        ...

    def problem(self) -> str | None:
        """Say why the worker cannot get runs right now; None while all is well.

        On the I/O thread.
        """
        ...

    def give_up(self, reason: str) -> None:
        """End the worker as a signal would, with an error; from any thread.

        Args:
            reason: One sentence for whoever started it.
        """
        ...

    def executing(self) -> list[RunContext]:
        """Return the runs that are being executed; from any thread."""
        ...

    def held(self) -> list[HeldRun]:
        """Return the runs that this worker holds, executing or not yet; on the I/O thread."""
        ...

    def cancel(self, run_id: str, message: str) -> CancelResult:
        """End a run that this worker holds; on the I/O thread.

        Args:
            run_id: The run.
            message: Why, kept with its state.

        Returns:
            CancelResult: What comes of it; NOT_FOUND when the worker does not hold the run, or
            only to store its outcome.
        """
        ...

    async def notify_cancelled(
        self, run_id: str, envelope: Envelope, queue: str, state: State, token: str | None = None
    ) -> None:
        """Notify the plugins of a run that was cancelled while no worker held it; on the I/O loop.

        Args:
            run_id: The run; its task is served here.
            envelope: What is known of it.
            queue: Where it waited; empty when that is not known.
            state: How it ended.
            token: What it had been given by whoever woke it (`RunContext.token`).

        Raises:
            asyncio.CancelledError: The worker stops meanwhile.
        """
        ...


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker is, given to hooks.

    Attributes:
        name: `host-pid`.
        tasks: The tasks it serves.
        queues: Where their runs come from.
        concurrency: How many runs it executes at once.
        url: The broker.
        worker: The worker itself.
        worker_index: Which of the processes of one `jtask serve` it is, from 0.
    """

    name: str
    tasks: tuple[TaskInfo[..., Any], ...]
    queues: tuple[str, ...]
    concurrency: int
    url: str
    worker: WorkerHandle
    worker_index: int = 0


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
    headers: dict[str, str] = field(default_factory=dict[str, str])
    shared: dict[str, Any] = field(default_factory=dict[str, Any])
    count: int = 1
    when_sent: list[WhenSent] = field(default_factory=list["WhenSent"])
    needs: Needs | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """The arguments by parameter name, defaults included."""
        return _parameters(self.task, self.args, self.kwargs)


def _parameters(
    task: TaskInfo[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    bound = task.signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def current_run() -> RunContext | None:
    """Return the run that is being executed in this context, if any."""
    return _current.get()


def set_current(run: RunContext) -> "Token[RunContext | None]":
    """Make a run the current one until `reset_current` gets what this returns."""
    return _current.set(run)


def reset_current(token: "Token[RunContext | None]") -> None:
    """Undo `set_current`, in the same context."""
    _current.reset(token)


@contextlib.contextmanager
def executing(run: RunContext) -> Generator[None]:
    """Make a run the current one inside a `with` block."""
    token = set_current(run)
    try:
        yield
    finally:
        reset_current(token)


def __getattr__(name: str) -> Any:
    # A module may have this function (PEP 562). It is called at each access, so `runtime.run_id` is
    # that of the run in whose context it is read.
    if name not in RunContext.__dataclass_fields__ and name not in {"task_name", "parameters"}:
        raise AttributeError(f"jtask.runtime has no {name!r}")
    run = _current.get()
    return None if run is None else getattr(run, name)


def __dir__() -> list[str]:
    # What a task asks for, first of all in a console's completions.
    return sorted({*__annotations__, "RunContext", "WorkerInfo", "current_run"} - {"_current"})
