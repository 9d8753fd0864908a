"""Tell the plugins of runs that were cancelled on their queue, where no worker held them.

Whoever ended such a run sees to it. A process that has the task's code calls the hooks itself, in a
thread of their own; else a worker that serves the task is asked to. The wish for the run's end is
kept until they have been called, and claimed by whoever calls them: so they are called once, or
again when somebody has died in the middle of it, by a worker.
"""

import asyncio
import concurrent.futures
import json
import logging
import sys
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from jtask.client.cancel_requests import Wish, change_wish, find_wish, forget
from jtask.contract import FullBroker
from jtask.declaration.registry import find_task
from jtask.declaration.task_info import TaskInfo
from jtask.errors import BrokerError
from jtask.execution.job import Job, perform
from jtask.execution.sync_await import run_sync
from jtask.lifecycle import Settle
from jtask.runtime import RunContext
from jtask.states import State, StateName
from jtask.wire.envelope import Envelope

TELLERS = "cancelled-runs"
"""The topic under which workers are asked to call the hooks of a run."""

_CLAIM_SECONDS = 30.0
_ASK_SECONDS = 0.25  # a worker answers at once
_log = logging.getLogger("jtask")


@dataclass(slots=True)
class OffQueue:
    """Stands for the delivery of a run that is on no queue any more.

    Attributes:
        run_id: The run.
        queue: Where it was.
        told: Is done once a worker has told the plugins, or cancelled when it could not.
    """

    run_id: str
    queue: str
    told: "asyncio.Future[None] | None" = None
    body: bytes = b""
    priority: int = 0
    deliveries: int = 1

    def ack(self) -> None:
        """Take note that the plugins have been told."""
        if self.told is not None and not self.told.done():
            self.told.set_result(None)

    async def hand_back(self) -> None:
        """Leave it to another worker, which goes on when the claim of the wish has ended."""
        if self.told is not None:
            self.told.cancel()

    async def put_off(self, at: float, body: bytes | None = None) -> None:
        """Do nothing: such a run is never put off."""

    async def dead_letter(self, reason: str, body: bytes) -> None:
        """Do nothing: such a run is never kept."""


async def announce(broker: FullBroker, run_id: str, state: State) -> None:
    """See to it that the plugins are told of the end of a run that was ended on its queue."""
    wish = await find_wish(broker, run_id)
    key = "" if wish is None else wish.envelope.task_key
    if not key:
        await forget(broker, run_id)  # an unreadable message names no task
    elif (task := find_task(key)) is not None:
        await _announce_here(broker, run_id, task, state)
    else:
        await _ask_a_worker(broker, run_id, key)


@asynccontextmanager
async def claimed(broker: FullBroker, run_id: str) -> AsyncGenerator[Wish | None]:
    """Claim a wish for the time of a block that tells the plugins; then it is forgotten.

    Gives None when there is no such wish any more, or somebody else has claimed it.
    """
    wish = await _claim(broker, run_id)
    if wish is None:
        yield None
        return
    renewing = asyncio.get_running_loop().create_task(_renew(broker, run_id))
    try:
        yield wish
    finally:
        renewing.cancel()
    await forget(broker, run_id)


def job_of(delivery: OffQueue, envelope: Envelope, task: TaskInfo[..., Any], state: State) -> Job:
    """Return the job of telling the plugins of a run's end.

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
        verdict=Settle(StateName.CANCELLED, state.message, state.at),
        is_announced=True,
    )


def say_nothing(run: RunContext, state: State) -> None:
    """Record no event: whoever ended the run has."""


async def _announce_here(
    broker: FullBroker, run_id: str, task: TaskInfo[..., Any], state: State
) -> None:
    async with claimed(broker, run_id) as wish:
        if wish is not None:
            gone = OffQueue(run_id, wish.queue or task.queue)
            job = job_of(gone, wish.envelope, task, state)
            await apart(lambda: _call_hooks(job))


def _call_hooks(job: Job) -> None:
    telling = perform(job, "", sys.maxsize, say_nothing, lambda: False, _leave_nothing_behind)
    if job.task.is_async:
        asyncio.run(telling)
    else:
        run_sync(telling)


def _leave_nothing_behind(job: Job, error: BaseException) -> None:
    """Do nothing: no function of a task executes here."""


def apart(work: Callable[[], None]) -> Awaitable[None]:
    """Do something in a thread of its own: a hook may block, and may cancel runs itself."""
    done: concurrent.futures.Future[None] = concurrent.futures.Future()

    def run() -> None:
        try:
            work()
            done.set_result(None)
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, name="jtask-cancelled", daemon=True).start()
    return asyncio.wrap_future(done)


async def _claim(broker: FullBroker, run_id: str) -> Wish | None:
    wish = await find_wish(broker, run_id)
    now = time.time()
    if wish is None or wish.claimed > now:
        return None
    is_ours = await change_wish(broker, replace(wish, claimed=now + _CLAIM_SECONDS))
    return wish if is_ours else None


async def _renew(broker: FullBroker, run_id: str) -> None:
    while True:
        await asyncio.sleep(_CLAIM_SECONDS / 3)
        try:
            wish = await find_wish(broker, run_id)
            if wish is not None:
                await change_wish(broker, replace(wish, claimed=time.time() + _CLAIM_SECONDS))
        except BrokerError as error:
            _log.debug("the end of run %s may be told twice: %s", run_id, error)


async def _ask_a_worker(broker: FullBroker, run_id: str, key: str) -> None:
    """Ask who serves the task, then one of them; without any it is left to those that come."""
    question = {"run_id": run_id, "task": key}
    serving = await _ask(broker, question)
    if serving:
        await _ask(broker, {**question, "worker": serving[0].decode()})


async def _ask(broker: FullBroker, question: dict[str, str]) -> list[bytes]:
    body = json.dumps(question).encode()
    return await broker.ask(TELLERS, body, timeout=_ASK_SECONDS, answers=1)
