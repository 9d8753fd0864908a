"""The hooks a plugin may implement; docs/hooks.md has an example of each.

A plugin is a module or object whose functions are marked with `hookimpl`, named by an entry point
of the group `jtask.plugins`. A function names those of the hook's arguments that it needs.

If several plugins implement a hook, all are called, the one registered last first (`tryfirst` and
`trylast` change that); of several answers the first that is not None counts. A hook that says so
may return an awaitable: it is awaited on one event loop of the process's own, in the thread
`jtask-hooks`. A failure that is logged changes nothing for the other plugins.
"""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

# Every plugin imports this module: what it needs for its types only is not imported with it.
if TYPE_CHECKING:
    import click

    from jtask.bulk_actions import BulkAction, BulkCarrier
    from jtask.claims import Claim
    from jtask.declaration.task_info import TaskInfo
    from jtask.lifecycle import AttemptEnd, Park, PutOff, Retry, RollBack
    from jtask.needs import Needs
    from jtask.options import Option
    from jtask.outcomes import Outcome, Upstreams
    from jtask.run_index import RunIndex
    from jtask.runtime import EnqueueRequest, RunContext, WorkerInfo
    from jtask.settings import SettingsModel
    from jtask.states import State, StateName
    from jtask.stored_ends import StoredEnd

PROJECT = "jtask"
TAGGED = "tags"
"""Names, for `jtask_headers`, all runs that have tags."""
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

AroundCall = AbstractContextManager[Any] | AbstractAsyncContextManager[Any]
F = TypeVar("F", bound=Callable[..., Any])


def only_with(header: str) -> Callable[[F], F]:
    """Have one hook of a plugin called only for runs that carry a header: others pay nothing.

    For hooks that are about a run.

    Args:
        header: One that the plugin names (`jtask_headers`).
    """

    def mark(function: F) -> F:
        function.jtask_only_with = header  # type: ignore[attr-defined]
        return function

    return mark


def only_in(*states: "StateName") -> Callable[[F], F]:
    """Have one hook of a plugin called only in some states of a run: others pay nothing.

    For `jtask_state`, and for `jtask_settled`, where it is the state that the run has ended in.

    Args:
        states: Those in which it is called.
    """

    def mark(function: F) -> F:
        function.jtask_only_in = frozenset(states)  # type: ignore[attr-defined]
        return function

    return mark


def wanted_header(function: Callable[..., Any]) -> str | None:
    """Return the header that `only_with` was given; None for a hook of all runs."""
    return getattr(function, "jtask_only_with", None)


def wanted_states(function: Callable[..., Any]) -> "frozenset[StateName] | None":
    """Return the states that `only_in` was given; None for a hook of all states."""
    return getattr(function, "jtask_only_in", None)


@hookspec
def jtask_options() -> "Iterable[Option] | None":
    """Declare options that `@task(...)` and `.with_options(...)` accept for this plugin.

    Called once, when the plugins are loaded. A failure makes loading fail.
    """


@hookspec
def jtask_settings() -> "type[SettingsModel] | Iterable[type[SettingsModel]] | None":
    """Declare settings of this plugin: a class derived from `jtask.settings.SettingsModel`.

    Called when a setting is met that is not core's, and by `jtask config show`; also for a plugin
    that is installed and not loaded. Import the class inside: reading settings is slow to import,
    and many programs never do. A failure leaves the plugin's settings unknown: `jtask config show`
    says why, and a file that has one of them is refused.
    """


@hookspec
def jtask_applies(task: "TaskInfo[..., Any]") -> bool | None:
    """Say whether this plugin has anything to do with a task.

    Called once per task, before its first run. If it returns False, no other hook of the plugin is
    called for the task's runs, except for runs that carry one of its headers (`jtask_headers`). A
    failure is raised where the task is first used.
    """


@hookspec
def jtask_headers() -> Iterable[str] | None:
    """Name the headers by which this plugin knows its runs.

    Called once, when the plugins are loaded. A worker calls the plugin's hooks for a run that
    carries one of them even if `jtask_applies` returned False. `TAGGED` stands for a header that
    all runs with tags carry. A failure makes loading fail.
    """


@hookspec
def jtask_enqueue(request: "EnqueueRequest") -> "Claim | None":
    """Add headers to a run that is about to be enqueued, refuse it, or claim something for it.

    Called in the caller's thread, after the arguments were checked; it must not block. Raise
    `jtask.errors.RunRefused` to refuse: the caller gets it and nothing is sent. Any other failure
    is raised to the caller too. Return a `jtask.claims.Claim` to ask the broker for something
    first, which may answer with a run that is there instead: its methods are awaited on the I/O
    loop, for `delay` as for `adelay`.
    """


@hookspec
def jtask_run_name(run: "RunContext") -> str | None:
    """Give a run a name of its own, for people.

    Called once for a run, when its arguments are known and nothing was decided about it; in a
    worker it may be called on the event loop of the hooks, so it must not block. Of a name more
    than 200 characters are left out. A failure fails the run.
    """


@hookspec
def jtask_resolve(
    run: "RunContext", needs: "Needs"
) -> "Upstreams | Retry | Park | Awaitable[Upstreams | Retry | Park] | None":
    """Return the ends of the runs that a run waits for, or let it wait on.

    Called in a worker for a run that waits for others, before its arguments are read and before
    `jtask_lookup`, on the event loop of the hooks, where it must not block; the first plugin that
    answers counts. Return the ends of all by their ids, with the values that are kept apart; or a
    `Retry` to be asked again at that time, or a `Park` to be asked again once somebody wakes the
    run. Raise `RunNotReady` to end it as that. May return an awaitable. Any other failure is logged
    and the run is put off.
    """


@hookspec
def jtask_lookup(run: "RunContext") -> "Outcome | Awaitable[Outcome | None] | None":
    """Return an outcome in place of executing the run.

    Called before the run takes a slot, so that a known outcome waits for none; in a worker on the
    event loop of the hooks, where it must not block. Return an outcome to end the run with it, or
    None to go on. An outcome that has a `payload` need not have a value: the bytes are stored as
    they are. May return an awaitable. A failure is logged and the run executes.
    """


@hookspec
def jtask_admit(run: "RunContext") -> "Retry | Park | Awaitable[Retry | Park | None] | None":
    """Let a run start, reschedule it, or refuse it.

    Called before each attempt, of one plugin after the other until one does not admit it. Return
    None to let it start, a `Retry` to be asked again at that time, or a `Park` to be asked again
    once somebody wakes the run; it holds no slot until then. Raise `RunRefused` to end it as
    Cancelled with that message. Whoever was asked before is told that the attempt is over
    (`jtask_attempt_over`). May return an awaitable.

    While the broker cannot tell (a `BrokerError`), the run does not start: it is asked again a
    second later, and a direct call is refused. Any other failure is logged and counts as None.
    """


@hookspec
def jtask_attempt_over(run: "RunContext", end: "AttemptEnd") -> Awaitable[None] | None:
    """Get notified that an attempt is over, and how: give back what it was admitted for.

    Called once for each attempt, in whatever way it was over, before its outcome is stored; also of
    the plugins that admitted an attempt which another one did not. If its worker was lost, the next
    worker that gets the run calls it, before anything else is asked. May return an awaitable. A
    failure is logged.
    """


@hookspec
def jtask_around(run: "RunContext") -> AroundCall | None:
    """Wrap the call of the task's function in a context manager.

    Called for each attempt. The context manager is entered in the thread or on the event loop that
    executes the function; an asynchronous one is allowed for asynchronous tasks only. What entering
    or leaving raises counts as raised by the function.
    """


@hookspec
def jtask_invoke(run: "RunContext") -> Callable[..., Any] | None:
    """Replace the task's function, for example to execute it in another process.

    Called for each attempt, in the thread or on the event loop that executes it. Return None, or a
    function that takes the run's arguments and returns or raises what the task's own would (for an
    asynchronous task, a coroutine function). A failure counts as raised by the task. For a
    generator that is called directly it is called for each step (`run.step`): what it returns then
    takes no arguments, and returns what `run.function()` does.
    """


@hookspec
def jtask_isolate(
    task: "TaskInfo[..., Any]",
) -> "Callable[[RunContext], Callable[..., Any]] | None":
    """Execute runs that may have killed their workers in a process of their own.

    Called in a worker, of every plugin, for each run that lost two workers. Return None if this
    task cannot be executed elsewhere, or what is to be asked as `jtask_invoke` is: a function that
    takes the run and returns what to call in place of the task's. It raises
    `jtask.errors.ProcessDied` when the process dies, which ends the run as Crashed. A failure is
    logged, and the run executes in the worker.
    """


@hookspec
def jtask_copy(
    run: "RunContext", tell: Callable[[str, bytes], None]
) -> AbstractContextManager[Any] | None:
    """Accompany a run in the child process that executes its function.

    Called there, of every plugin, for each run; the run is a copy (`RunContext.is_copy`), with the
    headers that were handed on in the worker (`RunContext.hand_on`). `jtask_around` is called in
    the worker, which waits meanwhile. The context manager is entered before the function is called
    and left when it has returned. With `tell`, a topic and some bytes, the plugin sends a message
    to itself in the worker (`jtask_told`): from a thread of its own, because the function's may be
    interrupted at any moment. A failure to enter is logged.
    """


@hookspec
def jtask_told(run: "RunContext", topic: str, message: bytes) -> None:
    """Get a message that a plugin has sent from a child process.

    Called in the worker for each message of `jtask_copy`, of every plugin, in the order in which
    they were sent, before the function's own end is known. It must not block. A failure is logged.
    """


@hookspec
def jtask_failed(
    run: "RunContext", error: BaseException
) -> "Retry | Awaitable[Retry | None] | None":
    """Decide what follows an exception of the task's function.

    Called after each failed attempt, but not for a crash or a cancelled run. Return a `Retry` to
    retry the run at that time, or None to let it fail. May return an awaitable. A failure is logged
    and the run fails.
    """


@hookspec
def jtask_state(run: "RunContext", state: "State") -> Awaitable[None] | None:
    """Get notified of each state that a run enters.

    Called when a run enters a state in this process, right after it has entered it. May return an
    awaitable. A failure is logged.
    """


@hookspec
def jtask_completed(
    run: "RunContext", outcome: "Outcome"
) -> "RollBack | PutOff | Awaitable[RollBack | PutOff | None] | None":
    """Decide what becomes of a run that has completed.

    Called when the task's function has returned a value that can be stored, after the run entered
    Completed and before its end is told (`jtask_settled`). Return None to let it stand, or a
    `RollBack` to move it to RolledBack. For a direct call a `PutOff` leaves its end open: the
    caller gets the value, and the end is told and recorded when the plugin awaits `PutOff.settle`.
    May return an awaitable. A failure is logged and counts as None.
    """


@hookspec
def jtask_settled(run: "RunContext", outcome: "Outcome") -> Awaitable[None] | None:
    """Get notified of the end of a run.

    Called when a run has ended: its final state is known, and its outcome is not stored yet. May
    return an awaitable. A failure is logged.
    """


@hookspec
def jtask_stored(end: "StoredEnd") -> Awaitable[None] | None:
    """Get notified that the end of a run is stored.

    Called on the I/O loop, where it must not block, before the run leaves its queue: if its worker
    is lost meanwhile, another one gets the run and calls the hook again. Also for a run that was
    cancelled while it waited, in the process that has cancelled it; and for a direct call, in its
    own process, if somebody has asked whether it goes on. May return an awaitable, which is awaited
    on the I/O loop. A `BrokerError` is repeated until the broker answers; any other failure is
    logged.
    """


@hookspec
def jtask_rejected(run_id: str, queue: str, reason: str) -> None:
    """Get notified of the runs that a worker cannot execute.

    Called when this worker has rescheduled or dead-lettered such a run; on the I/O loop, so it must
    not block. A failure is logged.
    """


@hookspec
def jtask_worker(worker: "WorkerInfo") -> AbstractAsyncContextManager[Any] | None:
    """Accompany a worker for its whole life with an asynchronous context manager.

    Called once per worker, on the loop on which hooks are awaited. The context manager is entered
    there when the worker is connected, before it takes its first run, and left when its runs are
    over or handed back, before the process disconnects. A failure to enter or to leave is logged,
    and the worker goes on.
    """


@hookspec
def jtask_run_index() -> "RunIndex | None":
    """Open an index of runs, for `jtask runs ls` to answer from; None where there is none.

    Called by that command, which closes it; the plugins are asked one after the other until one has
    an index. A failure is printed, and the next one is asked, or the event log read.
    """


@hookspec
def jtask_bulk_actions() -> "Iterable[BulkAction] | None":
    """Declare what can be done to many runs, so that whoever comes next goes on with it.

    Called by what carries such operations out, `jtask runs resume` and a console, when it starts. A
    failure makes that fail.
    """


@hookspec
def jtask_bulk_carrier() -> "BulkCarrier | None":
    """Return what notes operations on many runs and carries them out; None where there is none.

    Called by commands that do much at once, such as `jtask dead replay`; the plugins are asked one
    after the other until one has one. A failure is printed, and the next one is asked, or the
    command does it unnoted.
    """


@hookspec
def jtask_cli(cli: "click.Group") -> None:
    """Add commands to the program `jtask` and its group `runs`, or options to its command `serve`.

    Called when the program starts, so import what is slow inside the commands. A failure ends the
    program with its message.
    """
