"""What a worker hears of cancellations, and how it sees to those that others began."""

import asyncio
import json
import logging
import random
import time
from typing import Any

from jtask.client.cancel_notices import NOTIFY_CANCELLED, claimed
from jtask.client.cancel_requests import CancelRequest, cancel_requests, find_cancel_request, forget
from jtask.client.cancellation import (
    CANCEL_REQUESTED,
    CANCEL_RUN,
    already_over,
    read_question,
    settle_orphan,
    try_cancel,
)
from jtask.contract import Watch
from jtask.errors import BrokerError
from jtask.outcomes import CancelResult
from jtask.runtime import HeldRun, WorkerHandle
from jtask.settings import get_settings
from jtask.states import State

HELD = "held-runs"
"""The topic under which workers say what they hold."""

_FIRST_LOOK = 5.0  # seconds; by then whoever began is done with it, or dead
_LONGEST_PAUSE = 30.0  # seconds
_LOST_AFTER = 10.0  # seconds; by then a run that still exists waits, or its holder has answered
_FOREIGN_UNTIL = 300.0  # seconds
_LAST_SECONDS = 2.0  # to tell the broker, when the worker ends, that the plugins were told
_log = logging.getLogger("jtask.worker")


class CancelListener:
    """One worker's ear; on the I/O thread only.

    Args:
        worker: Whose runs can be cancelled.
    """

    def __init__(self, worker: WorkerHandle) -> None:
        self._worker = worker
        self._broker = worker.broker
        self._watches: list[Watch] = []
        self._cares: dict[str, asyncio.Task[None]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._telling: set[str] = set()
        """Runs of which the plugins are being told here: that is not given up half-way."""
        self._served = {task.key for task in worker.info.tasks}

    async def start(self) -> None:
        """Listen, and look now and then at what was left behind without this worker being told."""
        for topic, answer in (
            (CANCEL_REQUESTED, self._note),
            (CANCEL_RUN, self._cancel),
            (HELD, self._tell_held),
            (NOTIFY_CANCELLED, self._hear_of_end),
        ):
            self._watches.append(await self._broker.listen(topic, answer))
        self._looking = asyncio.get_running_loop().create_task(self._look_around())

    async def close(self) -> None:
        """Fall silent; the worker has ended."""
        if self._looking is not None:
            self._looking.cancel()
        for run_id, care in self._cares.items():
            if run_id not in self._telling:
                care.cancel()
        telling = [self._cares[run_id] for run_id in self._telling if run_id in self._cares]
        if telling:
            await asyncio.wait(telling, timeout=_LAST_SECONDS)
        for watch in self._watches:
            await watch.close()

    async def _look_around(self) -> None:
        """Find what was wished before this worker came, or while it could not be reached."""
        while not self._worker.is_stopping:
            try:
                for request in await cancel_requests(self._broker):
                    if self._concerns(request):
                        self._care_for(request.run_id)
            except BrokerError as error:
                _log.debug("cancellations cannot be looked for: %s", error)
            await asyncio.sleep(_LONGEST_PAUSE * random.uniform(1.0, 1.5))

    def _concerns(self, request: CancelRequest) -> bool:
        """Tell whether to look after a request; those of others' tasks are theirs, after a while.

        Many may be kept for long, only to have hooks called once a worker serves the task.
        """
        key, age = request.envelope.task_key, time.time() - request.at
        is_ours = not key or key in self._served
        return is_ours or age < _FOREIGN_UNTIL or age > get_settings().result_ttl

    def _note(self, question: bytes) -> bytes:
        run_id, _ = read_question(question)
        if not self._worker.is_stopping:
            self._care_for(run_id)
        return b"noted"

    def _cancel(self, question: bytes) -> bytes | None:
        run_id, message = read_question(question)
        result = self._worker.cancel(run_id, message)
        return None if result is CancelResult.NOT_FOUND else result.encode()

    def _tell_held(self, question: bytes) -> bytes:
        del question
        return json.dumps([_facts(run) for run in self._worker.held()]).encode()

    def _hear_of_end(self, question: bytes) -> bytes | None:
        """Answer a caller that has cancelled a run of ours on its queue, without our code."""
        asked = json.loads(question)
        if self._worker.is_stopping or asked["task"] not in self._served:
            return None
        name = self._worker.info.name
        if asked.get("worker") == name:
            self._stop_caring(asked["run_id"])
            self._care_for(asked["run_id"], at_once=True)
        return name.encode()

    def _care_for(self, run_id: str, *, at_once: bool = False) -> None:
        if run_id in self._cares:
            return
        care = asyncio.get_running_loop().create_task(self._see_to(run_id, at_once=at_once))
        self._cares[run_id] = care
        care.add_done_callback(lambda done: self._no_more(run_id, done))

    def _stop_caring(self, run_id: str) -> None:
        if run_id not in self._telling and (care := self._cares.pop(run_id, None)) is not None:
            care.cancel()

    def _no_more(self, run_id: str, care: "asyncio.Task[None]") -> None:
        if self._cares.get(run_id) is care:
            del self._cares[run_id]

    async def _see_to(self, run_id: str, *, at_once: bool) -> None:
        """Look again and again, ever less often, until the request is fulfilled or withdrawn."""
        pause = _FIRST_LOOK
        while True:
            if not at_once:
                # Not all workers at the same moment: most find that another was faster.
                await asyncio.sleep(pause * random.uniform(1.0, 1.5))
                pause = min(2 * pause, _LONGEST_PAUSE)
                if self._worker.is_stopping:
                    return  # left to other workers
            at_once = False
            try:
                request = await find_cancel_request(self._broker, run_id)
                if request is None or await self._is_fulfilled(request):
                    return
            except BrokerError as error:
                _log.debug("the cancellation of run %s has to wait: %s", run_id, error)

    async def _is_fulfilled(self, request: CancelRequest) -> bool:
        answer = await already_over(self._broker, request.run_id) or await try_cancel(
            self._broker, self._worker.record, request
        )
        age = time.time() - request.at
        # Later a run without an outcome may have ended long ago, its outcome kept no more.
        is_outdated = age > get_settings().result_ttl
        if answer is None and age > _LOST_AFTER and not is_outdated:
            answer = await settle_orphan(self._broker, self._worker.record, request)
        state = None if answer is None else answer.state
        if state is not None and request.ended(state) and not is_outdated:
            return await self._is_told(request.run_id, state)
        if state is not None or (answer is None and is_outdated):
            await forget(self._broker, request.run_id)
            return True
        return False

    async def _is_told(self, run_id: str, state: State) -> bool:
        """Tell the plugins of a run that was ended on its queue, unless somebody else does."""
        # Read anew: whoever ended the run may have learned what it is only then.
        request = await find_cancel_request(self._broker, run_id)
        if request is None:
            return True
        key = request.envelope.task_key
        if key and key not in self._served:
            return True  # workers that serve it do, now or when they start
        if self._worker.is_stopping:
            return False
        try:
            async with claimed(self._broker, run_id) as claim:
                if claim is None:
                    return False
                self._telling.add(run_id)
                if key:
                    await self._worker.notify_cancelled(run_id, claim.envelope, claim.queue, state)
        finally:
            self._telling.discard(run_id)
        return True


def _facts(run: HeldRun) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "task": run.task.key,
        "name": run.task.name,
        "queue": run.queue,
        "tags": run.tags,
        "executing": run.is_started,
    }
