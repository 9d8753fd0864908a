"""Whether what open pages show can be so: the broker answers, and the index keeps up with it."""

import asyncio
from collections.abc import Callable

from jtask.client import get_client
from jtask.errors import JTaskError
from jtask_console.threaded_index import ThreadedIndex

_CHECK = 5.0  # seconds between two questions to a broker that may only be silent
_LAG = "the index of runs is behind the event log"


class Liveness:
    """Finds out while somebody looks; used on the console's loop.

    Attributes:
        trouble: Why pages may be out of date; empty while all is well.

    Args:
        index: What pages are made from.
        tell_all: Tells all pages to look again.
    """

    def __init__(self, index: ThreadedIndex, tell_all: Callable[[], None]) -> None:
        self.trouble = ""
        self._index = index
        self._tell_all = tell_all
        self._work: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._work = asyncio.get_running_loop().create_task(self._watch())

    def stop(self) -> None:
        """Look no longer."""
        work, self._work = self._work, None
        if work is not None:
            work.cancel()

    async def _watch(self) -> None:
        # How far the log had come at the last look: the index has had time to take that in.
        due = 0
        while True:
            try:
                client = get_client()
                last = (await client.bridge(client.broker.events.bounds())).last
                position = await self._index.ask(lambda index: index.position())
            except JTaskError as error:
                trouble = str(error)
            else:
                is_behind = due > 0 and (position is None or position.position < due)
                trouble, due = _LAG if is_behind else "", last
            if trouble != self.trouble:
                self.trouble = trouble
                self._tell_all()
            await asyncio.sleep(_CHECK)
