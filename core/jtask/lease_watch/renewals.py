"""The renewals that the watch has done, through the broker's renewer."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from jtask.errors import JTaskError
from jtask.lease_watch.assignment import Assignment
from jtask.lease_watch.renewer import Renew, load

_log = logging.getLogger("jtask")


class RenewalThread:
    """Renew on request, in a thread: a slow broker must not stop the watch.

    It connects at once, to be ready.

    Args:
        assignment: How to renew.
        claims: Returns what to renew.
    """

    def __init__(self, assignment: Assignment, claims: Callable[[], Sequence[str]]) -> None:
        self._assignment = assignment
        self._claims = claims
        self._loop = asyncio.new_event_loop()
        self._renewals: Renewals | None = None
        self._thread = threading.Thread(target=self._run, name="jtask-renewals", daemon=True)
        self._thread.start()

    def request(self) -> None:
        """Renew soon."""
        self._loop.call_soon_threadsafe(self._request)

    def close(self, timeout: float) -> None:
        """Close the renewer.

        Args:
            timeout: Seconds that this may take.
        """
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout)

    def _request(self) -> None:
        if self._renewals is not None:
            self._renewals.request()

    def _run(self) -> None:
        config = json.loads(self._assignment.config)
        lease = self._assignment.lease
        asyncio.set_event_loop(self._loop)
        self._renewals = Renewals(self._assignment.renewer, config, lease, self._claims)
        self._renewals.prepare()
        renewing = self._loop.create_task(self._renewals.run())
        self._loop.run_forever()
        renewing.cancel()
        self._loop.run_until_complete(asyncio.wait([renewing]))


class Renewals:
    """Renew on request; everything on one loop.

    Args:
        renewer: What opens the broker's renewer, as `module:name`.
        config: What it is called with.
        lease: Seconds; a renewal that takes longer comes too late.
        claims: Returns what to renew.
    """

    def __init__(
        self, renewer: str, config: Any, lease: float, claims: Callable[[], Sequence[str]]
    ) -> None:
        self._renewer = renewer
        self._config = config
        self._lease = lease
        self._claims = claims
        self._wanted = asyncio.Event()
        self._due = asyncio.Event()
        self._failing = False

    def prepare(self) -> None:
        """Connect soon, to be ready."""
        self._wanted.set()

    def request(self) -> None:
        """Renew soon; connect first if need be, then the next request is met."""
        self._wanted.set()
        self._due.set()

    async def run(self) -> None:
        """Meet requests until cancelled."""
        while True:
            await self._wanted.wait()
            try:
                async with load(self._renewer)(self._config) as renew:
                    await self._meet_requests(renew)
            # Whatever a broker's code raises must not end the guard: the next beat tries again.
            except Exception as error:
                self._report(error)
            self._wanted.clear()

    async def _meet_requests(self, renew: Renew) -> None:
        while True:
            # A request that was made meanwhile is old, and the worker may be stopped by now. If it
            # still holds, the next beat repeats it.
            self._due.clear()
            await self._due.wait()
            async with asyncio.timeout(self._lease):
                renewal = renew(self._claims())
                if renewal is not None:
                    await renewal
            self._failing = False

    def _report(self, error: Exception) -> None:
        """Log the first of several failures in a row; there may be one with each beat."""
        if not self._failing:
            self._failing = True
            is_bug = not isinstance(error, JTaskError | TimeoutError)
            _log.warning("the lease guard cannot renew: %r", error, exc_info=is_bug)
