"""Notice runs that wait for a task of this worker under another key, and say so."""

import asyncio
import json
import logging
import re
from collections.abc import Callable
from typing import Any, cast

from jtask.contract import Broker
from jtask.errors import BrokerError
from jtask.runtime import RunContext, WorkerInfo

_FIRST_SECONDS = 5.0
_LONGEST_SECONDS = 600.0
_DERIVED = re.compile(r"(.+)-[0-9a-f]{12}")  # a key: the task's name and a hash
_log = logging.getLogger("jtask.worker")


async def watch_for_other_keys(
    broker: Broker, worker: WorkerInfo, executing: Callable[[], list[RunContext]]
) -> None:
    """Look for such runs until cancelled, less and less often; on the I/O loop.

    Args:
        broker: Where they wait.
        worker: What is served.
        executing: Returns what it executes now.
    """
    pause = _FIRST_SECONDS
    said: set[str] = set()
    while True:
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_SECONDS)
        # A worker that has work serves what its callers call.
        if executing():
            continue
        try:
            for queue in await _unserved_queues(broker, worker):
                if queue not in said:
                    said.add(queue)
                    _say(queue, worker)
        except BrokerError as error:
            _log.debug("the worker could not look for runs that nobody serves: %s", error)


def likely_task(queue: str, worker: WorkerInfo) -> str | None:
    """Return the key of a worker's task that has the name for which a queue's runs wait.

    Args:
        queue: A queue that the worker does not serve.
        worker: The worker.
    """
    derived = _DERIVED.fullmatch(queue)
    if derived is None or queue in worker.queues:
        return None
    for task in worker.tasks:
        known = _DERIVED.fullmatch(task.key)
        if known is not None and known[1] == derived[1]:
            return task.key
    return None


async def _unserved_queues(broker: Broker, worker: WorkerInfo) -> list[str]:
    found = [info.name for info in await broker.queues.list() if info.waiting]
    likely = [queue for queue in found if likely_task(queue, worker) is not None]
    if not likely:
        return []
    served = {queue for _, body in await broker.heartbeats.living() for queue in _queues_of(body)}
    return [queue for queue in likely if queue not in served]


def _queues_of(body: bytes) -> list[str]:
    try:
        queues: Any = json.loads(body)["queues"]
        return [str(queue) for queue in cast("list[Any]", queues)]
    except (ValueError, TypeError, KeyError):  # of another version, or of anybody
        return []


def _say(queue: str, worker: WorkerInfo) -> None:
    key = likely_task(queue, worker)
    _log.warning(
        "runs wait in the queue %s, which no worker serves; a task of that name is served here, "
        "with the key %s: if it is the same task, callers and this worker import its file by "
        "different names; import it by one, or give the task a key= (docs: my-run-does-not-start)",
        queue,
        key,
    )
