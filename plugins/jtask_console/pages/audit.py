"""Who did what and when, and how far it is that goes on now."""

from typing import NamedTuple

from jtask_console.actions.operations import Operations
from jtask_console.live.hub import ACTIONS
from jtask_console.pages.page import Asked, Facts, Page, always
from jtask_index.operations import Operation, OperationLog
from jtask_index.reader import IndexReader

_ROWS = 200


class Entry(NamedTuple):
    """A row of the page.

    Attributes:
        operation: What was begun.
        done: How much of it is done; of what is over all.
        goes_on: Whether somebody carries it out now.
    """

    operation: Operation
    done: int
    goes_on: bool


def audit_page(operations: Operations) -> Page:
    """Return the page.

    Args:
        operations: What is being done here.
    """

    async def facts(asked: Asked) -> Facts:
        entries = await asked.index.ask(_entries)
        return {
            "title": "Audit log",
            "section": "audit",
            "entries": [_with_own(entry, operations) for entry in entries],
        }

    return Page("/audit", "audit.html", facts, always(ACTIONS), ("entries",))


def _entries(index: IndexReader) -> list[Entry]:
    log = OperationLog(index.engine)
    return [_entry(log, operation) for operation in log.newest(_ROWS)]


def _entry(log: OperationLog, operation: Operation) -> Entry:
    if operation.finished is not None or operation.chosen is None:
        return Entry(operation, operation.runs, operation.is_carried_out)
    results = log.results(operation.operation_id)
    return Entry(operation, operation.runs - results[""], operation.is_carried_out)


def _with_own(entry: Entry, operations: Operations) -> Entry:
    # What is done here is known by itself, and counted later.
    performed = operations.current.get(entry.operation.operation_id)
    if performed is None:
        return entry
    total = performed.total or entry.operation.runs
    return Entry(entry.operation._replace(runs=total), performed.done, goes_on=True)
