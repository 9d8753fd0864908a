"""The hooks a plugin may implement; docs/hooks.md has an example of each.

A plugin is a module or object whose functions are marked with `hookimpl` and which is named by an
entry point of the group `jtask.plugins`. It takes of each hook's arguments those it wants, by name.
A hook that says so may return an awaitable, which the engine awaits. Where several plugins
implement a hook they are all called, the one registered last first (`tryfirst` and `trylast` change
that), and of several answers the first that is not None counts.
"""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import click

    from jtask.declaration.task_info import TaskInfo
    from jtask.lifecycle import Retry
    from jtask.options import Option
    from jtask.outcomes import Outcome
    from jtask.runtime import EnqueueRequest, RunContext, WorkerInfo
    from jtask.settings import SettingsModel
    from jtask.states import State

PROJECT = "jtask"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

AroundCall = AbstractContextManager[Any] | AbstractAsyncContextManager[Any]


@hookspec
def jtask_options() -> "Iterable[Option] | None":
    """Declare options that `@task(...)` and `.with_options(...)` shall take for this plugin.

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

    Called once per task, before its first run. False spares the task's runs every other hook of
    the plugin, save those runs that carry one of its headers (`jtask_headers`); None and True do
    not. A failure is raised where the task is first used.
    """


@hookspec
def jtask_headers() -> Iterable[str] | None:
    """Name headers of runs that concern this plugin whatever it says of their tasks.

    Called once, when the plugins are loaded. A worker asks a plugin about the runs that carry one
    of its headers even where `jtask_applies` said False. A failure makes loading fail.
    """


@hookspec
def jtask_enqueue(request: "EnqueueRequest") -> None:
    """Look at a run before it is enqueued, add headers to it, or refuse it.

    Called in the caller's thread, arguments already checked. Raise `jtask.errors.RunRefused` to
    refuse: the caller gets it, nothing is sent. Any other failure is raised to the caller too.
    """


@hookspec
def jtask_recall(run: "RunContext") -> "Outcome | Awaitable[Outcome | None] | None":
    """Give an outcome without executing the run.

    Called before the run takes a slot. Return an outcome to end the run with it, None to go on.
    May return an awaitable. A failure is logged and the run is executed.
    """


@hookspec
def jtask_admit(run: "RunContext") -> "Retry | Awaitable[Retry | None] | None":
    """Let a run start, put it off, or refuse it.

    Called before each attempt. Return None to let it start, a `Retry` to have it asked again at
    that instant without holding a slot, raise `RunRefused` to end it as Cancelled with that
    message. May return an awaitable. Any other failure is logged and the run starts.
    """


@hookspec
def jtask_around(run: "RunContext") -> AroundCall | None:
    """Wrap the call of the task's function in a context manager.

    Called for each attempt; entered in the thread or event loop that executes the function. An
    asynchronous context manager is allowed for asynchronous tasks only. What entering or leaving
    raises counts as raised by the function.
    """


@hookspec
def jtask_invoke(run: "RunContext") -> Callable[..., Any] | None:
    """Stand in for the task's function, for example to execute it in another process.

    Called for each attempt, in the thread or event loop that executes it. Return a function that
    takes the run's arguments and returns or raises what the task's own would (for an asynchronous
    task, a coroutine function), or None. A failure counts as raised by the task.
    """


@hookspec
def jtask_failed(
    run: "RunContext", error: BaseException
) -> "Retry | Awaitable[Retry | None] | None":
    """Decide what follows an exception of the task's function.

    Called after each failed attempt, not for a crash. Return a `Retry` to have the run tried again
    at that instant, None to let it fail. May return an awaitable. A failure is logged and the run
    fails.
    """


@hookspec
def jtask_state(run: "RunContext", state: "State") -> Awaitable[None] | None:
    """Hear of each state that a run enters in this process.

    Called right after the run entered it. May return an awaitable. A failure is logged.
    """


@hookspec
def jtask_settled(run: "RunContext", outcome: "Outcome") -> Awaitable[None] | None:
    """Hear of the end of a run.

    Called once the final state is known, before the outcome is stored. May return an awaitable. A
    failure is logged.
    """


@hookspec
def jtask_rejected(run_id: str, queue: str, reason: str) -> None:
    """Hear of a run that this worker could not execute and has put off or dead-lettered.

    Called on the I/O loop: it must not block. A failure is logged.
    """


@hookspec
def jtask_worker_started(worker: "WorkerInfo") -> None:
    """Hear that a worker is connected and wants runs.

    Called in the worker's main thread. A failure is logged.
    """


@hookspec
def jtask_worker_stopping(worker: "WorkerInfo") -> None:
    """Hear that a worker takes no new runs.

    Called in the worker's main thread, before it waits for what is running. A failure is logged.
    """


@hookspec
def jtask_worker_stopped(worker: "WorkerInfo") -> None:
    """Hear that a worker has ended: its runs are over or handed back.

    Called in the worker's main thread. A failure is logged.
    """


@hookspec
def jtask_cli(cli: "click.Group") -> None:
    """Add commands to the `jtask` program, or options to its command `serve`.

    Called when the program starts: import lazily. A failure ends the program with its message.
    """
