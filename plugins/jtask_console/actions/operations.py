"""Actions that are being performed: in the background, with how far each of them is."""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from jtask.background import BackgroundTasks
from jtask.errors import IndexUnavailable, JTaskError
from jtask.run_filters import RunFilter
from jtask_console.actions.action import Action, Choice, Given, ManyAction
from jtask_console.live.hub import ACTIONS
from jtask_console.threaded_index import ThreadedIndex
from jtask_index.bulk import BulkOperations, Progress, known_actions
from jtask_index.operations import CLAIM_SECONDS, Operation, OperationLog, new_operation

T = TypeVar("T")
AnyAction = Action | ManyAction
_QUICK = 1.0  # seconds for which whoever acts waits for the answer itself
_REMEMBERED = 100  # operations that are over
_log = logging.getLogger("jtask.console")


@dataclass(slots=True)
class Performed:
    """An action that is performed here.

    Attributes:
        entry: What the audit log has of it.
        done: How much is done.
        total: Of how much; 0 where that is not known.
        said: What came of it, or what it waits for.
        failed: Whether it was broken off.
        is_over: Set at its end.
    """

    entry: Operation
    done: int = 0
    total: int = 0
    said: str = ""
    failed: bool = False
    is_over: asyncio.Event = field(default_factory=asyncio.Event)


class Operations:
    """Performs actions; used on the console's loop.

    Args:
        index: Where each is noted.
        tell: Tells open pages that there is news of some topics.
    """

    def __init__(self, index: ThreadedIndex, tell: Callable[[Iterable[str]], None]) -> None:
        self._index = index
        self._tell = tell
        self._bulk = BulkOperations(index.ask, known_actions())
        self._background = BackgroundTasks()
        self.current: dict[str, Performed] = {}
        """Those that are not over, by their ids."""
        self._ended: deque[Performed] = deque(maxlen=_REMEMBERED)

    async def find(self, operation_id: str) -> Performed:
        """Return one, with what came of it where that is known here or noted.

        Raises:
            JTaskError: There is none with this id.
        """
        here = (*self.current.values(), *self._ended)
        known = next((one for one in here if one.entry.operation_id == operation_id), None)
        if known is not None:
            return known
        return await self._in_log(lambda log: _noted_of(log, operation_id))

    async def newest(self, limit: int) -> list[Operation]:
        """Return what was done by anybody, the newest first."""
        return await self._in_log(lambda log: log.newest(limit))

    async def start(self, action: AnyAction, given: Given) -> Performed:
        """Begin an action, and wait for its end if that is near.

        Args:
            action: Which.
            given: What it needs.

        Returns:
            Performed: It goes on in the background unless it is over.

        Raises:
            JTaskError: It cannot be noted, so it is not done; or it is about nothing.
        """
        if isinstance(action, ManyAction):
            entry = await self._noted(action.kind, await action.choose(given), given.who)
            performed = self._carry_out(entry, action.topics)
        else:
            entry = new_operation(action.kind, action.target(given), given.who)
            await self._in_log(lambda log: log.begin(entry))
            performed = self._begin(entry, action.topics, self._perform(action, given, entry))
        try:
            await asyncio.wait_for(performed.is_over.wait(), _QUICK)
        except TimeoutError:
            _log.debug("%s goes on in the background", action.kind)
        return performed

    async def take_over(self, actions: Sequence[AnyAction]) -> None:
        """Go on, again and again, with what others began and do not carry out any more.

        Args:
            actions: What is known here, for what there is news of.
        """
        topics = {action.kind: action.topics for action in actions}
        while True:
            try:
                unfinished = await self._in_log(lambda log: log.unfinished(self._bulk.kinds))
                for entry in unfinished:
                    if entry.operation_id not in self.current and not entry.is_carried_out:
                        self._carry_out(entry, topics.get(entry.kind, ()))
                if any(entry.operation_id not in self.current for entry in unfinished):
                    self._tell([ACTIONS])  # of how far others are
            except JTaskError as error:
                _log.debug("nobody can say what there is to go on with: %s", error)
            await asyncio.sleep(CLAIM_SECONDS)

    def start_taking_over(self, actions: Sequence[AnyAction]) -> None:
        """Do `take_over` in the background."""
        self._background.start(self.take_over(actions))

    def close(self) -> None:
        """Leave what is not over to whoever comes next."""
        self._background.cancel()

    async def _noted(self, kind: str, choice: Choice, who: str) -> Operation:
        if isinstance(choice.runs, RunFilter):
            return await self._bulk.begin(kind, choice.runs, who, arguments=choice.arguments)
        return await self._bulk.begin_with(
            kind, choice.runs, who, about=choice.about, arguments=choice.arguments
        )

    def _carry_out(self, entry: Operation, topics: Sequence[str]) -> Performed:
        async def carry_out(performed: Performed) -> str:
            def tell(progress: Progress) -> None:
                performed.done, performed.total, performed.said = progress
                self._tell([ACTIONS, *topics])

            return _said(await self._bulk.carry_out(entry, tell))

        return self._begin(entry, topics, carry_out)

    def _perform(
        self, action: Action, given: Given, entry: Operation
    ) -> Callable[[Performed], Coroutine[Any, Any, str]]:
        async def perform(performed: Performed) -> str:
            try:
                said, performed.done = await action.perform(given)
            finally:
                await self._in_log(lambda log: log.end(entry.operation_id, performed.done))
            return said

        return perform

    def _begin(
        self,
        entry: Operation,
        topics: Sequence[str],
        work: Callable[[Performed], Coroutine[Any, Any, str]],
    ) -> Performed:
        performed = self.current[entry.operation_id] = Performed(entry)
        self._background.start(self._watched(performed, topics, work(performed)))
        return performed

    async def _watched(
        self, performed: Performed, topics: Sequence[str], work: Coroutine[Any, Any, str]
    ) -> None:
        kind = performed.entry.kind
        try:
            performed.said = await work
        except IndexUnavailable as error:
            _log.warning("%s has to wait: %s", kind, error)
            performed.said, performed.failed = str(error), True
        except JTaskError as error:
            performed.said, performed.failed = str(error), True
        except Exception as error:
            _log.exception("%s was broken off", kind)
            performed.said, performed.failed = f"{type(error).__name__}: {error}", True
        finally:
            self._ended.append(self.current.pop(performed.entry.operation_id))
            performed.is_over.set()
            self._tell([ACTIONS, *topics])

    async def _in_log(self, question: Callable[[OperationLog], T]) -> T:
        return await self._index.ask(lambda index: question(OperationLog(index.engine)))


def _noted_of(log: OperationLog, operation_id: str) -> Performed:
    entry = log.find(operation_id)
    results = log.results(operation_id)
    open_runs = results.pop("", 0)
    noted = Performed(entry, entry.runs - open_runs, entry.runs, _said(results) if results else "")
    if entry.finished is not None:
        noted.is_over.set()
    return noted


def _said(results: Counter[str]) -> str:
    if not results:
        return "Nothing is meant: there was nothing to act on."
    return "; ".join(f"{count} {result}" for result, count in sorted(results.items())) + "."
