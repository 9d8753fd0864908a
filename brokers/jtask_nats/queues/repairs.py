"""Make the consumers of a worker work again, as after a reconnect, or when somebody deleted one."""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from jtask.background import BackgroundTasks, end_all
from jtask.errors import JTaskError
from jtask_nats.queues.pull_health import PullHealth
from jtask_nats.queues.puller import Puller
from jtask_nats.streams.session import Session

_PAUSE = (0.1, 2.0)  # seconds: first and longest
# Seconds after which consumers that were made again are looked at, one look after the other: the
# server deletes the folder of one that was deleted within the first second, or later if it is busy.
_LOOKS = (1.0, 5.0, 20.0)
_log = logging.getLogger("jtask.worker")


class Repairs:
    """Repair the consumers whose pullers are broken, until none is.

    Those of each stream by themselves: one may have no leader just now.

    Args:
        session: To the server.
        pullers: Those of the worker, by queue, as they are now.
        health: Is told what cannot be pulled, and why.
        add: Called with a queue and a priority of it that is found and has no puller yet.
        on_reset: Called with each puller that may pull again.
        pull: Called once some may.
    """

    def __init__(
        self,
        session: Session,
        pullers: Mapping[str, Sequence[Puller]],
        health: PullHealth,
        add: Callable[[str, int], None],
        on_reset: Callable[[Puller], None],
        pull: Callable[[], None],
    ) -> None:
        self._session = session
        self._queues = pullers
        self._health = health
        self._add = add
        self._on_reset = on_reset
        self._pull = pull
        self._loop = asyncio.get_running_loop()
        self._repairing: dict[str, asyncio.Task[None]] = {}
        """What repairs the consumers of a stream."""
        self._pauses = defaultdict[str, float](lambda: _PAUSE[0])
        self._last_logged = dict[str, str]()
        self._next_look: asyncio.TimerHandle | None = None
        self._background = BackgroundTasks()

    def begin(self, puller: Puller, reason: str) -> None:
        """Repair a broken puller, with the others of its stream that are; returns at once.

        Args:
            puller: It is marked as broken.
            reason: Why it is.
        """
        _log.debug("cannot pull from %s_%s: %s", puller.queue, puller.priority, reason)
        again = self._health.is_suspect(puller)
        self._health.suspect(puller, f"runs of queue {puller.queue!r} cannot be pulled: {reason}")
        stream = self._session.topology.run_streams.of(puller.queue)
        if stream not in self._repairing:
            first, longest = _PAUSE
            self._pauses[stream] = min(2 * self._pauses[stream], longest) if again else first
            repairing = self._loop.create_task(self._repair_until_done(stream))
            self._repairing[stream] = repairing

    async def stop(self) -> None:
        """Repair nothing any more."""
        await end_all(list(self._repairing.values()))
        if self._next_look is not None:
            self._next_look.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    def _queues_of(self, stream: str) -> Sequence[str]:
        stream_of = self._session.topology.run_streams.of
        return [queue for queue in self._queues if stream_of(queue) == stream]

    def _pullers_of(self, queues: Iterable[str]) -> list[Puller]:
        return [puller for queue in queues for puller in self._queues[queue]]

    async def _repair_until_done(self, stream: str) -> None:
        # A stream that is made again while the server still deletes the old one takes no batches.
        # And the pause grows for what breaks again before it has been answered.
        await asyncio.sleep(self._pauses[stream])
        queues = self._queues_of(stream)
        pause, longest = _PAUSE
        try:
            # Once at least: what was announced while we were away must be found even where pulling
            # goes on by itself.
            is_looked_at = False
            while not is_looked_at or any(one.is_broken for one in self._pullers_of(queues)):
                try:
                    await self._repair(stream, queues)
                    is_looked_at = True
                except JTaskError as error:
                    self._report_problem(stream, queues, str(error))
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, longest)
            self._last_logged.pop(stream, None)
        finally:
            del self._repairing[stream]
        self._pull()

    def _report_problem(self, stream: str, queues: Sequence[str], reason: str) -> None:
        for puller in self._pullers_of(queues):
            if puller.is_broken:
                self._health.suspect(puller, reason)
        if reason not in self._last_logged.values():
            _log.warning("cannot consume: %s", reason)
        self._last_logged[stream] = reason

    async def _repair(self, stream: str, queues: Sequence[str]) -> None:
        topology = self._session.topology
        # The stream may be what is missing.
        await topology.recheck(stream)
        await topology.ensure_runs(*queues)
        await self._discover_priorities(queues)
        broken = [puller for puller in self._pullers_of(queues) if puller.is_broken]
        for puller in broken:
            await topology.ensure_consumer(puller.queue, puller.priority, owner=True)
            # Reset only now: pulls at a consumer that is missing would break it again. Unless it
            # has come back meanwhile.
            if puller.is_broken:
                puller.reset()
                self._on_reset(puller)
        if broken:
            self._pull()
            self._look_again_later(_LOOKS)

    async def _discover_priorities(self, queues: Sequence[str]) -> None:
        known = {(puller.queue, puller.priority) for puller in self._pullers_of(queues)}
        for queue, priority in await self._session.topology.consumers.priorities(queues):
            if (queue, priority) not in known:
                self._add(queue, priority)

    def _look_again_later(self, pauses: Sequence[float]) -> None:
        """Look at the consumers once more: one made again may have lost its folder since."""
        if self._next_look is not None:
            self._next_look.cancel()  # too early for what was made just now
        self._next_look = None
        if pauses:
            self._next_look = self._loop.call_later(pauses[0], self._look_again, pauses[1:])

    def _look_again(self, pauses: Sequence[float]) -> None:
        self._background.start(self._ensure_consumers())
        self._look_again_later(pauses)

    async def _ensure_consumers(self) -> None:
        streams = self._session.topology.run_streams.of_queues(self._queues)
        await asyncio.gather(*map(self._ensure_consumers_of, streams.values()))

    async def _ensure_consumers_of(self, queues: Sequence[str]) -> None:
        topology = self._session.topology
        # If that is not possible just now, they break again, and are repaired again.
        with contextlib.suppress(JTaskError):
            for puller in self._pullers_of(queues):
                await topology.ensure_consumer(puller.queue, puller.priority, owner=True)
