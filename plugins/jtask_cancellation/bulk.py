"""Cancel all runs of a task, with a tag or of a queue, waiting and executing ones."""

import json
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jtask.background import map_bounded
from jtask.client.cancellation import CANCELLED_AT_ONCE
from jtask.client.questions import ask_patiently
from jtask.contract import Broker, WaitingRun
from jtask.errors import EnvelopeError
from jtask.ids import is_run_id
from jtask.outcomes import CANCEL_MESSAGE, CancelAnswer
from jtask.wire.envelope import decode_envelope
from jtask_cancellation.worker_side import HELD

if TYPE_CHECKING:
    from jtask.client import Client

_ASK_SECONDS = 0.5  # every worker that lives answers by then


@dataclass(frozen=True, slots=True)
class Found:
    """A run that can be cancelled.

    Attributes:
        run_id: The run.
        task: Its task's key.
        name: Its task's name.
        queue: Where it waits or came from.
        tags: Its tags.
        executing: Whether a worker has begun it.
    """

    run_id: str
    task: str
    name: str
    queue: str
    tags: tuple[str, ...]
    executing: bool = False

    def is_wanted(self, task: str | None, tag: str | None, queue: str | None) -> bool:
        """Tell whether it is of a task (its key or name), has a tag and is of a queue."""
        return (
            (task is None or task in (self.task, self.name))
            and (tag is None or tag in self.tags)
            and (queue is None or queue == self.queue)
        )


def find_runs(
    *, task: str | None = None, tag: str | None = None, queue: str | None = None
) -> list[Found]:
    """Return the waiting and executing runs that meet all conditions, each once.

    Args:
        task: A task's key or name.
        tag: A tag of the run.
        queue: The queue it waits on or came from.

    Returns:
        list[Found]: Runs that begin or end meanwhile may be among them; cancelling those says so.

    Raises:
        BrokerError: The broker cannot be reached, or refuses.
    """
    from jtask.client import get_client

    client = get_client()
    runs = client.io.run(_all_runs(client.broker, queue))
    # A run may be listed twice: as waiting, and by the worker that took it meanwhile. The later
    # entry wins, for it knows whether the run executes.
    return list({run.run_id: run for run in runs if run.is_wanted(task, tag, queue)}.values())


def cancel_many(run_ids: Iterable[str], message: str = CANCEL_MESSAGE) -> list[CancelAnswer]:
    """Cancel runs, some at a time; the answers come in order.

    Args:
        run_ids: Which.
        message: Why, kept with the state of each.

    Returns:
        list[CancelAnswer]: One for each id, in order.

    Raises:
        BrokerError: The broker cannot be reached, or refuses; some may be cancelled by then.
    """
    from jtask.client import get_client

    client = get_client()
    return client.io.run(_cancel_many(client, list(run_ids), message))


async def _cancel_many(client: "Client", run_ids: list[str], message: str) -> list[CancelAnswer]:
    def cancel(run_id: str) -> Awaitable[CancelAnswer]:
        return client.cancel(run_id, message)

    return await map_bounded(cancel, run_ids, CANCELLED_AT_ONCE)


async def _all_runs(broker: Broker, queue: str | None) -> list[Found]:
    # Waiting ones first: what a worker takes meanwhile is then found in its hands.
    found = [_waiting(run) async for run in broker.queues.waiting(queue)]
    for answer in await ask_patiently(broker, HELD, b"", timeout=_ASK_SECONDS):
        found += _held(answer)
    return found


def _waiting(run: WaitingRun) -> Found:
    try:
        envelope = decode_envelope(run.body)
    except EnvelopeError:
        # Still listed: it can be cancelled by its queue, though not by a task or a tag.
        return Found(run.run_id, "", "", run.queue, ())
    return Found(run.run_id, envelope.task_key, envelope.task_name, run.queue, envelope.tags)


def _held(answer: bytes) -> list[Found]:
    """Return what a worker says it holds; somebody else may answer too, whatever they like."""
    try:
        return [
            Found(
                run_id=str(facts["run_id"]),
                task=str(facts["task"]),
                name=str(facts["name"]),
                queue=str(facts["queue"]),
                tags=tuple(map(str, facts["tags"])),
                executing=bool(facts.get("executing")),
            )
            for facts in json.loads(answer)
            if is_run_id(facts["run_id"])
        ]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return []
