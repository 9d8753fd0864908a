"""Execute a dead letter's run again: exactly once, however often that is begun or interrupted.

A record under the letter's run id says which new run counts. The steps, in this order:

1. The record is made, with a new run id, "begun", by compare-and-set: of several who replay the
   letter at the same time one chooses the id, and all go on with that one.
2. The arguments are copied if they are a blob, and the new run is enqueued. Doing this again with
   the same id within the broker's dedup window stores nothing twice.
3. The record says "enqueued", by compare-and-set.
4. The letter is dropped, then its blob.

Whoever replaces the id of a replay that was begun deletes the arguments that were copied for it,
once it is on no queue.

Whoever dies after 1 or 2 leaves "begun". Who comes soon goes on with the same id, which step 2
allows. Who comes later cannot know whether the run was enqueued, so they put a new id into the
record. Should the old run exist after all, it finds at its admission that it does not count, and
ends as Cancelled; if it is admitted first, it sets "enqueued" itself, and nobody takes its place.
Whoever dies after 3 leaves a letter whose replay only has to be finished. The letter goes last, so
nothing is lost on the way; the record stays, so a second replay finds the first.
"""

import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jtask.client import get_client
from jtask.contract import Broker, Event, Message, Record
from jtask.errors import JTaskError, RunRefused
from jtask.ids import is_run_id
from jtask.run_arguments import recorded
from jtask.settings import get_settings
from jtask.states import StateName
from jtask.wire.envelope import Envelope
from jtask.wire.fields import finite, known_fields
from jtask_dead_letters.headers import REPLAY_OF
from jtask_dead_letters.letters import Letter

if TYPE_CHECKING:
    from jtask.client import Client

_BUCKET = "replays"
# Half the dedup window, for clocks differ and an enqueueing takes its time. Beyond the window the
# same id would be stored, and so executed, a second time.
_SAME_ID_SECONDS = 15.0
_CLOCKS = 86_400.0  # seconds by which the clocks of two machines may differ at the very most


@dataclass(frozen=True, slots=True)
class Replay:
    """What the record of a letter says.

    Attributes:
        run_id: The new run that counts.
        at: When its id was chosen, seconds since the epoch.
        enqueued: Whether it is known to be on its queue, or beyond.
    """

    run_id: str
    at: float
    enqueued: bool

    def encode(self) -> bytes:
        """Return the record's body."""
        facts = {"run_id": self.run_id, "at": self.at, "enqueued": self.enqueued}
        return json.dumps(facts).encode()


async def replay(client: "Client", letter: Letter) -> str:
    """Enqueue a letter's run anew and drop the letter.

    Args:
        client: This process's link to the broker.
        letter: What to replay.

    Returns:
        str: The id of the new run; that of an earlier replay if there was one.

    Raises:
        JTaskError: It cannot be replayed; the letter stays.
    """
    broker = client.broker
    while True:
        chosen = await _choose_run(client, letter.run_id)
        if chosen.enqueued:
            break
        try:
            await _enqueue(client, letter, chosen.run_id)
        except JTaskError:
            # Somebody else may have ended it meanwhile, and dropped the arguments.
            if (done := await replayed_as(broker, letter.run_id)) is None:
                raise
            return done
        if await _is_current(broker, letter.run_id, chosen.run_id):
            break
        # This took so long that another replay chose another id: the run enqueued here will find
        # that it does not count. Begin again, and most likely find that one enqueued.
    await drop(broker, letter.run_id)
    return chosen.run_id


async def drop(broker: Broker, run_id: str) -> bool:
    """Delete a letter and its arguments; False when there is none."""
    # In this order: arguments without a letter go by themselves when the letter would have, but a
    # letter without its arguments could not be replayed.
    was_there = await broker.dead_letters.drop(run_id)
    await broker.blobs.delete(f"{run_id}.args")
    return was_there


async def replayed_as(broker: Broker, run_id: str) -> str | None:
    """Return the run that a letter was replayed as, even if the letter is gone."""
    record = await broker.records.get(_BUCKET, run_id)
    known = None if record is None else _read(record)
    return known.run_id if known is not None and known.enqueued else None


async def forget_old(broker: Broker) -> None:
    """Delete replays whose letters would be gone by now anyway."""
    # A record must outlive its letter, or a second replay would not find the first. A letter is
    # gone after one time to live; the other is a margin.
    oldest = time.time() - 2 * get_settings().dead_letter_ttl
    for record in await broker.records.list(_BUCKET):
        known = _read(record)
        if known.at < oldest:
            await _forget_begun(broker, known)
            await broker.records.delete(_BUCKET, record.key)


async def admitted(letter_id: str, run_id: str) -> None:
    """Return if a replay is the one that counts.

    Args:
        letter_id: The run whose letter was replayed.
        run_id: The replay that is about to start.

    Raises:
        RunRefused: Another one took its place.
        BrokerError: The broker cannot tell.
    """
    client = get_client()
    if not await client.io.bridge(_is_current(client.broker, letter_id, run_id)):
        raise RunRefused(f"another replay of run {letter_id} replaced this one")


async def _choose_run(client: "Client", letter_id: str) -> Replay:
    broker = client.broker
    while True:
        record = await broker.records.get(_BUCKET, letter_id)
        known = None if record is None else _read(record)
        if known and (known.enqueued or time.time() - known.at < _SAME_ID_SECONDS):
            return known
        fresh = Replay(client.ids.new(), time.time(), enqueued=False)
        # Compare-and-set: whoever comes second reads the record again and joins the first.
        revision = 0 if record is None else record.revision
        if await broker.records.put(_BUCKET, letter_id, fresh.encode(), revision=revision):
            if known is not None:
                await _forget_begun(broker, known)
            return fresh


async def _forget_begun(broker: Broker, begun: Replay) -> None:
    """Delete the arguments that were copied for a run which was perhaps never enqueued."""
    never_was = is_run_id(begun.run_id) and not begun.enqueued
    if never_was and await broker.queues.locate(begun.run_id) is None:
        await broker.blobs.delete(f"{begun.run_id}.args")


async def _enqueue(client: "Client", letter: Letter, run_id: str) -> None:
    broker = client.broker
    envelope, blob = await _first_attempt(client, letter, run_id)
    if blob is not None:
        # Before the run, which a worker may have at once.
        await broker.blobs.put(f"{run_id}.args", blob)
    await broker.runs.enqueue([Message(run_id, letter.queue, envelope.encode(), letter.priority)])
    client.events.add(
        Event(
            run_id,
            StateName.SCHEDULED,
            envelope.created,
            envelope.task_key,
            detail=f"replay of run {letter.run_id}",
            tags=envelope.tags,
            parent=envelope.parent or "",
            version=envelope.version or "",
            queue=letter.queue,
            arguments=_recorded(envelope, blob),
        )
    )


async def _first_attempt(
    client: "Client", letter: Letter, run_id: str
) -> tuple[Envelope, bytes | None]:
    """Return the envelope of the new run's first attempt, and its arguments if they are a blob."""
    old = letter.envelope
    if old is None:
        raise JTaskError(f"run {letter.run_id} cannot be replayed: its message cannot be read")
    envelope = Envelope(
        run_id=run_id,
        task_key=old.task_key,
        task_name=old.task_name,
        serializer=old.serializer,
        payload=old.payload,
        created=time.time(),
        tags=old.tags,
        parent=old.parent,
        root=old.root,
        headers={**old.headers, REPLAY_OF: letter.run_id},
        blob=old.blob,
        blob_sha256=old.blob_sha256,
        options=old.options,
        version=old.version,
        needs=old.needs,
        redact=old.redact,
    )
    if old.blob is not None:
        blob = await client.broker.blobs.get(f"{letter.run_id}.args", at_most=old.blob)
        if blob is None:
            raise JTaskError(
                f"run {letter.run_id} cannot be replayed: its arguments are no longer kept"
            )
        return envelope, blob
    # It fitted into a message once, but this envelope has a header more, and the limit may be lower
    # by now.
    if len(envelope.encode()) <= client.inline_limit:
        return envelope, None
    return envelope.with_blob(old.payload), old.payload


def _recorded(envelope: Envelope, blob: bytes | None) -> str:
    """Return what the event of a replay says of its arguments, as that of its run did."""
    limit = get_settings().event_arguments
    if envelope.serializer != "json" or not limit:
        return ""
    return recorded(envelope.payload if blob is None else blob, limit, envelope.redact)


async def _is_current(broker: Broker, letter_id: str, run_id: str) -> bool:
    """Tell whether a replay is the one that counts, and make sure that it stays the one."""
    while True:
        record = await broker.records.get(_BUCKET, letter_id)
        if record is None:
            return True  # so old that it is forgotten
        known = _read(record)
        if known.run_id != run_id:
            return False
        sealed = replace(known, enqueued=True).encode()
        if known.enqueued or await broker.records.put(
            _BUCKET, letter_id, sealed, revision=record.revision
        ):
            return True


def _read(record: Record) -> Replay:
    """Return what a record says; one that cannot be read is a replay that was begun long ago."""
    facts = known_fields(record.body)
    run_id, at = str(facts.get("run_id")), finite(facts.get("at")) or 0.0
    if not is_run_id(run_id) or at > time.time() + _CLOCKS:
        return Replay("", 0.0, enqueued=False)
    return Replay(run_id, at, facts.get("enqueued") is True)
