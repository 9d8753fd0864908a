"""Actions that are being performed: in the background, with how far each of them is."""

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from jtask.background import BackgroundTasks
from jtask.errors import JTaskError
from jtask_console.actions.action import Action, Given
from jtask_console.actions.audit import AuditEntry, AuditLog
from jtask_console.live.hub import ACTIONS

_QUICK = 1.0  # seconds for which whoever acts waits for the answer itself
_REMEMBERED = 100  # operations that are over
_log = logging.getLogger("jtask.console")


@dataclass(slots=True)
class Operation:
    """An action that is being performed.

    Attributes:
        entry: What the audit log has of it.
        done: How much is done.
        total: Of how much; 0 where that is not known.
        said: What came of it; empty before its end.
        failed: Whether it was broken off.
        is_over: Set at its end.
    """

    entry: AuditEntry
    done: int = 0
    total: int = 0
    said: str = ""
    failed: bool = False
    is_over: asyncio.Event = field(default_factory=asyncio.Event)


class Operations:
    """Performs actions; used on the console's loop.

    Args:
        audit: Where each is written down.
        tell: Tells open pages that there is news of some topics.
    """

    def __init__(self, audit: AuditLog, tell: Callable[[Iterable[str]], None]) -> None:
        self._audit = audit
        self._tell = tell
        self._background = BackgroundTasks()
        self.current: dict[str, Operation] = {}
        """Those that are not over, by their ids."""
        self._ended: deque[Operation] = deque(maxlen=_REMEMBERED)

    def recent(self, operation_id: str) -> Operation | None:
        """Return one that is not over, or has ended a short while ago."""
        ended = (one for one in self._ended if one.entry.operation_id == operation_id)
        return self.current.get(operation_id) or next(ended, None)

    async def start(self, action: Action, given: Given) -> Operation:
        """Begin an action, and wait for its end if that is near.

        Args:
            action: Which.
            given: What it needs.

        Returns:
            Operation: It goes on in the background unless it is over.

        Raises:
            JTaskError: It cannot be written down, so it is not done.
        """
        given = replace(given, operation_id=uuid.uuid4().hex)
        target = action.target(given)
        entry = AuditEntry(given.operation_id, action.kind, given.who, target, time.time())
        await self._audit.begin(entry)
        operation = self._begin(action, given, entry)
        try:
            await asyncio.wait_for(operation.is_over.wait(), _QUICK)
        except TimeoutError:
            _log.debug("%s goes on in the background", action.kind)
        return operation

    async def resume(self, actions: Iterable[Action]) -> None:
        """Go on with actions that were broken off with an earlier console.

        Args:
            actions: Those that have a list of what is still to be done.
        """
        by_kind = {action.kind: action for action in actions}
        for entry in await self._audit.unfinished(list(by_kind)):
            if entry.operation_id not in self.current:
                given = Given({}, entry.who, (), entry.operation_id)
                self._begin(by_kind[entry.kind], given, entry)

    def _begin(self, action: Action, given: Given, entry: AuditEntry) -> Operation:
        operation = self.current[entry.operation_id] = Operation(entry)
        self._background.start(self._perform(action, given, operation))
        return operation

    async def _perform(self, action: Action, given: Given, operation: Operation) -> None:
        def tell(done: int, total: int) -> None:
            operation.done, operation.total = done, total
            self._tell([ACTIONS, *action.topics])

        try:
            operation.said = await action.perform(given, tell)
        except JTaskError as error:
            operation.said, operation.failed = str(error), True
        except Exception as error:
            _log.exception("%s was broken off", action.kind)
            operation.said, operation.failed = f"{type(error).__name__}: {error}", True
        finally:
            operation_id = operation.entry.operation_id
            self._ended.append(self.current.pop(operation_id))
            operation.is_over.set()
            try:
                await self._audit.end(operation_id, operation.done)
            except JTaskError as error:
                _log.warning("the end of %s cannot be written down: %s", action.kind, error)
            self._tell([ACTIONS, *action.topics])
