"""Send prepared runs: what plugins claim for them, their arguments, their messages, the news."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, cast

from jtask.client.claims import ClaimedRun
from jtask.client.enqueueing import OutgoingGroup, OutgoingRun, put_arguments
from jtask.client.run_groups import RunGroup
from jtask.contract import Broker, Event, MessageGroup, PreparedRuns
from jtask.errors import BrokerUnavailable, JTaskError
from jtask.runs import Run
from jtask.states import StateName

_SCHEDULED = StateName.SCHEDULED.value
_Sending = Coroutine[Any, Any, list[Run[Any]]]
_PARKED = "it waits for its turn"


class RunSender:
    """Send runs; on the I/O loop.

    Args:
        broker: Where they go.
        track: Called with the handle of each run that is about to be stored.
        record: Takes the events of the runs that are stored.
    """

    def __init__(
        self,
        broker: Broker,
        track: Callable[[Run[Any]], None],
        record: Callable[[Sequence[Event]], None],
    ) -> None:
        self._broker = broker
        self._track = track
        self._record = record
        # Optional in the contract.
        self._prepare: Callable[[MessageGroup], PreparedRuns | None] | None
        self._prepare = getattr(broker.runs, "prepare_enqueue", None)

    async def send(self, prepared: Sequence[OutgoingRun]) -> list[Run[Any]]:
        """Store runs, all or none; durable on return.

        Args:
            prepared: At most ATOMIC_LIMIT runs.

        Returns:
            list[Run[Any]]: A handle each, in order; that of another run where a plugin has answered
            with one.

        Raises:
            BrokerError: They are not stored, or may be: see `RunQueue.enqueue`.
            JTaskError: A plugin refused one of them, and none is stored.
        """
        if any(run.claims for run in prepared):
            return await self._send_claimed(prepared)
        await self._store(prepared)
        return [run.handle for run in prepared]

    def prepare(self, group: OutgoingGroup) -> Callable[[], _Sending]:
        """Do what sending needs no loop for; in any thread but the loop's.

        Args:
            group: At most ATOMIC_LIMIT runs.

        Returns:
            Callable: Begins to send, in any thread, and returns a coroutine that does the rest on
            the loop, as `send` does.
        """
        if not isinstance(group, RunGroup):
            return partial(self.send, group)
        ready = None if self._prepare is None else self._prepare(group)
        return partial(self._begin, group, ready)

    def _begin(self, group: RunGroup, ready: PreparedRuns | None) -> _Sending:
        # Before they are sent: they may end at once.
        for handle in group.handles:
            self._track(handle)
        if ready is None:
            return self._finish(group, partial(self._broker.runs.enqueue, group))
        ready.begin()
        return self._finish(group, ready.finish)

    async def _finish(
        self, group: RunGroup, store: Callable[[], Coroutine[Any, Any, None]]
    ) -> list[Run[Any]]:
        # Called here, on the loop: a broker need not expect it anywhere else.
        await store()
        # Last, for what was not stored has not happened.
        self._record(group.events())
        return group.handles

    async def _send_claimed(self, prepared: Sequence[OutgoingRun]) -> list[Run[Any]]:
        claimed = [ClaimedRun(run, run.claims, self._broker) for run in prepared]
        instead = await _take_all(claimed)
        sent = [run for run in claimed if run.run_id not in instead]
        wanted = {run.run_id for run in sent}
        try:
            await self._store([run for run in prepared if run.run_id in wanted])
        except BrokerUnavailable:
            raise  # they may be stored
        except JTaskError:
            await _withdraw_all(sent)
            raise
        answers = await asyncio.gather(*(run.sent() for run in sent))
        instead |= {run.run_id: other for run, other in zip(sent, answers, strict=True) if other}
        return [_handle(run.handle, instead) for run in prepared]

    async def _store(self, prepared: Sequence[OutgoingRun]) -> None:
        if not prepared:
            return
        # Before they are sent: they may end at once.
        for run in prepared:
            self._track(run.handle)
        large = [run for run in prepared if run.blob is not None]
        # Before the messages: a worker may have those at once, and wants the arguments.
        for run in large:
            await put_arguments(self._broker, run, cast("bytes", run.blob))
        try:
            await self._broker.runs.enqueue(prepared)
        except BrokerUnavailable:
            raise  # they may be stored
        except JTaskError:
            for run in large:
                await self._broker.blobs.delete(f"{run.run_id}.args")
            raise
        # Last, for what was not stored has not happened.
        self._record([scheduled(run) for run in prepared])


def scheduled(run: OutgoingRun) -> Event:
    """Return the event of a run that is stored."""
    detail = "" if run.parked_under is None else _PARKED
    # By position, for names would take as long again; every run that is sent comes by.
    return Event(
        run.run_id,
        _SCHEDULED,
        run.created,
        run.task_key,
        1,
        "",
        detail,
        run.at,
        *run.about,
        run.queue,
        "",
        run.arguments,
        "",
        run.trace_id,
    )


async def _take_all(claimed: Sequence[ClaimedRun]) -> dict[str, str]:
    """Take the claims of all runs or of none; return the runs that are there instead of some."""
    answers = await asyncio.gather(*(run.take() for run in claimed), return_exceptions=True)
    instead: dict[str, str] = {}
    for run, answer in zip(claimed, answers, strict=True):
        if isinstance(answer, BaseException):
            await _withdraw_all(claimed)
            raise answer
        if answer is not None:
            instead[run.run_id] = answer
    return instead


async def _withdraw_all(claimed: Sequence[ClaimedRun]) -> None:
    await asyncio.gather(*(run.withdraw() for run in claimed))


def _handle(handle: Run[Any], instead: Mapping[str, str]) -> Run[Any]:
    run_id = handle.run_id
    # One of the same call may have been answered with another run itself.
    for _ in range(len(instead)):
        if run_id not in instead:
            break
        run_id = instead[run_id]
    return handle if run_id == handle.run_id else handle.sibling(run_id)
