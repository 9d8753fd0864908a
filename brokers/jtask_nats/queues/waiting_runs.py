"""List the runs that no worker holds, without taking any."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from jtask.contract import RunPlace, WaitingRun, check_queue
from jtask.errors import PermissionDenied
from jtask.ids import is_run_id
from jtask_nats.client import headers
from jtask_nats.client.direct_reads import (
    StoredMessage,
    find_last_message,
    last_message,
    read_pages,
)
from jtask_nats.client.purging import Deleted
from jtask_nats.queues.deletion import delete_message
from jtask_nats.queues.holders import SHORT_PATIENCE, Holders
from jtask_nats.queues.over_streams import first_found, merged
from jtask_nats.queues.queue_counts import Level, is_run, level_of
from jtask_nats.streams.server_clock import ServerClock
from jtask_nats.streams.session import Session
from jtask_nats.streams.subjects import is_for_parked, last_token


class WaitingRuns:
    """The part of a `jtask.contract.Queues` that shows runs.

    A run behind the last one that its consumer delivered is held by nobody. For any other the
    workers are asked; one whose holder has died, or that was released, is held by nobody. What a
    worker takes while the hundreds of runs around it are looked through may still be shown.

    Args:
        session: To the server.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    async def waiting(self, queue: str | None = None) -> AsyncIterator[WaitingRun]:
        """Yield the waiting and delayed runs of one queue or of all, in the order of storing."""
        if queue is not None:
            check_queue(queue)
        topology = self._session.topology
        queues = [] if queue is None else [queue]
        await topology.ensure_runs(*queues)
        streams = topology.run_streams.of_queues(queues) or topology.run_streams.names
        subject = self._session.subjects.runs(queue or "*")
        holders = Holders(self._session, SHORT_PATIENCE)
        found = [self._waiting_in(stream, subject, holders) for stream in streams]
        try:
            async for stored in merged(found, lambda stored: stored.at):
                yield waiting_run(stored, topology.clock)
        finally:
            holders.close()

    async def find(self, run_id: str) -> WaitingRun | None:
        """Return a run that waits or is delayed; may show one that a worker holds."""
        stored = await self._last(run_id) if is_run_id(run_id) else None
        return None if stored is None else waiting_run(stored, self._session.topology.clock)

    async def locate(self, run_id: str) -> RunPlace | None:
        """Return a run that waits, is delayed or is in the hands of a worker."""
        if not is_run_id(run_id):
            return None
        stored = await self._last(run_id)
        return None if stored is None else await self._place(stored)

    async def _last(self, run_id: str) -> StoredMessage | None:
        await self._session.topology.ensure_runs()
        stored = await self._search(run_id)
        is_one = stored is not None and is_run(self._session.subjects, stored.subject)
        return stored if is_one else None

    async def _search(self, run_id: str) -> StoredMessage | None:
        """Read the last message of a run, in whichever stream it is."""
        session = self._session
        subject, streams = session.subjects.runs("*", run_id), session.topology.run_streams.names
        connection = session.connection
        return await first_found(find_last_message(connection, one, subject) for one in streams)

    async def _waiting_in(
        self, stream: str, subject: str, holders: Holders
    ) -> AsyncIterator[StoredMessage]:
        """Yield the runs of a stream that no worker holds."""
        session = self._session
        # A delayed run that comes due meanwhile is found again on its queue.
        seen: set[str] = set()
        async for page in read_pages(session.connection, stream, subject, to_the_last=True):
            # Others are set aside by the worker that gets them.
            page = newest([one for one in page if is_run(session.subjects, one.subject)])
            queued = [one for one in page if not session.subjects.is_schedule(one.subject)]
            in_hand = await self._in_hand(stream, queued, holders)
            for stored in page:
                run_id = last_token(stored.subject)
                if run_id not in in_hand and run_id not in seen:
                    seen.add(run_id)
                    yield stored

    async def _place(self, stored: StoredMessage) -> RunPlace:
        run = waiting_run(stored, self._session.topology.clock)
        if self._session.subjects.is_schedule(stored.subject):
            return RunPlace(run, in_hand=False)
        level = level_of(stored.subject)
        try:
            delivered = await self._delivered({level})
        except PermissionDenied:
            # Who may only enqueue cannot tell: the workers are asked.
            return RunPlace(run, in_hand=True)
        return RunPlace(run, in_hand=stored.sequence <= delivered[level])

    async def discard_unaddressed(self, queue: str) -> int:
        """Delete what is on a queue and cannot be a run; return how many messages that were."""
        check_queue(queue)
        session = self._session
        await session.topology.ensure_runs(queue)
        discarded = 0
        stream, subject = session.topology.run_streams.of(queue), session.subjects.runs(queue)
        async for page in read_pages(session.connection, stream, subject):
            for stored in page:
                # By its sequence, for nothing else addresses it alone.
                if not is_run(session.subjects, stored.subject):
                    deleted = await delete_message(session, stream, stored.sequence)
                    discarded += deleted is not Deleted.NO
        return discarded

    async def _in_hand(
        self, stream: str, queued: Sequence[StoredMessage], holders: Holders
    ) -> set[str]:
        """Return which of some runs in a stream a worker holds or has settled by now."""
        delivered = await self._delivered({level_of(one.subject) for one in queued})
        doubtful = {
            last_token(one.subject): one
            for one in queued
            if one.sequence <= delivered[level_of(one.subject)]
        }
        in_hand = await holders.held_of(doubtful.keys())
        for run_id in doubtful.keys() - in_hand:
            # Nobody holds it: released, or settled since the page was read.
            if not await self._is_there(stream, doubtful[run_id]):
                in_hand.add(run_id)
        return in_hand

    async def _delivered(self, levels: set[Level]) -> dict[Level, int]:
        """Return the last message that each consumer has delivered."""
        infos = {
            level: await self._session.topology.consumers.find(level[0], int(level[1]))
            for level in levels
        }
        return {
            level: 0 if info is None else int(info["delivered"]["stream_seq"])
            for level, info in infos.items()
        }

    async def _is_there(self, stream: str, stored: StoredMessage) -> bool:
        last = await last_message(self._session.connection, stream, stored.subject)
        return last is not None and last.sequence == stored.sequence


def newest(page: Sequence[StoredMessage]) -> list[StoredMessage]:
    """Return the last message of each run.

    One that has just been parked or delayed is stored twice, until the message that its worker held
    is gone.
    """
    last = {last_token(one.subject): one.sequence for one in page}
    return [one for one in page if last[last_token(one.subject)] == one.sequence]


def waiting_run(stored: StoredMessage, clock: ServerClock) -> WaitingRun:
    """Return a stored run as the contract shows it."""
    place, queue, _, run_id = stored.subject.rsplit(".", 3)
    at = instant_of(stored)
    at = None if at is None else clock.to_ours(at)
    if at is not None and at <= clock.time():
        at = None
    return WaitingRun(
        run_id,
        queue,
        at,
        stored.body,
        token=headers.token_of(stored.headers),
        is_parked=at is not None and is_for_parked(place),
    )


def instant_of(stored: StoredMessage) -> float | None:
    """Return the instant a run waits for, by jtask's header or else by the schedule itself."""
    millis = headers.number(stored.headers, headers.AT)
    return fires_at(stored) if millis is None else millis / 1000


def fires_at(stored: StoredMessage) -> float | None:
    """Return when a schedule fires, by the server's clock; None for what is none."""
    kind, _, instant = headers.text(stored.headers, b"Nats-Schedule").partition(" ")
    try:
        return datetime.fromisoformat(instant).timestamp() if kind == "@at" else None
    except ValueError:
        return None
