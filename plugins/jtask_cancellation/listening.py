"""What a worker hears of cancellations, and how it sees to those that others began."""

import asyncio
import json
import logging
import random
import time
from typing import TYPE_CHECKING, Any

from jtask.cancelling import (
    HOLDERS,
    WORKERS,
    CancelResult,
    Wish,
    already_over,
    find_wish,
    forget,
    give_up_lost,
    pursue,
    read_question,
    wishes,
)
from jtask.contract import Watch
from jtask.errors import BrokerError
from jtask.settings import get_settings
from jtask.worker import Cancellation

if TYPE_CHECKING:
    from jtask.execution import Job
    from jtask.worker import Worker

HELD = "held-runs"
"""The topic under which workers say what they hold."""

_RESULTS = {
    Cancellation.NEVER_STARTS: CancelResult.NEVER_STARTS,
    Cancellation.INTERRUPTED: CancelResult.INTERRUPTED,
    Cancellation.ASKED: CancelResult.ASKED,
}
_FIRST_LOOK = 5.0  # seconds; by then whoever began is done with it, or dead
_LONGEST_PAUSE = 30.0  # seconds
_LOST_AFTER = 10.0  # seconds; by then a run that still exists waits, or its holder has answered
_DRAINED_EVERY = 0.1  # seconds
_log = logging.getLogger("jtask.worker")


class Listening:
    """One worker's ear; on the I/O thread only.

    Args:
        worker: Whose runs can be cancelled.
    """

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self._client = worker.client
        self._broker = worker.client.broker
        self._watches: list[Watch] = []
        self._cares: dict[str, asyncio.Task[None]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen, and look now and then at what was left behind without this worker being told."""
        for topic, answer in (
            (WORKERS, self._note),
            (HOLDERS, self._cancel),
            (HELD, self._tell_held),
        ):
            self._watches.append(await self._broker.listen(topic, answer))
        self._looking = asyncio.get_running_loop().create_task(self._look_around())

    async def stop(self) -> None:
        """Begin nothing new, and fall silent once the worker executes nothing."""
        if self._looking is not None:
            self._looking.cancel()
        for care in self._cares.values():
            care.cancel()
        self._ending = asyncio.get_running_loop().create_task(self._close_when_drained())

    async def _close_when_drained(self) -> None:
        while True:
            if not self._worker.executing():
                break
            await asyncio.sleep(_DRAINED_EVERY)
        for watch in self._watches:
            await watch.close()

    async def _look_around(self) -> None:
        """Find what was wished before this worker came, or while it could not be reached."""
        while True:
            try:
                for wish in await wishes(self._broker):
                    self._care_for(wish.run_id)
            except BrokerError as error:
                _log.debug("cancellations cannot be looked for: %s", error)
            await asyncio.sleep(_LONGEST_PAUSE * random.uniform(1.0, 1.5))

    def _note(self, question: bytes) -> bytes:
        run_id, _ = read_question(question)
        if self._ending is None:
            self._care_for(run_id)
        return b"noted"

    def _cancel(self, question: bytes) -> bytes | None:
        run_id, message = read_question(question)
        result = _RESULTS.get(self._worker.cancel(run_id, message))
        return None if result is None else result.encode()

    def _tell_held(self, question: bytes) -> bytes:
        del question
        return json.dumps([_facts(job) for job in self._worker.held()]).encode()

    def _care_for(self, run_id: str) -> None:
        if run_id in self._cares:
            return
        care = asyncio.get_running_loop().create_task(self._see_to(run_id))
        self._cares[run_id] = care
        care.add_done_callback(lambda _: self._cares.pop(run_id, None))

    async def _see_to(self, run_id: str) -> None:
        """Look again and again, ever less often, until the wish is fulfilled or withdrawn."""
        pause = _FIRST_LOOK
        while True:
            # Not all workers at the same moment: most find that another was faster.
            await asyncio.sleep(pause * random.uniform(1.0, 1.5))
            pause = min(2 * pause, _LONGEST_PAUSE)
            try:
                wish = await find_wish(self._broker, run_id)
                if wish is None or await self._is_fulfilled(wish):
                    return
            except BrokerError as error:
                _log.debug("the cancellation of run %s has to wait: %s", run_id, error)

    async def _is_fulfilled(self, wish: Wish) -> bool:
        answer = await already_over(self._broker, wish.run_id) or await pursue(self._client, wish)
        age = time.time() - wish.at
        # Later a run without an outcome may have ended long ago, its outcome kept no more.
        is_outdated = age > get_settings().result_ttl
        if answer is None and age > _LOST_AFTER and not is_outdated:
            answer = await give_up_lost(self._client, wish)
        is_over = answer is not None and answer.state is not None
        if is_over or (answer is None and is_outdated):
            await forget(self._broker, wish.run_id)
            return True
        return False


def _facts(job: "Job") -> dict[str, Any]:
    return {
        "run_id": job.delivery.run_id,
        "task": job.task.key,
        "name": job.task.name,
        "queue": job.delivery.queue,
        "tags": job.envelope.tags,
    }
