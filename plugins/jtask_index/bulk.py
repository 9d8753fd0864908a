"""Act on many runs: chosen and noted first, with who wants it, then dealt with one by one.

Whoever comes next goes on with what was interrupted: the command line, or a console. What is dealt
with is not dealt with again, and what has to wait for the broker waits.
"""

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple, Protocol, TypeVar

from jtask.bulk_actions import BulkAction, BulkItem
from jtask.client import get_client
from jtask.errors import (
    BrokerError,
    BrokerTooOld,
    IndexUnavailable,
    JTaskError,
    MessageRefused,
    PermissionDenied,
)
from jtask.ids import get_run_ids
from jtask.plugins import get_plugins
from jtask.run_filters import RunFilter
from jtask.run_index import RunPage
from jtask_index.operations import CLAIM_SECONDS, Operation, OperationLog, new_operation
from jtask_index.reader import IndexReader
from jtask_index.run_actions import is_meant, run_actions

T = TypeVar("T")
PAGE = 1000  # runs that are chosen at once
_AT_ONCE = 32  # runs; what was done of these and not yet noted is looked at again when resumed
_PAUSE = 1.0  # seconds before a broker is asked again that did not answer
# What a broker answers another time as well: to wait for it would be to wait for ever.
_FOR_GOOD = (MessageRefused, PermissionDenied, BrokerTooOld)
_log = logging.getLogger("jtask.index")


class Ask(Protocol):
    """Asks the index, in a thread, from any loop."""

    async def __call__(self, question: Callable[[IndexReader], T], /) -> T:
        """Return the answer to a question."""
        ...


class Progress(NamedTuple):
    """How far an operation is.

    Attributes:
        done: How many runs are dealt with.
        total: Of how many.
        problem: Why the others wait; empty while they do not.
    """

    done: int
    total: int
    problem: str = ""


Tell = Callable[[Progress], None]


class BulkOperations:
    """Begin operations on many runs, and carry them out.

    Args:
        ask: Asks the index in which they are noted.
        actions: What can be done, besides cancelling and rerunning runs.
    """

    def __init__(self, ask: Ask, actions: Iterable[BulkAction] = ()) -> None:
        self._ask = ask
        self._actions = {action.kind: action for action in (*run_actions(ask), *actions)}
        self._claim = secrets.token_hex(8)

    @property
    def kinds(self) -> list[str]:
        """What can be done."""
        return list(self._actions)

    async def begin(
        self, kind: str, wanted: RunFilter, who: str, *, arguments: str = ""
    ) -> Operation:
        """Note that something is to be done to all runs that a filter takes now.

        Args:
            kind: What is to be done.
            wanted: Which.
            who: On whose behalf.
            arguments: JSON that takes the place of the runs' own; empty where those stay.

        Returns:
            Operation: To be carried out, which begins with choosing the runs.
        """
        return await self._note(new_operation(kind, _until_now(wanted).to_query(), who), arguments)

    async def begin_with(
        self, kind: str, run_ids: Sequence[str], who: str, *, about: str = "", arguments: str = ""
    ) -> Operation:
        """Note that something is to be done to some runs.

        Args:
            kind: What is to be done.
            run_ids: To which.
            who: On whose behalf.
            about: What they are, for people; empty lists them.
            arguments: JSON that takes the place of the runs' own; empty where those stay.
        """
        run_ids = list(dict.fromkeys(run_ids))
        operation = new_operation(kind, about or ", ".join(run_ids), who)
        chosen = operation._replace(runs=len(run_ids), chosen=operation.at)
        return await self._note(chosen, arguments, self._with_new_ids(kind, run_ids))

    async def carry_out(self, operation: Operation, tell: Tell) -> Counter[str]:
        """Do what is not done of an operation.

        Args:
            operation: Begun just now, or before by a process that ended in the middle.
            tell: Told how far it is, again and again.

        Returns:
            Counter: How many of all its runs came to what.

        Raises:
            IndexUnavailable: The database cannot be reached; resume it later.
            JTaskError: Another process carries it out, or it is of a kind that is not known here.
        """
        action = self._actions.get(operation.kind)
        if action is None:
            raise JTaskError(
                f"operation {operation.operation_id} ({operation.kind}) is none that somebody else "
                f"can go on with: do it again if it is not done"
            )
        async with self._claimed(operation.operation_id) as is_mine:
            current = await self._in_log(lambda log: log.find(operation.operation_id))
            if current.finished is None:
                if current.chosen is None:
                    current = await self._choose(current)
                await self._deal_with_all(action, current, is_mine, tell)
                await self._in_log(lambda log: log.end(operation.operation_id))
        return await self._in_log(lambda log: log.results(operation.operation_id))

    async def _note(
        self, operation: Operation, arguments: str, items: Sequence[tuple[str, str]] = ()
    ) -> Operation:
        until = operation.at + CLAIM_SECONDS
        noted = operation._replace(arguments=arguments, claim=self._claim, claimed_until=until)
        await self._in_log(lambda log: log.begin(noted, items))
        return noted

    async def _choose(self, operation: Operation) -> Operation:
        # Begun before and interrupted, this finds the same runs again, which keep their new ids.
        wanted, after = RunFilter.from_query(operation.filter), None
        while True:
            page = await self._ask(_page(wanted, after))
            run_ids = [run.run_id for run in page.runs if is_meant(operation.kind, run)]
            items = self._with_new_ids(operation.kind, run_ids)
            await self._in_log(_adding(operation.operation_id, items))
            if page.after is None:
                break
            after = page.after
        runs = await self._in_log(lambda log: log.close_choice(operation.operation_id))
        return operation._replace(runs=runs)

    def _with_new_ids(self, kind: str, run_ids: Sequence[str]) -> list[tuple[str, str]]:
        if not self._actions[kind].enqueues:
            return [(run_id, "") for run_id in run_ids]
        return list(zip(run_ids, get_run_ids().new_many(len(run_ids)), strict=True))

    async def _deal_with_all(
        self, action: BulkAction, operation: Operation, is_mine: asyncio.Event, tell: Tell
    ) -> None:
        results = await self._in_log(lambda log: log.results(operation.operation_id))
        done = operation.runs - results[""]
        tell(Progress(done, operation.runs))
        while items := await self._in_log(_open_items(operation, action)):
            if not is_mine.is_set():
                raise JTaskError(f"another process carries out operation {operation.operation_id}")
            settled, problem = await get_client().bridge(_deal_with(action, items))
            await self._in_log(_settling(operation.operation_id, settled))
            done += len(settled)
            tell(Progress(done, operation.runs, problem))
            if not settled:
                await asyncio.sleep(_PAUSE)

    @asynccontextmanager
    async def _claimed(self, operation_id: str) -> AsyncGenerator[asyncio.Event]:
        """Be the one who carries an operation out."""
        is_mine = asyncio.Event()
        await self._wait_for_claim(operation_id)
        is_mine.set()
        renewing = asyncio.create_task(self._renew(operation_id, is_mine))
        try:
            yield is_mine
        finally:
            renewing.cancel()
            await self._in_log(lambda log: log.release(operation_id, self._claim))

    async def _wait_for_claim(self, operation_id: str) -> None:
        clock = asyncio.get_running_loop().time
        # Longer than a process that was killed is believed to live.
        until = clock() + 2 * CLAIM_SECONDS
        while True:
            if await self._in_log(lambda log: log.claim(operation_id, self._claim)):
                return
            if (await self._in_log(lambda log: log.find(operation_id))).finished is not None:
                return
            if clock() >= until:
                raise JTaskError(f"another process carries out operation {operation_id}")
            await asyncio.sleep(_PAUSE)

    async def _renew(self, operation_id: str, is_mine: asyncio.Event) -> None:
        while is_mine.is_set():
            await asyncio.sleep(CLAIM_SECONDS / 4)
            try:
                if not await self._in_log(lambda log: log.claim(operation_id, self._claim)):
                    is_mine.clear()
            except IndexUnavailable as error:
                _log.debug("the claim of %s cannot be renewed: %s", operation_id, error)

    async def _in_log(self, question: Callable[[OperationLog], T]) -> T:
        return await self._ask(lambda index: question(OperationLog(index.engine)))


def known_actions() -> list[BulkAction]:
    """Return what the plugins of this process can do to many runs."""
    declared = get_plugins().manager.hook.jtask_bulk_actions()
    return [action for actions in declared for action in actions]


async def _deal_with(action: BulkAction, items: Sequence[BulkItem]) -> tuple[dict[str, str], str]:
    """Return what came of some by their ids, and why others have to wait."""
    answers = await asyncio.gather(*(_result_of(action, item) for item in items))
    settled = {
        item.run_id: answer
        for item, answer in zip(items, answers, strict=True)
        if not isinstance(answer, BrokerError)
    }
    problems = [str(answer) for answer in answers if isinstance(answer, BrokerError)]
    return settled, problems[0] if problems else ""


async def _result_of(action: BulkAction, item: BulkItem) -> str | BrokerError:
    try:
        return await action.act(item)
    except _FOR_GOOD as error:
        return str(error)
    except BrokerError as error:
        return error
    except IndexUnavailable:
        raise
    except JTaskError as error:
        return str(error)
    except Exception as error:
        # One that cannot be dealt with stops no other, and is not tried for ever.
        _log.exception("%s: run %s cannot be dealt with", action.kind, item.run_id)
        return f"{type(error).__name__}: {error}"


def _page(wanted: RunFilter, after: str | None) -> Callable[[IndexReader], RunPage]:
    return lambda index: index.runs(wanted, after=after, limit=PAGE)


def _adding(operation_id: str, items: Sequence[tuple[str, str]]) -> Callable[[OperationLog], None]:
    return lambda log: log.add(operation_id, items)


def _open_items(
    operation: Operation, action: BulkAction
) -> Callable[[OperationLog], list[BulkItem]]:
    return lambda log: log.open_items(operation, _AT_ONCE, newest_first=action.newest_first)


def _settling(operation_id: str, results: dict[str, str]) -> Callable[[OperationLog], None]:
    return lambda log: log.settle(operation_id, results)


def _until_now(wanted: RunFilter) -> RunFilter:
    """Return a filter that takes the same runs later: none that is made from now on."""
    wanted = wanted.fixed()
    return wanted if wanted.until else replace(wanted, until=datetime.now(UTC).isoformat())
