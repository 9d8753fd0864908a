"""Start a worker in this process: `serve(task, ...)`."""

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Never

from jtask.declaration.task_info import TaskInfo
from jtask.errors import ConfigurationError, TargetError, WorkerUnhealthy
from jtask.freed_memory import give_back_freed_memory
from jtask.numbers import is_number, is_within
from jtask.real_threads import require_real_threads
from jtask.worker.log_output import log_to_stderr
from jtask.worker.signals import stop_signals_to
from jtask.worker.standard_streams import print_line_by_line
from jtask.worker.targets import refuse_while_loading

if TYPE_CHECKING:
    from jtask.worker.lifetime import WorkerLifetime

DEFAULT_CONCURRENCY = 10
DEFAULT_SHUTDOWN_SECONDS = 30.0
_YOUNG_OBJECTS = 10_000  # between two looks of the garbage collector
_log = logging.getLogger("jtask.worker")


def serve(
    *tasks: TaskInfo[..., Any],
    concurrency: int = DEFAULT_CONCURRENCY,
    processes: int = 1,
    prefetch: int | None = None,
    shutdown_timeout: float = DEFAULT_SHUTDOWN_SECONDS,
    **unknown: Never,
) -> None:
    """Execute the runs of some tasks until SIGTERM or Ctrl-C.

    Blocks. The first signal takes nothing new and lets runs finish; a second one releases them.

    Args:
        tasks: What to serve.
        concurrency: How many runs each process executes at once.
        processes: How many processes; more than one are supervised, each loads the tasks' modules.
        prefetch: How many runs to hold beyond `concurrency`; None follows the pace.
        shutdown_timeout: Seconds that runs may take to finish; then they are released, and runs
            that they have submitted are cancelled.
        unknown: Refused, with what to use instead.

    Raises:
        ArgumentError: An unknown argument.
        TargetError: Nothing to serve, or something that is not a task.
        ConfigurationError: A number or a setting is wrong.
        BrokerUnavailable: The broker cannot be reached.
        WorkerUnhealthy: It could not get runs for longer than the setting `give_up_after`.
    """
    refuse_arguments(unknown)
    check_servable(tasks)
    check_numbers(concurrency, prefetch, shutdown_timeout, processes)
    log_to_stderr()
    print_line_by_line()
    if processes > 1:
        from jtask.worker.supervisor import supervise
        from jtask.worker.targets import served_target_of

        options = worker_arguments(concurrency, prefetch, shutdown_timeout)
        targets = [served_target_of(task) for task in tasks]
        supervise(targets, processes, options, shutdown_timeout)
        return
    _Serving(shutdown_timeout).run(tasks, concurrency, prefetch)


async def aserve(
    *tasks: TaskInfo[..., Any],
    concurrency: int = DEFAULT_CONCURRENCY,
    prefetch: int | None = None,
    shutdown_timeout: float = DEFAULT_SHUTDOWN_SECONDS,
    **unknown: Never,
) -> None:
    """Execute the runs of some tasks until cancelled; the arguments are those of `serve`.

    Raises:
        JTaskError: What `serve` raises.
    """
    refuse_arguments(unknown)
    check_servable(tasks)
    check_numbers(concurrency, prefetch, shutdown_timeout)
    print_line_by_line()
    from jtask.worker.lifetime import WorkerLifetime

    starting = asyncio.ensure_future(
        asyncio.to_thread(WorkerLifetime, tasks, concurrency, prefetch)
    )
    loop = asyncio.get_running_loop()
    end: asyncio.Future[None] = loop.create_future()

    def fail(reason: str) -> None:
        if not end.done():
            end.set_exception(WorkerUnhealthy(reason))

    def give_up(reason: str) -> None:
        loop.call_soon_threadsafe(fail, reason)

    async def stop() -> None:
        # Cancelled while it starts, it has to have started before it can be stopped.
        await asyncio.to_thread(_end, await starting, shutdown_timeout)

    try:
        lifetime = await asyncio.shield(starting)
        lifetime.worker.on_give_up(give_up)
        await end
    finally:
        # Shielded: a second cancellation must not leave runs behind that nobody releases.
        await asyncio.shield(stop())


def refuse_arguments(unknown: Mapping[str, object]) -> None:
    """Refuse what `serve` does not take.

    Raises:
        ArgumentError: There is something.
    """
    if unknown:
        from jtask.other_libraries import no_argument_of_serve

        raise no_argument_of_serve(next(iter(unknown)))


def check_servable(tasks: tuple[object, ...]) -> None:
    """Refuse what cannot be served.

    Raises:
        TargetError: Naming it, or saying that `serve` is called while a target is loaded.
        ConfigurationError: gevent or eventlet has replaced the threads of this process.
    """
    require_real_threads()
    refuse_while_loading("serve()")
    if not tasks:
        raise TargetError("there is nothing to serve: pass at least one task")
    for task in tasks:
        if not isinstance(task, TaskInfo):
            raise TargetError(f"{task!r} is not a task: decorate the function with @task")


def check_numbers(
    concurrency: int, prefetch: int | None, shutdown_timeout: float = 0.0, processes: int = 1
) -> None:
    """Refuse numbers with which no worker works; see `serve`.

    Raises:
        ConfigurationError: Naming the one.
    """
    for name, value, least in (
        ("concurrency", concurrency, 1),
        ("processes", processes, 1),
        ("prefetch", 0 if prefetch is None else prefetch, 0),
    ):
        if not is_within(value, least, whole=True):
            raise ConfigurationError(
                f"{name} must be a whole number of at least {least}, got {value!r}"
            )
    if not (is_number(shutdown_timeout) and shutdown_timeout >= 0):
        raise ConfigurationError(
            f"shutdown_timeout must be a number of seconds, 0 or more, got {shutdown_timeout!r}"
        )


def worker_arguments(concurrency: int, prefetch: int | None, shutdown_timeout: float) -> list[str]:
    """Return the options of `jtask serve` that mean the same, for a process of its own."""
    options = [f"--concurrency={concurrency}", f"--shutdown-timeout={shutdown_timeout}"]
    return options if prefetch is None else [*options, f"--prefetch={prefetch}"]


class _Serving:
    """One worker that works until a signal comes, or a plugin gives it up."""

    def __init__(self, shutdown_timeout: float) -> None:
        self._shutdown_timeout = shutdown_timeout
        self._signals = 0
        self._signalled = threading.Event()
        self._hurry = threading.Event()
        self._lifetime: WorkerLifetime | None = None
        self._given_up: str | None = None

    def run(
        self, tasks: tuple[TaskInfo[..., Any], ...], concurrency: int, prefetch: int | None
    ) -> None:
        """Work until signalled; signals reach the main thread only.

        Raises:
            WorkerUnhealthy: A plugin has given the worker up.
        """
        from jtask.worker.lifetime import WorkerLifetime

        with stop_signals_to(self._on_signal):
            self._lifetime = lifetime = WorkerLifetime(tasks, concurrency, prefetch)
            lifetime.worker.on_give_up(self._give_up)
            _calm_collector()
            give_back_freed_memory()
            self._signalled.wait()
            if self._signals > 1:  # before there was anything to hurry
                lifetime.hurry()
            self._end(lifetime)
        if self._given_up is not None:
            raise WorkerUnhealthy(self._given_up)

    def _end(self, lifetime: "WorkerLifetime") -> None:
        from jtask.worker.submitted_ends import end_submitted

        deadline = time.monotonic() + self._shutdown_timeout
        _stop(lifetime, self._shutdown_timeout)
        end_submitted(deadline, self._hurry)
        _disconnect(lifetime)

    def _give_up(self, reason: str) -> None:
        self._given_up = reason
        self._signalled.set()

    def _on_signal(self, _number: int) -> None:
        self._signals += 1
        self._signalled.set()
        if self._signals > 1:
            self._hurry.set()
            if self._lifetime is not None:
                self._lifetime.hurry()


def _end(lifetime: "WorkerLifetime", shutdown_timeout: float) -> None:
    _stop(lifetime, shutdown_timeout)
    _disconnect(lifetime)


def _stop(lifetime: "WorkerLifetime", shutdown_timeout: float) -> None:
    """Finish runs or release them."""
    handed_back = lifetime.stop(shutdown_timeout)
    if handed_back:
        _log.info("handed back %d runs", handed_back)


def _disconnect(lifetime: "WorkerLifetime") -> None:
    from jtask.client.process_client import close_client

    if lifetime.is_connected:
        close_client()


def _calm_collector() -> None:
    """Spare the garbage collector what a worker does not leave for it.

    What exists by now stays. And the runs in hand are some thousand objects that come and go
    together: looked at after each 700, as by default, they would be looked at all the time.
    """
    # Moved out of the collector's sight: it would be walked again with each full collection.
    gc.freeze()
    youngest, *older = gc.get_threshold()
    if 0 < youngest < _YOUNG_OBJECTS:
        gc.set_threshold(_YOUNG_OBJECTS, *older)
