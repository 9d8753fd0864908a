"""A worker, as plugins see it."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from jtask.contract import Broker, Event
from jtask.declaration.task_info import TaskInfo
from jtask.outcomes import CancelResult
from jtask.runtime.run_context import RunContext
from jtask.states import State
from jtask.wire.envelope import Envelope

T = TypeVar("T")


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

    async def on_task_loop(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the event loop of asynchronous tasks; await it from any other loop.

        For what belongs to one loop and is there for tasks, such as a connection pool: open it like
        this when `jtask_worker` is entered, and close it like this when that is left.

        Raises:
            JTaskError: That loop has ended.
        """
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
