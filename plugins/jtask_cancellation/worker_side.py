"""A worker's part in cancellations: it answers callers, and finishes what others left half done.

Any process may die between two steps of a cancellation. The request stays stored until the run is
over, so every worker follows up on the requests that it is notified of, and sweeps the stored ones
for those that it missed. Each step may be repeated by several workers at once.
"""

import asyncio
import json
import logging
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
from jtask.client.end_news import tell_of_end
from jtask.contract import Subscription
from jtask.errors import BrokerError
from jtask.ids import is_run_id
from jtask.outcomes import CancelResult
from jtask.randomness import RANDOM
from jtask.rate_limited_log import RateLimitedLog
from jtask.runtime import HeldRun, WorkerHandle
from jtask.settings import get_settings
from jtask.states import State
from jtask.wire.fields import known_fields

HELD = "held-runs"
"""The topic under which workers say what they hold."""

_FIRST_LOOK = 5.0  # seconds; by then whoever began is done with it, or dead
_LONGEST_PAUSE = 30.0  # seconds; with the jitter a lost request is picked up within 45
_LOST_AFTER = 10.0  # seconds; by then a run that still exists waits, or its holder has answered
# Seconds for which a worker follows up on requests for tasks that it does not serve. Longer would
# have every worker poll for requests that are only kept until somebody can call the hooks.
_FOREIGN_UNTIL = 300.0
_MOST_FOLLOWED = 1000  # requests at once
_CLOSE_SECONDS = 2.0  # to tell the broker, when the worker ends, that hooks have been called
_log = logging.getLogger("jtask.worker")
_failures = RateLimitedLog(60.0)


class CancelListener:
    """Answers cancellations for one worker, and follows up on unfinished ones; on the I/O thread.

    Args:
        worker: Whose runs can be cancelled.
    """

    def __init__(self, worker: WorkerHandle) -> None:
        self._worker = worker
        self._broker = worker.broker
        self._subscriptions: list[Subscription] = []
        self._follow_ups: dict[str, asyncio.Task[None]] = {}
        self._sweep: asyncio.Task[None] | None = None
        self._notifying: set[str] = set()
        """Runs whose hooks are being claimed and called here, which is never cut off half-way.

        Another worker would call the hooks only once the claim has lapsed, and again if need be.
        """
        self._served_keys = {task.key for task in worker.info.tasks}

    async def start(self) -> None:
        """Subscribe, and sweep now and then for requests that this worker was not notified of.

        Raises:
            BrokerError: The broker refuses a subscription.
        """
        for topic, answer in (
            (CANCEL_REQUESTED, self._on_requested),
            (CANCEL_RUN, self._on_cancel),
            (HELD, self._on_list_held),
            (NOTIFY_CANCELLED, self._on_cancelled),
        ):
            self._subscriptions.append(await self._broker.requests.listen(topic, answer))
        self._sweep = asyncio.get_running_loop().create_task(self._sweep_requests())

    async def close(self) -> None:
        """Close the subscriptions; the worker has ended."""
        if self._sweep is not None:
            self._sweep.cancel()
        for run_id, follow_up in self._follow_ups.items():
            if run_id not in self._notifying:
                follow_up.cancel()
        notifying = [task for run_id, task in self._follow_ups.items() if run_id in self._notifying]
        if notifying:
            await asyncio.wait(notifying, timeout=_CLOSE_SECONDS)
        for subscription in self._subscriptions:
            await subscription.close()

    async def _sweep_requests(self) -> None:
        """Find what was requested before this worker came, or while it could not be reached."""
        while not self._worker.is_stopping:
            try:
                for request in await cancel_requests(self._broker):
                    if self._is_ours_to_follow(request):
                        self._follow(request.run_id)
            except Exception as error:
                # The next sweep makes up for it; a lost connection is logged elsewhere.
                _log.debug("cannot read the cancellations: %s", error)
            # Jitter: workers that a deploy started together would all list the records at once.
            await asyncio.sleep(_LONGEST_PAUSE * RANDOM.uniform(1.0, 1.5))

    def _is_ours_to_follow(self, request: CancelRequest) -> bool:
        """Tell whether to follow up on a request; after a while others' tasks are left to them.

        Many may be kept for long, only to have hooks called once a worker serves the task.
        """
        key, age = request.envelope.task_key, time.time() - request.at
        # A message that cannot be read names no task: it is everybody's.
        is_ours = not key or key in self._served_keys
        # One that outlived the outcomes only has to be deleted, which needs no task's code.
        return is_ours or age < _FOREIGN_UNTIL or age > get_settings().result_ttl

    def _on_requested(self, question: bytes) -> bytes:
        run_id, _ = read_question(question)
        if not self._worker.is_stopping:
            self._follow(run_id)
        return b"noted"

    def _on_cancel(self, question: bytes) -> bytes | None:
        run_id, message = read_question(question)
        result = self._worker.cancel(run_id, message)
        return None if result is CancelResult.NOT_FOUND else result.encode()

    def _on_list_held(self, question: bytes) -> bytes:
        del question
        return json.dumps([_facts(run) for run in self._worker.held()]).encode()

    def _on_cancelled(self, question: bytes) -> bytes | None:
        """Answer a caller that took a run of ours off its queue and has not got the task's code.

        It asks twice: first who serves the task, then one of those by name to call the hooks. So
        the claim of the request is contested by one worker only.
        """
        asked = known_fields(question)
        key, run_id = str(asked.get("task")), str(asked.get("run_id"))
        if self._worker.is_stopping or key not in self._served_keys:
            return None
        name = self._worker.info.name
        if asked.get("worker") == name:
            # A follow-up of ours may be asleep for half a minute: one that acts now replaces it.
            self._unfollow(run_id)
            self._follow(run_id, at_once=True)
        return name.encode()

    def _follow(self, run_id: str, *, at_once: bool = False) -> None:
        # The notification, the sweep and the caller may all name the same run.
        if run_id in self._follow_ups or not is_run_id(run_id):
            return
        # What is not followed now is found by a sweep.
        if len(self._follow_ups) >= _MOST_FOLLOWED and not at_once:
            return
        follow_up = asyncio.get_running_loop().create_task(self._follow_up(run_id, at_once=at_once))
        self._follow_ups[run_id] = follow_up
        follow_up.add_done_callback(lambda done: self._forget_follow_up(run_id, done))

    def _unfollow(self, run_id: str) -> None:
        if run_id in self._notifying:
            return
        follow_up = self._follow_ups.pop(run_id, None)
        if follow_up is not None:
            follow_up.cancel()

    def _forget_follow_up(self, run_id: str, follow_up: "asyncio.Task[None]") -> None:
        # The callback of a cancelled one comes when its successor may be in its place already.
        if self._follow_ups.get(run_id) is follow_up:
            del self._follow_ups[run_id]

    async def _follow_up(self, run_id: str, *, at_once: bool) -> None:
        """Try again and again, ever less often, until the request is done or withdrawn."""
        pause = _FIRST_LOOK
        while True:
            if not at_once:
                # Not all workers at the same moment: most find that another was faster.
                await asyncio.sleep(pause * RANDOM.uniform(1.0, 1.5))
                pause = min(2 * pause, _LONGEST_PAUSE)
                if self._worker.is_stopping:
                    return  # left to other workers
            at_once = False
            try:
                request = await find_cancel_request(self._broker, run_id)
                if request is None or await self._is_done(request):
                    return
            except BrokerError as error:
                _log.debug("cannot cancel run %s yet: %s", run_id, error)
            except Exception as error:
                # Whatever it is, other requests must go on.
                if count := _failures.count(type(error).__qualname__):
                    _log.warning(
                        "the cancellation of run %s failed, one of %d: %r", run_id, count, error
                    )

    async def _is_done(self, request: CancelRequest) -> bool:
        answer = await already_over(self._broker, request.run_id) or await try_cancel(
            self._broker, self._worker.record, request
        )
        age = time.time() - request.at
        # Later a run without an outcome may have ended long ago, its outcome kept no more.
        is_outdated = age > get_settings().result_ttl
        if answer is None and age > _LOST_AFTER and not is_outdated:
            answer = await settle_orphan(self._broker, self._worker.record, request)
        state = None if answer is None else answer.state
        if state is not None:
            # Whoever stored it may have died before anybody was told.
            await tell_of_end(self._broker, request.run_id)
        # A run that a worker executed has had its hooks called there. Only for those that were
        # ended on their queue, for this very request, the hooks are still owed.
        if state is not None and request.ended(state) and not is_outdated:
            return await self._is_notified(request.run_id, state)
        if state is not None or (answer is None and is_outdated):
            await forget(self._broker, request.run_id)
            return True
        return False

    async def _is_notified(self, run_id: str, state: State) -> bool:
        """Notify the plugins of a run that was ended on its queue, unless somebody else does."""
        # Read anew: whoever ended the run may have learned what it is only then.
        request = await find_cancel_request(self._broker, run_id)
        if request is None:
            return True
        key = request.envelope.task_key
        if key and key not in self._served_keys:
            return True  # workers that serve it do, now or when they start
        if self._worker.is_stopping:
            return False
        self._notifying.add(run_id)
        try:
            async with claimed(self._broker, run_id) as claim:
                if claim is None:
                    # Somebody is at it. Not done yet, for they may die: their claim lapses then.
                    return False
                if key:
                    await self._worker.notify_cancelled(
                        run_id, claim.envelope, claim.queue, state, claim.token
                    )
        finally:
            self._notifying.discard(run_id)
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
