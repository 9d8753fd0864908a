"""Run a run again with other arguments."""

import json
import time
from typing import TYPE_CHECKING

from jtask.contract import Event, Message
from jtask.errors import JTaskError
from jtask.run_summaries import RunSummary
from jtask.states import StateName
from jtask.wire.envelope import Envelope
from jtask_index.rerunning import NO_QUEUE, RERUN_OF

if TYPE_CHECKING:
    from jtask.client import Client

SENT = "rerun"


async def rerun_with(client: "Client", run: RunSummary, new_run_id: str, arguments: str) -> str:
    """Enqueue a run again with arguments of somebody's own; on the I/O loop.

    Args:
        client: This process's link to the broker.
        run: Which.
        new_run_id: Of the run that executes it again.
        arguments: JSON, by parameter.

    Returns:
        str: What came of it, for people.

    Raises:
        JTaskError: Those are no arguments.
    """
    if not run.queue:
        return NO_QUEUE
    arguments = checked(arguments)
    envelope = Envelope(
        run_id=new_run_id,
        task_key=run.task,
        task_name=run.name,
        serializer="json",
        payload=arguments.encode(),
        created=time.time(),
        tags=run.tags,
        parent=run.parent or None,
        headers={RERUN_OF: run.run_id},
        version=run.version or None,
    )
    await client.broker.runs.enqueue([Message(new_run_id, run.queue, envelope.encode())])
    said = f"rerun of run {run.run_id} with other arguments"
    event = Event(new_run_id, StateName.SCHEDULED, envelope.created, run.task, detail=said)
    client.events.add(
        event._replace(
            tags=run.tags,
            parent=run.parent,
            version=run.version,
            queue=run.queue,
            arguments=arguments,
        )
    )
    return SENT


def checked(text: str) -> str:
    """Return arguments as they are sent.

    Raises:
        JTaskError: Those are no arguments; says what is wrong.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise JTaskError(f"the arguments are not JSON: {error}") from error
    if not isinstance(found, dict):
        raise JTaskError("the arguments must be a JSON object: a value for each parameter")
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))
