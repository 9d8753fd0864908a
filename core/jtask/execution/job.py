"""One delivered run, from its envelope to what is to be done with its delivery."""

from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from jtask.contract import Delivery
from jtask.declaration.kept_facts import kept_in_task
from jtask.declaration.task_info import TaskInfo
from jtask.errors import ArgumentError, RunNotReady, SerializationError, TaskDefinitionError
from jtask.execution import attempt as engine
from jtask.execution.admission import attempt_over, handed_for_nothing, worker_lost
from jtask.execution.dispositions import Disposition, requeue, store_outcome
from jtask.execution.run_lines import log_reschedule, log_start
from jtask.execution.run_options import with_carried
from jtask.execution.upstreams import (
    ask_for_upstreams,
    fillings_of,
    unanswered,
    why_not_ready,
)
from jtask.hooks import TAGGED
from jtask.lifecycle import AttemptEnd, Finish, Park, Reschedule, Retry, describe
from jtask.needs import Needs
from jtask.outcomes import Outcome, Upstreams
from jtask.plugins import TaskHooks, hooks_of
from jtask.runtime import HeldRun, RunContext
from jtask.serialization.codecs import codecs_of
from jtask.serialization.holes import NOTHING
from jtask.settings import get_settings
from jtask.states import State, StateName
from jtask.tagging import inherit
from jtask.wire.envelope import Envelope

_PENDING = StateName.PENDING  # see `jtask.execution.attempt`


@dataclass(slots=True, eq=False)
class Job:
    """A run in a worker's hands.

    Attributes:
        delivery: The broker's side of it.
        envelope: What came over the wire; `payload` holds the arguments even if they were a blob.
        task: What to execute.
        received: When it came, seconds since the epoch.
        context: What its task will see of it, once a plugin was asked about it; None before.
        is_looked_up: Whether the plugins were asked for its outcome, and knew none.
        upstreams: The ends of the runs that it waits for; None while they are not known.
        run: What its task sees of it, while it executes.
        isolate: What executes it apart from the worker, by its run context; None for the worker
            itself.
        lost_worker: Who executed it last and was lost; empty when that is not known.
        counted: Whether its start was counted as a possible crash.
        is_loss_told: Whether the plugins know that it lost a worker.
        is_released: Whether another worker may have it although it still executes here.
        cancelled: Why it was cancelled; None while it is not.
        decision: How it ends without being attempted; None when it is to be attempted.
        notify_only: Whether its end is stored already, and only the plugins are to be notified.
    """

    delivery: Delivery
    envelope: Envelope
    task: TaskInfo[..., object]
    received: float
    context: RunContext | None = None
    is_looked_up: bool = False
    upstreams: Upstreams | None = None
    run: RunContext | None = None
    isolate: Callable[[RunContext], Callable[..., Any]] | None = None
    lost_worker: str = ""
    counted: bool = False
    is_loss_told: bool = False
    is_released: bool = False
    cancelled: str | None = None
    decision: Finish | None = None
    notify_only: bool = False

    @property
    def concerns(self) -> Collection[str]:
        """The headers by which plugins know it; empty for nearly all."""
        headers = self.envelope.headers
        return [*headers, TAGGED] if self.envelope.tags else headers

    @property
    def is_abandoned(self) -> bool:
        """Whether its function still executes although the attempt has ended."""
        return self.run is not None and self.run.is_abandoned

    @property
    def is_over(self) -> bool:
        """Whether its final state is known already."""
        return self.run is not None and self.run.state is not None and self.run.state.is_final()

    def held(self, *, has_slot: bool) -> HeldRun:
        """Return what plugins learn of it while a worker holds it."""
        return HeldRun(
            self.delivery.run_id,
            self.task,
            self.delivery.queue,
            self.envelope.tags,
            has_slot=has_slot,
            is_started=self.run is not None,
        )


async def look_up(
    job: Job,
    worker: str,
    inline_limit: int,
    on_state: Callable[[RunContext, State], None],
) -> Disposition | None:
    """Ask the plugins for what a run waits for, and for its end if it need not be executed.

    On the loop of the hooks.

    Args:
        job: The run, with its arguments. Its `context` is set here.
        worker: This worker's name.
        inline_limit: The largest outcome that needs no blob, in bytes.
        on_state: Called with each state that the run enters.

    Returns:
        Disposition | None: The end that a plugin knew, or how it waits on; None to execute the run.
    """
    if _take_options(job) is not None:
        return None  # which ends the run where it is executed; so does what follows
    hooks, run = _hooks(job), _context(job, worker, on_state)
    job.context = run
    run.blocking = False
    try:
        if job.envelope.needs and (waits := await _wait_for_upstreams(job, run, hooks)) is not None:
            return _disposition(job, run, waits, inline_limit)
        return await _known_end(job, run, hooks, inline_limit)
    finally:
        run.blocking = not job.task.is_async


async def _wait_for_upstreams(job: Job, run: RunContext, hooks: TaskHooks) -> engine.Result | None:
    needs = cast("Needs", job.envelope.needs)
    found = await ask_for_upstreams(run, needs)
    if isinstance(found, Retry | Park):
        await handed_for_nothing(run, hooks)
        return await engine.put_off(run, hooks, found)
    if isinstance(found, RunNotReady):
        return await engine.finish(run, hooks, Finish(StateName.NOT_READY, str(found)), found)
    if (reason := why_not_ready(job.task, needs, found)) is not None:
        return await engine.finish(run, hooks, Finish(StateName.NOT_READY, reason))
    job.upstreams = found
    return None


async def _known_end(
    job: Job, run: RunContext, hooks: TaskHooks, inline_limit: int
) -> Disposition | None:
    try:
        run.args, run.kwargs = _read_arguments(job)
    except (ArgumentError, SerializationError):
        return None
    job.is_looked_up = True
    await _tell_loss(job, run, hooks)
    encode = _result_writer(job.task)
    known = await engine.known_outcome(run, hooks, encode)
    if known is None:
        return None
    ended = await engine.finish_known(run, hooks, known)
    return store_outcome(run, job.envelope, job.delivery, ended, inline_limit)


async def perform(
    job: Job,
    worker: str,
    inline_limit: int,
    on_state: Callable[[RunContext, State], None],
    stopping: Callable[[], bool],
    abandon: Callable[[Job, BaseException], None],
    on_wait: Callable[[Job, int, Collection[str]], object] | None = None,
) -> Disposition:
    """Execute one delivered run; on the thread or loop that its task belongs to.

    Args:
        job: The run. Its `run` is set here, its `decision` where it was cancelled meanwhile.
        worker: This worker's name.
        inline_limit: The largest outcome that needs no blob, in bytes.
        on_state: Called with each state that the run enters.
        stopping: Tells whether the worker interrupts its runs in order to stop.
        abandon: Ends a job with an error although its function still executes; called at most
            once, from the job's loop or from any thread.
        on_wait: Takes note that a job waits for other runs, as `RunContext.on_wait` says; None
            where it has no slot.

    Returns:
        Disposition: What to do with the delivery; nothing of it is done yet.

    Raises:
        RunAbandoned: The run has ended before its function has; `abandon` has reported its end.
        asyncio.CancelledError: The coroutine was cancelled outside of the attempt.
        Exception: jtask itself failed: the run would fail like this in every worker.
    """
    unfit = _take_options(job) if job.envelope.options else None
    hooks = _hooks(job)
    run = job.context or _context(job, worker, on_state)
    run.cancelled = job.cancelled
    job.run = run
    if job.delivery.lost_workers:
        await _tell_loss(job, run, hooks)
    # Looked at once the run can be found: whoever cancels does it the other way round.
    if job.cancelled is not None and job.decision is None:
        job.decision = Finish(StateName.CANCELLED, job.cancelled)
    if job.decision is not None:
        ended = await engine.finish(run, hooks, job.decision)
        return store_outcome(run, job.envelope, job.delivery, ended, inline_limit)
    if unfit is not None:
        ended = await engine.finish(run, hooks, Finish(StateName.FAILED, str(unfit)), unfit)
        return store_outcome(run, job.envelope, job.delivery, ended, inline_limit)
    if job.envelope.needs and job.upstreams is None:
        # The broker did not answer when they were asked for.
        waits = await engine.put_off(run, hooks, unanswered())
        return _disposition(job, run, waits, inline_limit)
    # Both lead back to the run: `let_go` drops them, or the garbage collector would have to.
    run.abandon = partial(abandon, job)
    run.on_wait = None if on_wait is None else partial(on_wait, job)
    # For the rest of this context, which is the run's own.
    if run.tags:
        inherit(run.tags, run.task.tags)
    log_start(run, job.delivery, job.lost_worker)
    try:
        return _disposition(job, run, await _attempt(job, run, hooks, stopping), inline_limit)
    finally:
        run.let_go()


def _take_options(job: Job) -> TaskDefinitionError | None:
    """Give the job a task with the options that its run carries; return why that cannot be."""
    if job.envelope.options:
        try:
            job.task = with_carried(job.task, job.envelope.options)
        except TaskDefinitionError as error:
            return error
    return None


def _attempt(
    job: Job, run: RunContext, hooks: TaskHooks, stopping: Callable[[], bool]
) -> Coroutine[Any, Any, engine.Result]:
    try:
        if not job.is_looked_up:
            run.args, run.kwargs = _read_arguments(job)
    except (ArgumentError, SerializationError) as error:
        unreadable = Finish(StateName.FAILED, str(error))
        return engine.finish(run, hooks, unreadable, error)
    encode = _result_writer(job.task)
    return engine.run_attempt(
        run, hooks, encode=encode, stopping=stopping, is_looked_up=job.is_looked_up
    )


def _read_arguments(job: Job) -> tuple[tuple[Any, ...], dict[str, Any]]:
    codecs = codecs_of(job.task)
    codecs.check(job.envelope.serializer)
    needs, upstreams = job.envelope.needs, job.upstreams
    fillings = NOTHING if needs is None or upstreams is None else fillings_of(needs, upstreams)
    return codecs.arguments.decode(job.envelope.payload, fillings)


@kept_in_task
def _result_writer(task: TaskInfo[..., Any]) -> Callable[[Any], bytes]:
    encode = codecs_of(task).result.encode

    def write(value: Any) -> bytes:
        payload = encode(value)
        limit = get_settings().result_limit
        if len(payload) > limit:
            raise SerializationError(
                f"the result has {len(payload)} bytes, and JTASK_RESULT_LIMIT is {limit}: "
                "return where it is stored instead, or raise the limit"
            )
        return payload

    return write


async def _tell_loss(job: Job, run: RunContext, hooks: TaskHooks) -> None:
    delivery = job.delivery
    if delivery.redelivered and delivery.lost_workers and not job.is_loss_told:
        job.is_loss_told = True
        await worker_lost(run, hooks)


async def tell_handed_back(job: Job, run: RunContext) -> None:
    """Tell the plugins that a run is taken back which still executes; on the loop of the hooks.

    Args:
        job: The run.
        run: What its task sees of it.
    """
    await attempt_over(run, _hooks(job), AttemptEnd.HANDED_BACK, is_elsewhere=True)


async def finish_abandoned(job: Job, error: BaseException, inline_limit: int) -> Disposition:
    """End a run whose function still executes: what that does later counts for nothing.

    Args:
        job: The run.
        error: Counts as raised by the function.
        inline_limit: The largest outcome that needs no blob, in bytes.
    """
    run = cast("RunContext", job.run)
    ended = await engine.abandon_attempt(run, _hooks(job), error)
    return _disposition(job, run, ended, inline_limit)


def _hooks(job: Job) -> TaskHooks:
    hooks, envelope = hooks_of(job.task), job.envelope
    if envelope.headers or envelope.tags:
        hooks = hooks.concerning(job.concerns)
    return hooks if job.isolate is None else hooks.invoking(job.isolate)


def _disposition(
    job: Job, run: RunContext, result: engine.Result, inline_limit: int
) -> Disposition:
    envelope = job.envelope
    if isinstance(result, Outcome):
        return store_outcome(run, envelope, job.delivery, result, inline_limit)
    if isinstance(result, Reschedule):
        log_reschedule(run, result)
        return requeue(run, envelope, result, inline_limit)
    return result


def _context(job: Job, worker: str, on_state: Callable[[RunContext, State], None]) -> RunContext:
    envelope, delivery = job.envelope, job.delivery
    # Field by field: as twenty arguments by name they take twice as long.
    run = RunContext(delivery.run_id, job.task, envelope.created, envelope.attempt, envelope.tags)
    run.parent_id = envelope.parent
    run.root_id = envelope.root or envelope.parent
    run.version = envelope.version
    run.queue = delivery.queue
    run.worker = worker
    run.headers = envelope.headers
    run.started_at = envelope.started
    run.run_time = envelope.run_time
    run.history = envelope.history
    run.lost_workers = delivery.lost_workers
    run.token = delivery.token
    # One that was parked as it was sent says nothing of it.
    run.waited_for = envelope.waits_for or ("its turn" if delivery.token is not None else "")
    run.cancelled = job.cancelled
    run.blocking = not job.task.is_async
    run.on_state = on_state
    # Not entered: whoever requeued the run has recorded this state, with the instant.
    if envelope.attempt > 1:
        run.state = State(StateName.AWAITING_RETRY, job.received)
    else:
        run.enter(_PENDING, at=job.received)
    return run


def describe_crash(error: BaseException) -> str:
    """Return the message of a run whose execution itself failed inside jtask."""
    return f"jtask could not execute the run: {describe(error)}"
