"""What a worker that was lost has written to the log of a run: it could not hand that on."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from jtask.background import BackgroundTasks
from jtask.contract import LogStore
from jtask.errors import BrokerError

if TYPE_CHECKING:
    from jtask.runtime import RunContext

NOTES = "jtask.logs"
"""The logger's name of what is said about the log itself, which is no part of what was written."""

_counting = BackgroundTasks()
_log = logging.getLogger("jtask")


def count_lines(run: "RunContext", found: Callable[[int], None]) -> None:
    """Count what is in a run's log of others than its present attempt; nobody waits for it.

    Args:
        run: The run.
        found: Called on the I/O thread with the number of characters.
    """
    from jtask.client import current_client

    client = current_client()
    if client is not None:
        # By value: the run is on the way to its next attempt, or over, before the answer comes.
        counting = run.run_id, run.attempt, run.worker
        client.io.post(lambda: _counting.start(_count(client.broker.logs, counting, found)))


async def _count(
    logs: LogStore, counting: tuple[str, int, str], found: Callable[[int], None]
) -> None:
    run_id, *present = counting
    count = 0
    try:
        async for page in logs.read(run_id):
            count += sum(
                len(line.message)
                for line in page.lines
                if [line.attempt, line.worker] != present and line.logger != NOTES
            )
    except BrokerError as error:
        _log.debug("what run %s has logged before is not known: %s", run_id, error)
    found(count)
