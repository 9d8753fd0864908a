"""Look after queues from a program: each function blocks, from any thread."""

import time
from typing import TYPE_CHECKING

from jtask.background import map_bounded
from jtask.client.cancellation import CANCELLED_AT_ONCE, cancel_waiting
from jtask.contract import QueueInfo
from jtask.declaration.definition import Instant, instant_of
from jtask.declaration.keys import check_name
from jtask.outcomes import CancelResult
from jtask_queues.purging import cancel_unstarted

if TYPE_CHECKING:
    from jtask.client import Client

PURGED = "purged from its queue"


def list_queues(served: frozenset[str] | None = None) -> list[QueueInfo]:
    """Return all queues that hold runs, are served or are paused, by name.

    What a worker had and gave back, or had when it died, waits where no living worker serves its
    queue.

    Args:
        served: What `served_queues` has returned a moment ago; None asks for it.
    """
    from jtask.client import get_client

    client = get_client()
    living = served_queues() if served is None else served
    return [_in_hands(info, living) for info in client.io.run(client.broker.queues.list())]


def served_queues() -> frozenset[str]:
    """Return the queues that living workers serve."""
    from jtask.client import get_client
    from jtask.client.living_workers import living_workers

    client = get_client()
    living = client.io.run(living_workers(client.broker))
    return frozenset(queue for worker in living for queue in worker["queues"])


def pause_queue(queue: str, until: Instant | None = None) -> float | None:
    """Let no run of a queue start until an instant; the broker sees to it, whoever comes and goes.

    Args:
        queue: Which; it need not exist yet.
        until: An instant, or a time from now, as a `timedelta` or in seconds; None is until
            `resume_queue`.

    Returns:
        float | None: The instant at which the pause ends, seconds since the epoch.

    Raises:
        TaskDefinitionError: That is no name of a queue, or no instant.
        BrokerError: The broker cannot be reached, or refuses.
    """
    from jtask.client import get_client

    client = get_client()
    end = None if until is None else instant_of("until", until, time.time(), relative=True)
    client.io.run(client.broker.queues.pause(check_name("queue", queue), end))
    return end


def resume_queue(queue: str) -> bool:
    """Let the runs of a queue start again.

    Args:
        queue: Which.

    Returns:
        bool: False when it was not paused.

    Raises:
        TaskDefinitionError: That is no name of a queue.
        BrokerError: The broker cannot be reached, or refuses.
    """
    from jtask.client import get_client

    client = get_client()
    return client.io.run(client.broker.queues.resume(check_name("queue", queue)))


def purge_queue(queue: str, message: str = PURGED) -> int:
    """Cancel the runs of a queue that have not begun, delayed ones too; what executes goes on.

    Args:
        queue: Which.
        message: Why, kept with the state of each.

    Returns:
        int: How many were cancelled.

    Raises:
        TaskDefinitionError: That is no name of a queue.
        BrokerError: The broker cannot be reached, or refuses; some may be cancelled by then.
    """
    from jtask.client import get_client

    client = get_client()
    return client.io.run(_purge(client, check_name("queue", queue), message))


def _in_hands(info: QueueInfo, served: frozenset[str]) -> QueueInfo:
    # The broker has it down as executing until somebody asks for it.
    if info.name in served or not info.executing:
        return info
    return info._replace(waiting=info.waiting + info.executing, executing=0)


async def _purge(client: "Client", queue: str, message: str) -> int:
    # Run by run rather than by emptying the queue at the broker: whoever waits for one is woken,
    # and its hooks are called.
    run_ids = [run.run_id async for run in client.broker.queues.waiting(queue)]

    async def cancel(run_id: str) -> bool:
        answer = await cancel_waiting(client.broker, client.events.add, run_id, message)
        return answer is not None and answer.result is CancelResult.NEVER_STARTS

    cancelled = sum(await map_bounded(cancel, run_ids, CANCELLED_AT_ONCE))
    # Optional in the contract. What cannot be a run has no hooks, and nobody waits for it.
    discard = getattr(client.broker.queues, "discard_unaddressed", None)
    if discard is not None:
        cancelled += await discard(queue)
    # Afterwards: what a worker cancels makes room, and it would take what still waits.
    return cancelled + await cancel_unstarted(client.broker, queue, message)
