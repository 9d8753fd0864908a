"""Execute a run again, as a new one with the same arguments or others."""

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from jtask.contract import Event, Message
from jtask.errors import ArgumentError, EnvelopeError
from jtask.run_arguments import REDACTED, is_whole, recorded, redacted_names
from jtask.run_summaries import RunSummary
from jtask.settings import get_settings
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


async def rerun(client: "Client", run: RunSummary, new_run_id: str, arguments: str = "") -> str:
    """Enqueue a run again, unless that was done before; on the I/O loop.

    Args:
        client: Of this process.
        run: The run, which is over.
        new_run_id: Of the new one, the same however often this is called.
        arguments: What `checked` returned, to take the place of its own; empty where those stay.

    Returns:
        str: What came of it, for people.
    """
    if not run.queue:
        return NO_QUEUE
    if await _is_there(client, new_run_id):
        return RERUN
    letter = await client.broker.dead_letters.get(run.run_id)
    old = None if letter is None else _decoded(letter.body.partition(b"\n")[2])
    call: Envelope | None = None
    blob: bytes | None = None
    if arguments:
        call = _with_arguments(old or _recorded(run), run, arguments)
    else:
        call, blob = await _as_it_was(client, old, run)
    if call is None:
        return NO_ARGUMENTS
    envelope = _again(call, run, new_run_id)
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
            detail=f"rerun of run {run.run_id}" + (" with other arguments" if arguments else ""),
            tags=envelope.tags,
            parent=envelope.parent or "",
            version=envelope.version or "",
            queue=run.queue,
            arguments=_shown(envelope, run, arguments) if arguments else run.arguments,
        )
    )
    return RERUN


def checked(text: str) -> str:
    """Return arguments that somebody has written as they are sent.

    Raises:
        ArgumentError: Those are no arguments; says what is wrong.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"the arguments are not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ArgumentError("the arguments must be a JSON object: a value for each parameter")
    written = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    if f'"{REDACTED}"' in written:
        raise ArgumentError(f"replace {REDACTED} in the arguments by the value that was there")
    if _HOLE in written:
        raise ArgumentError("the arguments take the value of another run: write that value instead")
    return written


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


async def _as_it_was(
    client: "Client", old: Envelope | None, run: RunSummary
) -> tuple[Envelope | None, bytes | None]:
    """Return the run's envelope, and its arguments if they are a blob; None where not all is kept.

    Args:
        client: Of this process.
        old: What its dead letter has.
        run: What is recorded of it.
    """
    if old is not None and old.blob is None:
        return old, None
    if old is not None and old.blob is not None:
        blob = await client.broker.blobs.get(f"{run.run_id}.args", at_most=old.blob)
        if blob is not None:
            return old, blob
    if not is_whole(run.arguments) or _HOLE in run.arguments:
        return None, None
    return _recorded(run), None


def _recorded(run: RunSummary) -> Envelope:
    """Return what is recorded of a run as an envelope."""
    return Envelope(
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


def _with_arguments(old: Envelope, run: RunSummary, arguments: str) -> Envelope:
    return replace(
        old,
        redact=tuple(sorted({*old.redact, *redacted_names(run.arguments)})),
        serializer="json",
        payload=arguments.encode(),
        blob=None,
        blob_sha256=None,
        needs=None,
    )


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


def _shown(envelope: Envelope, run: RunSummary, arguments: str) -> str:
    """Return what is recorded of other arguments."""
    if not envelope.redact and not is_whole(run.arguments):
        return ""  # nobody here can tell what of them must not be seen
    return recorded(arguments.encode(), get_settings().event_arguments, envelope.redact)


def _decoded(body: bytes) -> Envelope | None:
    try:
        return decode_envelope(body)
    except EnvelopeError:
        return None
