"""Notify the plugins of runs that were cancelled on their queue, where no worker held them.

Whoever cancelled such a run is responsible. A process that has the task's code calls the hooks
itself, in a thread of its own; otherwise a worker that serves the task is asked to. The cancel
request is kept until the hooks have been called, and whoever calls them claims it first: so they
are called once, or once more by a worker when the first caller died in the middle.
"""

import asyncio
import json
import logging
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from jtask.client.cancel_requests import (
    CancelRequest,
    change_cancel_request,
    find_cancel_request,
    forget,
)
from jtask.client.questions import ask_patiently
from jtask.contract import Broker
from jtask.daemon_calls import call_in_daemon
from jtask.declaration.registry import find_task
from jtask.declaration.task_info import TaskInfo
from jtask.errors import BrokerError
from jtask.execution.job import Job, perform
from jtask.execution.sync_await import run_sync
from jtask.lifecycle import Finish
from jtask.runtime import RunContext
from jtask.states import State, StateName
from jtask.wire.envelope import Envelope

NOTIFY_CANCELLED = "cancelled-runs"
"""The topic under which workers are asked to call the hooks of a run."""

_CLAIM_SECONDS = 30.0  # then the claimer counts as dead, and somebody else calls the hooks
_ASK_SECONDS = 0.25  # a worker answers at once
_log = logging.getLogger("jtask")


@dataclass(slots=True)
class CancelledDelivery:
    """Stands for the delivery of a run that is on no queue any more.

    Attributes:
        run_id: The run.
        queue: Where it was.
        told: Is done once a worker has notified the plugins, or cancelled when it could not.
    """

    run_id: str
    queue: str
    told: "asyncio.Future[None] | None" = None
    body: bytes = b""
    priority: int = 0
    redelivered: bool = False
    lost_workers: int = 0
    token: str | None = None
    problem: str | None = None

    def ack(self) -> None:
        """Take note that the plugins have been notified."""
        if self.told is not None and not self.told.done():
            self.told.set_result(None)

    async def release(self) -> None:
        """Leave it to another worker, which follows up when the claim of the request has ended."""
        if self.told is not None:
            self.told.cancel()

    async def reschedule(self, at: float, body: bytes | None = None) -> None:
        """Do nothing: such a run is never rescheduled."""

    async def park(self, key: str, until: float, body: bytes | None = None) -> None:
        """Do nothing: such a run is never parked."""

    async def dead_letter(self, reason: str, body: bytes) -> None:
        """Do nothing: such a run is never kept."""


async def announce(broker: Broker, run_id: str, state: State) -> None:
    """Notify the plugins of a run that was ended on its queue, here or in a worker.

    Args:
        broker: Where its cancel request is.
        run_id: The run.
        state: How it ended.

    Raises:
        BrokerError: The broker cannot be asked; a worker finds the request later.
    """
    request = await find_cancel_request(broker, run_id)
    key = "" if request is None else request.envelope.task_key
    if not key:
        await forget(broker, run_id)  # an unreadable message names no task
    elif (task := find_task(key)) is not None:
        await _announce_here(broker, run_id, task, state)
    else:
        await _ask_a_worker(broker, run_id, key)


@asynccontextmanager
async def claimed(broker: Broker, run_id: str) -> AsyncGenerator[CancelRequest | None]:
    """Claim a request for the time of a block that notifies the plugins; then delete it.

    Gives None when there is no such request any more, or somebody else has claimed it.

    Args:
        broker: Where the request is.
        run_id: The run.

    Raises:
        BrokerError: The broker cannot be asked.
    """
    request = await _claim(broker, run_id)
    if request is None:
        yield None
        return
    renewing = asyncio.get_running_loop().create_task(_renew(broker, run_id))
    try:
        yield request
    finally:
        renewing.cancel()
    # Not in the `finally`: after a failure the claim runs out, and a worker calls the hooks.
    await forget(broker, run_id)


def job_of(
    delivery: CancelledDelivery, envelope: Envelope, task: TaskInfo[..., Any], state: State
) -> Job:
    """Return the job of notifying the plugins of a run's end.

    Args:
        delivery: Stands for the message that is on no queue any more.
        envelope: What is known of the run.
        task: Its task.
        state: How it ended.
    """
    return Job(
        delivery,
        envelope,
        task,
        received=state.at,
        cancelled=state.message,
        decision=Finish(StateName.CANCELLED, state.message, state.at),
        notify_only=True,
    )


def no_event(run: RunContext, state: State) -> None:
    """Record no event: whoever ended the run has."""


async def _announce_here(
    broker: Broker, run_id: str, task: TaskInfo[..., Any], state: State
) -> None:
    async with claimed(broker, run_id) as request:
        if request is not None:
            queue = request.queue or task.queue
            gone = CancelledDelivery(run_id, queue, token=request.token)
            job = job_of(gone, request.envelope, task, state)
            # A hook may block, and may cancel runs itself.
            await call_in_daemon("jtask-cancelled", _call_hooks, job)


def _call_hooks(job: Job) -> None:
    # Any size will do: nothing of this is stored.
    telling = perform(job, "", sys.maxsize, no_event, lambda: False, _leave_nothing_behind)
    if job.task.is_async:
        asyncio.run(telling)
    else:
        run_sync(telling)


def _leave_nothing_behind(job: Job, error: BaseException) -> None:
    """Do nothing: no function of a task executes here."""


async def _claim(broker: Broker, run_id: str) -> CancelRequest | None:
    request = await find_cancel_request(broker, run_id)
    now = time.time()
    # Nobody claims it for longer: who says so has not written this record.
    if request is None or now < request.claimed <= now + 2 * _CLAIM_SECONDS:
        return None
    is_ours = await change_cancel_request(broker, replace(request, claimed=now + _CLAIM_SECONDS))
    return request if is_ours else None


async def _renew(broker: Broker, run_id: str) -> None:
    while True:
        # In a third of the claim: a renewal that fails is repeated in time.
        await asyncio.sleep(_CLAIM_SECONDS / 3)
        try:
            request = await find_cancel_request(broker, run_id)
            if request is not None:
                await change_cancel_request(
                    broker, replace(request, claimed=time.time() + _CLAIM_SECONDS)
                )
        except BrokerError as error:
            _log.debug("the hooks of run %s may be called twice: %s", run_id, error)


async def _ask_a_worker(broker: Broker, run_id: str, key: str) -> None:
    """Ask who serves the task, then one of them; without any it is left to later workers."""
    question = {"run_id": run_id, "task": key}
    serving = await _ask(broker, question)
    if serving:
        await _ask(broker, {**question, "worker": serving[0].decode()})


async def _ask(broker: Broker, question: dict[str, str]) -> list[bytes]:
    body = json.dumps(question).encode()
    return await ask_patiently(broker, NOTIFY_CANCELLED, body, timeout=_ASK_SECONDS, answers=1)
