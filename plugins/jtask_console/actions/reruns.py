"""Run a run again, with the arguments that were recorded of it, or with others: once."""

import json
import time

from jtask.client import Client
from jtask.contract import Event, Message
from jtask.errors import JTaskError
from jtask.run_arguments import is_whole
from jtask.run_summaries import RunSummary
from jtask.states import StateName
from jtask.wire.envelope import Envelope


async def rerun(client: Client, run: RunSummary, new_run_id: str, arguments: str = "") -> None:
    """Put a run on its queue again, under a new id; on the I/O loop.

    Done again with the same new id, it is sent once: a run that is known is left alone.

    Args:
        client: This process's link to the broker.
        run: Which.
        new_run_id: Of the run that executes it again.
        arguments: JSON, by parameter; those of the run if empty.

    Raises:
        JTaskError: It cannot be run again; says why.
    """
    message, event = prepared(run, new_run_id, arguments, time.time())
    if await is_known(client, new_run_id):
        return
    await client.broker.runs.enqueue([message])
    client.events.add(event)


async def is_known(client: Client, run_id: str) -> bool:
    """Tell whether a run is on a queue, with a worker, or over."""
    if await client.broker.queues.locate(run_id) is not None:
        return True
    return await client.broker.results.get(run_id) is not None


def prepared(run: RunSummary, new_run_id: str, arguments: str, now: float) -> tuple[Message, Event]:
    """Return the message of a run that executes another one again, and its first event.

    Args:
        run: The run.
        new_run_id: Of the new one.
        arguments: See `rerun`.
        now: When, seconds since the epoch.

    Raises:
        JTaskError: It cannot be run again; says why.
    """
    if not run.queue:
        raise JTaskError(f"run {run.run_id} was called directly: no worker can execute it again")
    arguments = _checked(arguments) if arguments else _recorded(run)
    envelope = Envelope(
        run_id=new_run_id,
        task_key=run.task,
        task_name=run.name,
        serializer="json",
        payload=arguments.encode(),
        created=now,
        tags=run.tags,
        parent=run.parent or None,
        version=run.version or None,
    )
    event = Event(new_run_id, StateName.SCHEDULED, now, run.task, tags=run.tags)
    said = f"run {run.run_id} again"
    event = event._replace(
        detail=said, parent=run.parent, version=run.version, queue=run.queue, arguments=arguments
    )
    return Message(new_run_id, run.queue, envelope.encode()), event


def _recorded(run: RunSummary) -> str:
    if not is_whole(run.arguments):
        raise JTaskError(
            f"run {run.run_id} cannot be run again with the same arguments: they were not "
            f"recorded, or not in full (JTASK_EVENT_ARGUMENTS, redact=)"
        )
    return run.arguments


def _checked(text: str) -> str:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise JTaskError(f"the arguments are not JSON: {error}") from error
    if not isinstance(found, dict):
        raise JTaskError("the arguments must be a JSON object: a value for each parameter")
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))
