"""Search runs part by part, from the newest on, for as long as a question may take.

Each part is led by the stream that has the fewest ids there. So a value that is rare is found by
its own index, however many runs have what else is asked for; and what no index answers is looked
for among a bounded number of runs, whether it is found there or not.
"""

import time
from collections import Counter
from collections.abc import Generator, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select

from jtask_index.queries import RunQuery

LONGEST = 0.02
"""Seconds after which a search does not begin another part."""

_FIRST_COUNTED = 1000  # ids of the first part that is counted
_PARTS = 4  # of a search that finds little
_GROWTH = 4  # times as many ids in the next part, at most
_LARGEST = 16_384  # ids


class Part(NamedTuple):
    """A part of the order of runs.

    Attributes:
        lead: The number of the stream that leads.
        after: It begins with the next id after this one.
        last: It ends with this id; None where nothing of what is meant comes after it.
        size: The most ids that an alternative of the stream has in it.
    """

    lead: int
    after: str
    last: str | None
    size: int


class Found(NamedTuple):
    """What a search has found.

    Attributes:
        rows: Of runs, newest first, with the id as the first value.
        after: The id to go on after; None where all was searched.
    """

    rows: list[Any]
    after: str | None


def find(
    connection: Connection,
    query: RunQuery,
    columns: Sequence[Any],
    *,
    after: str | None,
    limit: int,
) -> Found:
    """Return the newest runs that are meant, as far as they are found in time.

    Args:
        connection: In a transaction.
        query: What is asked.
        columns: What to return of each run; the first is its id.
        after: Only runs that come after this id; None for the first ones.
        limit: How many.
    """
    rows: list[Any] = []
    ends = time.monotonic() + LONGEST

    @cache
    def asking(lead: int) -> Select[*tuple[Any, ...]]:
        return query.rows(lead, columns)

    for part in _parts(connection, query, after, limit + 1):
        values = _parameters(query, part) | {"limit": limit + 1 - len(rows)}
        rows += connection.execute(asking(part.lead), values)
        # One more tells whether there is a next page.
        if len(rows) > limit:
            return Found(rows[:limit], rows[limit - 1][0])
        if part.last is None or time.monotonic() >= ends:
            return Found(rows, part.last)
    raise AssertionError("the last part has no end")


def count(
    connection: Connection,
    query: RunQuery,
    column: Any,
    *,
    at_most: int,
) -> tuple[Counter[Any], bool]:
    """Return how many of the runs that are meant have which value, and whether that is all.

    Args:
        connection: In a transaction.
        query: What is asked.
        column: Of the values.
        at_most: How many runs to count before no other part is begun.
    """
    counts: Counter[Any] = Counter()
    ends = time.monotonic() + LONGEST

    @cache
    def asking(lead: int) -> Select[*tuple[Any, ...]]:
        return query.numbers(lead, column)

    for part in _parts(connection, query, None, min(_FIRST_COUNTED, at_most + 1)):
        found = connection.execute(asking(part.lead), _parameters(query, part))
        counts.update(dict(found.all()))
        if part.last is None:
            return counts, counts.total() <= at_most
        if counts.total() > at_most or time.monotonic() >= ends:
            break
    return counts, False


def _parts(
    connection: Connection, query: RunQuery, after: str | None, size: int
) -> Generator[Part]:
    """Yield the parts of the order; the next one begins when what was asked of one is answered."""
    beyond = query.bounds[1]
    start, first = min(after or beyond, beyond), size
    while True:
        begun = time.monotonic()
        part = _sparsest(connection, query, start, size)
        yield part
        if part.last is None:
            return
        start = part.last
        # The last part of a search must not take much longer than what is left of its time.
        growth = LONGEST / _PARTS / (time.monotonic() - begun)
        size = max(first, min(int(size * min(growth, _GROWTH)), _LARGEST))


def _sparsest(connection: Connection, query: RunQuery, after: str, size: int) -> Part:
    """Return the part that begins after an id, led by the stream that comes furthest with it."""
    asked = {"after": after, "last": query.bounds[0], "size": size}
    ends = iter(connection.execute(query.probe, asked).one())
    # Of several alternatives, the part has no more than `size` ids of any.
    last = {
        number: max(next(ends) or "" for _ in stream.alternatives)
        for number, stream in enumerate(query.streams)
        if stream.alternatives
    }
    lead = min(last, key=last.__getitem__)
    return Part(lead, after, last[lead] or None, size)


def _parameters(query: RunQuery, part: Part) -> dict[str, Any]:
    last = query.bounds[0] if part.last is None else part.last
    return {"after": part.after, "last": last, "size": part.size}
