"""Execute a run again, as a new one with the same arguments."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from jtask.contract import Event, Message
from jtask.errors import EnvelopeError
from jtask.run_arguments import is_whole
from jtask.run_summaries import RunSummary
from jtask.states import StateName
from jtask.wire.envelope import Envelope, decode_envelope

if TYPE_CHECKING:
    from jtask.client import Client

RERUN_OF = "jtask-rerun-of"
"""The header of a rerun: the run that it does again."""

RERUN = "rerun"
NO_QUEUE = "not rerun: it was called directly"
NO_ARGUMENTS = "not rerun: its arguments are not kept whole"

_HOLE = '"=run"'  # where the value of another run belongs, see docs/wire-format.md


async def rerun(client: "Client", run: RunSummary, new_run_id: str) -> str:
    """Enqueue a run again, unless that was done before; on the I/O loop.

    Args:
        client: Of this process.
        run: The run, which is over.
        new_run_id: Of the new one, the same however often this is called.

    Returns:
        str: What came of it, for people.
    """
    if not run.queue:
        return NO_QUEUE
    if await _is_there(client, new_run_id):
        return RERUN
    envelope, blob = await _envelope(client, run, new_run_id)
    if envelope is None:
        return NO_ARGUMENTS
    body = envelope.encode()
    if blob is None and len(body) > client.inline_limit:
        blob = envelope.payload
        body = envelope.with_blob(blob).encode()
    if blob is not None:
        # Before the run, which a worker may have at once.
        await client.broker.blobs.put(f"{new_run_id}.args", blob)
    await client.broker.runs.enqueue([Message(new_run_id, run.queue, body)])
    client.events.add(
        Event(
            new_run_id,
            StateName.SCHEDULED.value,
            envelope.created,
            envelope.task_key,
            detail=f"rerun of run {run.run_id}",
            tags=envelope.tags,
            parent=envelope.parent or "",
            version=envelope.version or "",
            queue=run.queue,
            arguments=run.arguments,
        )
    )
    return RERUN


async def _is_there(client: "Client", run_id: str) -> bool:
    broker = client.broker
    if await broker.queues.find(run_id) is not None:
        return True
    if await broker.results.get(run_id) is not None:
        return True
    # A worker has taken it between the two looks, or holds it: its events tell.
    async for _ in broker.events.read_run(run_id, since=time.time() - _KNOWN_SECONDS):
        return True
    return False


_KNOWN_SECONDS = 7 * 86_400.0


async def _envelope(
    client: "Client", run: RunSummary, new_run_id: str
) -> tuple[Envelope | None, bytes | None]:
    """Return the new run's envelope, and its arguments if they are a blob."""
    letter = await client.broker.dead_letters.get(run.run_id)
    if letter is not None:
        old = _decoded(letter.body.partition(b"\n")[2])
        if old is not None:
            blob = None
            if old.blob is not None:
                blob = await client.broker.blobs.get(f"{run.run_id}.args", at_most=old.blob)
            if old.blob is None or blob is not None:
                return _again(old, run, new_run_id), blob
    if not is_whole(run.arguments) or _HOLE in run.arguments:
        return None, None
    old = Envelope(
        run_id=run.run_id,
        task_key=run.task,
        task_name=run.name,
        serializer="json",
        payload=run.arguments.encode(),
        created=run.created,
        tags=run.tags,
        parent=run.parent or None,
        version=run.version or None,
    )
    return _again(old, run, new_run_id), None


def _again(old: Envelope, run: RunSummary, new_run_id: str) -> Envelope:
    """Return the envelope of a first attempt, now."""
    return replace(
        old,
        run_id=new_run_id,
        created=time.time(),
        attempt=1,
        headers={**old.headers, RERUN_OF: run.run_id},
        started=None,
        run_time=0.0,
        expires=None,
        history=(),
        waits_for="",
    )


def _decoded(body: bytes) -> Envelope | None:
    try:
        return decode_envelope(body)
    except EnvelopeError:
        return None
