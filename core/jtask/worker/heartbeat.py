"""What a worker does beside its runs: it says that it lives, and looks for runs that it misses."""

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable

from jtask.contract import Broker
from jtask.errors import BrokerError
from jtask.runtime import RunContext, WorkerInfo
from jtask.worker.unserved import watch_for_other_keys

_PAUSE_SECONDS = 10.0
_MOST_RUNS = 100  # that a heartbeat names: it must fit into a message
_log = logging.getLogger("jtask.worker")


async def accompany(
    broker: Broker, worker: WorkerInfo, executing: Callable[[], list[RunContext]]
) -> None:
    """Do both until cancelled; on the I/O loop.

    Args:
        broker: The worker's broker.
        worker: What is said of the worker.
        executing: Returns what it executes now.
    """
    await asyncio.gather(
        keep_beating(broker, worker, executing), watch_for_other_keys(broker, worker, executing)
    )


async def keep_beating(
    broker: Broker, worker: WorkerInfo, executing: Callable[[], list[RunContext]]
) -> None:
    """Send a worker's heartbeats until cancelled; on the I/O loop.

    Args:
        broker: Where they are kept.
        worker: What is said of the worker.
        executing: Returns the runs that it executes now.
    """
    info = {
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "started": time.time(),
        "queues": worker.queues,
        "tasks": [task.name for task in worker.tasks],
        "concurrency": worker.concurrency,
    }
    while True:
        try:
            runs = executing()
            facts = {"executing": len(runs), "runs": [_facts(run) for run in runs[:_MOST_RUNS]]}
            body = json.dumps(info | facts).encode()
            # A beat that is lost or late does not make the worker count as dead.
            await broker.heartbeats.beat(worker.name, body, 3 * _PAUSE_SECONDS)
        except BrokerError as error:
            _log.debug("the worker could not send its heartbeat: %s", error)
        await asyncio.sleep(_PAUSE_SECONDS)


def _facts(run: RunContext) -> dict[str, object]:
    return {
        "run_id": run.run_id,
        "task": run.task.key,
        "name": run.task.name,
        "attempt": run.attempt,
        "since": run.attempt_started_at,
    }
