"""Cancel runs and run them again: one, those that are selected, or all that a filter takes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

from jtask.client import Client, get_client
from jtask.errors import BrokerError, JTaskError
from jtask.run_filters import RunFilter
from jtask_console.actions.action import Action, Given, Tell
from jtask_console.actions.reruns import rerun_with
from jtask_console.actions.run_lists import ListedRun, RunList
from jtask_console.live.hub import RUNS
from jtask_console.run_index import RunIndex
from jtask_index.rerunning import rerun

_PAUSE = 1.0  # seconds before a broker is asked again that did not answer
_log = logging.getLogger("jtask.console")
_AT_ONCE = 32  # runs; each takes some round trips

Deal = Callable[[Client, ListedRun], Awaitable[str]]
"""Does what is to be done to one run, and says in a few words what came of it."""


class RunActions:
    """What people do to runs.

    Args:
        index: Where runs are found.
    """

    def __init__(self, index: RunIndex) -> None:
        self._index = index
        self.actions = (
            Action("cancel runs", "/runs/cancel", _target, self._cancel, (RUNS,)),
            Action("rerun runs", "/runs/rerun", _target, self._rerun, (RUNS,)),
        )

    async def _cancel(self, given: Given, tell: Tell) -> str:
        async def deal(client: Client, listed: ListedRun) -> str:
            message = f"cancelled by {given.who}"
            answer = await client.bridge(client.cancel(listed.run_id, message))
            return str(answer.result)

        return await self._each(given, tell, deal)

    async def _rerun(self, given: Given, tell: Tell) -> str:
        arguments = given["arguments"] if len(given.runs) == 1 else ""

        async def deal(client: Client, listed: ListedRun) -> str:
            run = await self._index.ask(lambda index: index.run(listed.run_id))
            if run is None:
                return "not in the index any more"
            if arguments:
                new = rerun_with(client, run, listed.new_run_id, arguments)
            else:
                new = rerun(client, run, listed.new_run_id)
            return await client.bridge(new)

        return await self._each(given, tell, deal)

    async def _each(self, given: Given, tell: Tell, deal: Deal) -> str:
        runs = RunList(self._index, given.operation_id)
        done, total = await runs.count()
        if total == 0:  # else it is resumed
            total = await self._fill(runs, given)
        tell(done, total)
        limit = asyncio.Semaphore(_AT_ONCE)

        async def result_of(listed: ListedRun) -> str:
            nonlocal done
            async with limit:
                result = await _result_of(deal, listed)
            done += bool(result)
            tell(done, total)
            return result

        while listed := await runs.open_runs():
            # Written down together: broken off before that, they are dealt with again, which
            # changes nothing.
            results = await asyncio.gather(*map(result_of, listed))
            dealt = {one.run_id: it for one, it in zip(listed, results, strict=True) if it}
            await runs.settle(dealt)
            if not dealt:
                await asyncio.sleep(_PAUSE)
        return _said(await runs.results(), total)

    async def _fill(self, runs: RunList, given: Given) -> int:
        if given["all"]:
            return await runs.fill_with(wanted_now(given["filter"]))
        return await runs.fill(given.runs)


def wanted_now(query: str) -> RunFilter:
    """Return a filter that takes no run that is made from now on.

    Args:
        query: The filter, as in an address.

    Raises:
        FilterError: It is none.
    """
    wanted = RunFilter.from_query(query).fixed()
    return wanted if wanted.until else replace(wanted, until=datetime.now(UTC).isoformat())


async def _result_of(deal: Deal, listed: ListedRun) -> str:
    try:
        return await deal(get_client(), listed)
    except BrokerError as error:
        _log.warning("run %s has to wait: %s", listed.run_id, error)
        return ""  # later
    except JTaskError as error:
        return str(error)


def _target(given: Given) -> str:
    if given["all"]:
        return given["filter"] or "all runs"
    return ", ".join(given.runs)


def _said(results: dict[str, int], total: int) -> str:
    if not total:
        return "No run is meant: select some."
    return "; ".join(f"{count} {result}" for result, count in sorted(results.items())) + "."
