"""One delivered run, from its envelope to what is to be done with its delivery."""

import time
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, cast

from jtask.contract import Delivery
from jtask.declaration.task_info import TaskInfo
from jtask.errors import ArgumentError, SerializationError, TaskDefinitionError
from jtask.execution import attempt as engine
from jtask.execution.admission import attempt_over, worker_lost
from jtask.execution.run_lines import log_reschedule, log_start
from jtask.execution.run_options import with_carried
from jtask.hooks import TAGGED
from jtask.lifecycle import AttemptEnd, Finish, Park, Release, Reschedule, describe
from jtask.outcomes import Outcome, SettledRun
from jtask.plugins import TaskHooks, hooks_of
from jtask.runtime import HeldRun, RunContext
from jtask.serialization.codecs import codecs_of
from jtask.settings import get_settings
from jtask.states import State, StateName
from jtask.tagging import inherit
from jtask.wire.envelope import VERSION, Envelope, encode_outcome
from jtask.wire.failures import capture
from jtask.wire.fields import json_line
from jtask.wire.history import bare, remember, shortened, summary

_LONGEST_REASON = 300  # characters of why a run waits that travel with it


@dataclass(slots=True, eq=False)
class Job:
    """A run in a worker's hands.

    Attributes:
        delivery: The broker's side of it.
        envelope: What came over the wire; `payload` holds the arguments even if they were a blob.
        task: What to execute.
        received: When it came, seconds since the epoch.
        looked_up: What its task will see of it, once the plugins were asked for its outcome and
            knew none; None where they were not asked.
        run: What its task sees of it, while it executes.
        isolate: What executes it apart from the worker, by its run context; None for the worker
            itself.
        lost_worker: Who executed it last and was lost; empty when that is not known.
        counted: Whether its start was counted as a possible crash.
        is_loss_told: Whether the plugins know that it lost a worker.
        is_released: Whether another worker may have it although it still executes here.
        is_abandoned: Whether its function still executes although the run has ended.
        cancelled: Why it was cancelled; None while it is not.
        decision: How it ends without being attempted; None when it is to be attempted.
        notify_only: Whether its end is stored already, and only the plugins are to be notified.
    """

    delivery: Delivery
    envelope: Envelope
    task: TaskInfo[..., object]
    received: float
    looked_up: RunContext | None = None
    run: RunContext | None = None
    isolate: Callable[[RunContext], Callable[..., Any]] | None = None
    lost_worker: str = ""
    counted: bool = False
    is_loss_told: bool = False
    is_released: bool = False
    is_abandoned: bool = False
    cancelled: str | None = None
    decision: Finish | None = None
    notify_only: bool = False

    @property
    def concerns(self) -> Collection[str]:
        """The headers by which plugins know it; empty for nearly all."""
        headers = self.envelope.headers
        return [*headers, TAGGED] if self.envelope.tags else headers

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


class DeadLetterBody(NamedTuple):
    """Why a run is dead-lettered, and what is kept of it."""

    reason: str
    body: bytes


@dataclass(slots=True, eq=False)
class StoreOutcome:
    """Store this outcome, then take the run off its queue.

    Attributes:
        body: The outcome's wire form.
        blob: A return value to store as a blob first.
        letter: Dead-letter the run instead of dropping it.
    """

    body: bytes
    blob: bytes | None = None
    letter: DeadLetterBody | None = None

    @property
    def is_plain(self) -> bool:
        """Whether storing the body is all there is to do."""
        return self.blob is None and self.letter is None


@dataclass(frozen=True, slots=True)
class Requeue:
    """Queue the run once more.

    Attributes:
        at: When, seconds since the epoch.
        body: The envelope.
        blob: Arguments to store as a blob first.
        park: What it is parked under until then; None when nobody is to wake it.
    """

    at: float
    body: bytes
    blob: bytes | None = None
    park: Park | None = None


Disposition = StoreOutcome | Requeue | Release


async def look_up(
    job: Job,
    worker: str,
    inline_limit: int,
    on_state: Callable[[RunContext, State], None],
) -> StoreOutcome | None:
    """Ask the plugins for the end of a run that need not be executed; on the loop of the hooks.

    Args:
        job: The run, with its arguments. Its `looked_up` is set here.
        worker: This worker's name.
        inline_limit: The largest outcome that needs no blob, in bytes.
        on_state: Called with each state that the run enters.

    Returns:
        StoreOutcome | None: The end that a plugin knew; None to execute the run.
    """
    if _take_options(job) is not None:
        return None  # which ends the run where it is executed; so does what follows
    try:
        arguments = _read_arguments(job)
    except (ArgumentError, SerializationError):
        return None
    hooks, run = _hooks(job), _context(job, worker, on_state)
    run.args, run.kwargs = arguments
    run.blocking = False
    job.looked_up = run
    await _tell_loss(job, run, hooks)
    encode = partial(_encode_result, codecs_of(job.task).result.encode)
    known = await engine.known_outcome(run, hooks, encode)
    if known is None:
        run.blocking = not job.task.is_async
        return None
    return _store_outcome(run, job, await engine.finish_known(run, hooks, known), inline_limit)


async def perform(
    job: Job,
    worker: str,
    inline_limit: int,
    on_state: Callable[[RunContext, State], None],
    stopping: Callable[[], bool],
    abandon: Callable[[Job, BaseException], None],
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

    Returns:
        Disposition: What to do with the delivery; nothing of it is done yet.

    Raises:
        RunAbandoned: The run has ended before its function has; `abandon` has reported its end.
        asyncio.CancelledError: The coroutine was cancelled outside of the attempt.
        Exception: jtask itself failed: the run would fail like this in every worker.
    """
    unfit = _take_options(job)
    hooks = _hooks(job)
    run = job.looked_up or _context(job, worker, on_state)
    run.cancelled = job.cancelled
    job.run = run
    await _tell_loss(job, run, hooks)
    # Looked at once the run can be found: whoever cancels does it the other way round.
    if job.cancelled is not None and job.decision is None:
        job.decision = Finish(StateName.CANCELLED, job.cancelled)
    if job.decision is not None:
        ended = await engine.finish(run, hooks, job.decision)
        return _store_outcome(run, job, ended, inline_limit)
    if unfit is not None:
        ended = await engine.finish(run, hooks, Finish(StateName.FAILED, str(unfit)), unfit)
        return _store_outcome(run, job, ended, inline_limit)
    run.abandon = partial(abandon, job)
    # For the rest of this context, which is the run's own.
    if run.tags:
        inherit(run.tags, run.task.tags)
    log_start(run, job.delivery, job.lost_worker)
    try:
        return _disposition(job, await _attempt(job, run, hooks, stopping), inline_limit)
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
    is_looked_up = job.looked_up is not None
    try:
        if not is_looked_up:
            run.args, run.kwargs = _read_arguments(job)
    except (ArgumentError, SerializationError) as error:
        unreadable = Finish(StateName.FAILED, str(error))
        return engine.finish(run, hooks, unreadable, error)
    encode = partial(_encode_result, codecs_of(job.task).result.encode)
    return engine.run_attempt(
        run, hooks, encode=encode, stopping=stopping, is_looked_up=is_looked_up
    )


def _read_arguments(job: Job) -> tuple[tuple[Any, ...], dict[str, Any]]:
    codecs = codecs_of(job.task)
    codecs.check(job.envelope.serializer)
    return codecs.arguments.decode(job.envelope.payload)


def _encode_result(encode: Callable[[Any], bytes], value: Any) -> bytes:
    payload = encode(value)
    limit = get_settings().result_limit
    if len(payload) > limit:
        raise SerializationError(
            f"the result has {len(payload)} bytes, and JTASK_RESULT_LIMIT is {limit}: "
            "return where it is stored instead, or raise the limit"
        )
    return payload


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
    return _disposition(job, await engine.abandon_attempt(run, _hooks(job), error), inline_limit)


def _hooks(job: Job) -> TaskHooks:
    hooks = hooks_of(job.task)
    if concerns := job.concerns:
        hooks = hooks.concerning(concerns)
    return hooks if job.isolate is None else hooks.invoking(job.isolate)


def _disposition(job: Job, result: engine.Result, inline_limit: int) -> Disposition:
    run, envelope = cast("RunContext", job.run), job.envelope
    if isinstance(result, Outcome):
        return _store_outcome(run, job, result, inline_limit)
    if isinstance(result, Reschedule):
        log_reschedule(run, result)
        following = _next_envelope(run, envelope, result)
        # Arguments of a run that must start by an instant do not outlive it; from now on they must.
        restore = envelope.expires is not None and following.expires is None
        requeue = _requeue(result.at, following, inline_limit, restore=restore)
        return replace(requeue, park=result.park)
    return result


def encode_dead_letter(reason: str, outcome: SettledRun, message: bytes, priority: int) -> bytes:
    """Return the body of a dead letter: why, the outcome, the message itself.

    Args:
        reason: Why, one sentence.
        outcome: How the run ended; its return value is left out.
        message: The message as it was delivered.
        priority: The message's priority, 0 to 9.
    """
    head: dict[str, object] = {"v": VERSION, "reason": reason, "at": time.time()}
    # Without its payload: the message has the arguments, and a run that failed has no value.
    head["outcome"] = encode_outcome(outcome).partition(b"\n")[0].decode()
    if priority:
        head["priority"] = priority
    return b"%b\n%b" % (json_line(head), message)


def _context(job: Job, worker: str, on_state: Callable[[RunContext, State], None]) -> RunContext:
    envelope = job.envelope
    run = RunContext(
        run_id=job.delivery.run_id,
        task=job.task,
        created_at=envelope.created,
        attempt=envelope.attempt,
        tags=envelope.tags,
        parent_id=envelope.parent,
        root_id=envelope.root or envelope.parent,
        version=envelope.version,
        queue=job.delivery.queue,
        worker=worker,
        headers=envelope.headers,
        started_at=envelope.started,
        run_time=envelope.run_time,
        history=envelope.history,
        lost_workers=job.delivery.lost_workers,
        # One that was parked as it was sent says nothing of it.
        waited_for=envelope.waits_for or ("its turn" if job.delivery.token is not None else ""),
        token=job.delivery.token,
        cancelled=job.cancelled,
        blocking=not job.task.is_async,
        on_state=on_state,
    )
    # Not entered: whoever requeued the run has recorded this state, with the instant.
    if envelope.attempt > 1:
        run.state = State(StateName.AWAITING_RETRY, job.received)
    else:
        run.enter(StateName.PENDING, at=job.received)
    return run


def _store_outcome(run: RunContext, job: Job, outcome: Outcome, inline_limit: int) -> StoreOutcome:
    envelope = job.envelope
    settled = SettledRun(
        run_id=run.run_id,
        task_key=envelope.task_key,
        task_name=envelope.task_name,
        state=outcome.state,
        attempt=run.attempt,
        created=run.created_at,
        started=run.started_at,
        ended=outcome.state.at,
        run_time=run.run_time,
        worker=run.worker,
        serializer=envelope.serializer,
        payload=outcome.payload or b"",
        failure=None if outcome.error is None else capture(outcome.error),
        history=run.history,
        tags=run.tags,
        parent=run.parent_id,
        root=run.root_id,
        version=run.version,
        run_name=run.own_name,
    )
    body = encode_outcome(settled)
    # The value can go to a blob, what is said about the run cannot.
    if len(body) - len(settled.payload) > inline_limit:
        settled = replace(settled, failure=shortened(settled.failure), history=bare(run.history))
        body = encode_outcome(settled)
    letter = None
    if (reason := outcome.dead_letter) is not None:
        letter = DeadLetterBody(
            reason, _dead_letter_body(reason, settled, job.delivery, inline_limit)
        )
    if len(body) <= inline_limit:
        return StoreOutcome(body, letter=letter)
    payload = settled.payload
    body = encode_outcome(replace(settled, payload=b"", blob=len(payload)))
    return StoreOutcome(body, payload, letter)


def _dead_letter_body(
    reason: str, settled: SettledRun, delivery: Delivery, inline_limit: int
) -> bytes:
    message, priority = delivery.body, delivery.priority
    body = encode_dead_letter(reason, settled, message, priority)
    if len(body) <= inline_limit:
        return body
    # The message counts more than what is said about it: it is what can be replayed.
    settled = replace(settled, failure=summary(settled.failure), history=bare(settled.history))
    return encode_dead_letter(reason, settled, message, priority)


def _next_envelope(run: RunContext, envelope: Envelope, reschedule: Reschedule) -> Envelope:
    if not reschedule.new_attempt:
        # It only waits for admission.
        waits_for = reschedule.message[:_LONGEST_REASON]
        return replace(envelope, headers=dict(run.headers), waits_for=waits_for)
    return replace(
        envelope,
        headers=dict(run.headers),
        attempt=run.attempt + 1,
        started=run.started_at,
        run_time=run.run_time,
        expires=None,  # concerns the first start only
        history=remember(run.history, run.end_attempt(reschedule.message)),
        waits_for="",
    )


def _requeue(at: float, envelope: Envelope, inline_limit: int, *, restore: bool) -> Requeue:
    payload = envelope.payload
    # Arguments that came from a blob are there still.
    blob = payload if restore and envelope.blob is not None else None
    if envelope.blob is not None:
        envelope = replace(envelope, payload=b"")
    body = envelope.encode()
    if len(body) <= inline_limit:
        return Requeue(at, body, blob)
    # The history has grown.
    if envelope.blob is None:
        blob, envelope = payload, envelope.with_blob(payload)
    body = envelope.encode()
    if len(body) > inline_limit:
        body = replace(envelope, history=bare(envelope.history)).encode()
    return Requeue(at, body, blob)


def describe_crash(error: BaseException) -> str:
    """Return the message of a run whose execution itself failed inside jtask."""
    return f"jtask could not execute the run: {describe(error)}"
