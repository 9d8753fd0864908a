"""The latest report of each run on its way to the broker: a few a second, never waited for."""

import asyncio
import logging
from typing import TYPE_CHECKING

from jtask.errors import JTaskError
from jtask.wire.progress import BUCKET, Progress

if TYPE_CHECKING:
    from jtask.client import Client
    from jtask.runtime import RunContext

HEADER = "jtask-progress"
"""No message has it: by it jtask asks this plugin about the runs that have reported."""
_NOTE = "progress"
_PAUSE = 0.25  # seconds between two reports of a run that are stored
_log = logging.getLogger("jtask")


class Reports:
    """Stores the latest report of one attempt.

    Args:
        run_id: Whose.
        client: This process's.
    """

    def __init__(self, run_id: str, client: "Client") -> None:
        self._run_id = run_id
        self._client = client
        self._latest: Progress | None = None
        self._is_armed = False
        self._is_over = False
        self._storing: asyncio.Task[None] | None = None

    def add(self, progress: Progress) -> None:
        """Store a report soon, unless another one comes before; from any thread."""
        self._latest = progress
        # No lock: two threads that both arm it begin one task, see `_start`.
        if not self._is_armed:
            self._is_armed = True
            self._client.io.post(self._start)

    def finish(self) -> None:
        """Store the last one without a pause; from any thread."""
        self._is_over = True

    def _start(self) -> None:
        if self._storing is None or self._storing.done():
            self._storing = self._client.io.loop.create_task(self._store())

    async def _store(self) -> None:
        while (latest := self._latest) is not None:
            self._latest = None
            await self._put(latest)
            # In short steps, so that the last one of an attempt does not come long after its end.
            for _ in range(5):
                if not self._is_over:
                    await asyncio.sleep(_PAUSE / 5)
        self._is_armed = False
        if self._latest is not None:  # between the last look and this
            self._client.io.post(self._start)

    async def _put(self, progress: Progress) -> None:
        client = self._client
        try:
            ttl = client.settings.result_ttl
            await client.broker.records.put(BUCKET, self._run_id, progress.encode(), ttl=ttl)
        except JTaskError as error:
            _log.debug("the progress of run %s is not stored: %s", self._run_id, error)


def take(run: "RunContext", progress: Progress) -> None:
    """Take a report of a run: for the broker, or in a child process for the worker."""
    if run.is_copy:
        from jtask_progress.relay import put

        put(run, progress)
        return
    reports: Reports | None = run.notes.get(_NOTE)
    if reports is None:
        reports = _first(run)
    if reports is not None:
        reports.add(progress)


def finish(run: "RunContext") -> None:
    """Have the last report of an attempt stored."""
    reports: Reports | None = run.notes.pop(_NOTE, None)
    if reports is not None:
        reports.finish()


def _first(run: "RunContext") -> Reports | None:
    from jtask.client import current_client

    client = current_client()
    if client is None:
        return None  # a direct call of a program that is not connected: nobody is to read it
    run.concern(HEADER)
    # Of two threads that come here at once, both get the first one's.
    found: Reports = run.notes.setdefault(_NOTE, Reports(run.run_id, client))
    return found
