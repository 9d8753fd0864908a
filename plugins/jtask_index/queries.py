"""Filters as SQL: `RunFilter.takes` says what each part means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, product
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    desc,
    exists,
    func,
    not_,
    or_,
    select,
    true,
    union_all,
)

from jtask.run_filters import NUMBER_FIELDS, ORDERS, Condition, RunFilter
from jtask_index.rows import name
from jtask_index.schema import EMPTY, task_run, task_run_argument, task_run_tag

_MOST_ALTERNATIVES = 32  # that are looked up each by itself; more are a condition as others
_COLUMNS = {"name": "run_name"}
"""The fields of conditions whose columns have other names."""

_NOT_EMPTY = ("error", "worker", "parent")
"""The columns whose indexes leave out what is empty, as of nearly all it is."""

_of_run = task_run.c.run_id
_AFTER = bindparam("after", type_=Text)
_LAST = bindparam("last", type_=Text)
_SIZE = bindparam("size", type_=Integer)
_LIMIT = bindparam("limit", type_=Integer)


@dataclass(frozen=True, slots=True)
class Stream:
    """Ids of runs in their order, as an index of the database has them.

    Attributes:
        ids: The column of the ids.
        alternatives: Conditions; what meets one of them is in the stream, and each one's ids are
            read from the index in order. None where there are too many: it cannot lead.
        met: Whether the run of a row of `task_run` is in the stream.
    """

    ids: ColumnElement[str]
    alternatives: Sequence[ColumnElement[bool]]
    met: ColumnElement[bool]


_EVERYTHING = Stream(_of_run, [true()], true())
"""The runs themselves, which are kept in order."""


@dataclass(frozen=True)
class RunQuery:
    """What is asked of `task_run`.

    What an index of the database answers is a stream of ids; a run that is meant is in all of them.
    Any one of them can lead: its ids are read in order, and the runs are asked for the rest.

    Attributes:
        wanted: Which runs.
        tasks: The keys of the tasks that it means; None where it names none.
        now: What its lengths of time count back from, seconds since the epoch.
        dialect: The name of SQLAlchemy's dialect.
    """

    wanted: RunFilter
    tasks: Sequence[str] | None
    now: float
    dialect: str

    @cached_property
    def streams(self) -> Sequence[Stream]:
        """The streams, of which one at least can lead."""
        found = [*self._of_columns(), *self._of_tags(), *self._of_conditions()]
        if not any(stream.alternatives for stream in found):
            found.append(_EVERYTHING)
        return found

    @cached_property
    def bounds(self) -> tuple[str, str]:
        """Between which ids the runs are: the first is the least, the second is beyond them."""
        since, until = self.wanted.bounds(self.now)
        least = "" if since is None else first_id(since)
        return least, "\U0010ffff" if until is None else first_id(until + 0.002)

    @cached_property
    def probe(self) -> Select[*tuple[Any, ...]]:
        """The query for where each stream is after `size` ids: NULL where it ends before.

        Its row has a column for each alternative of each stream.
        """
        ends = [
            self._ids(stream, alternative).limit(1).offset(_SIZE - 1).scalar_subquery()
            for stream in self.streams
            for alternative in stream.alternatives
        ]
        return select(*ends)

    def rows(self, lead: int, columns: Sequence[Any]) -> Select[*tuple[Any, ...]]:
        """Return the query for the newest runs of a part of the order.

        Its parameters are `after` and `last`, the ids between which it looks, of which `last` is
        among them; `size`, the most ids of an alternative that are there; and `limit`.

        Args:
            lead: The number of the stream that leads.
            columns: What to return of each.
        """
        order, query = self._led(lead, columns)
        return query.order_by(desc(order)).limit(_LIMIT)

    def numbers(self, lead: int, column: Any) -> Select[*tuple[Any, ...]]:
        """Return the query for how many runs of a part of the order have which value.

        Args:
            lead: The number of the stream that leads.
            column: Of the values.
        """
        _, query = self._led(lead, [column, func.count()])
        return query.group_by(column)

    def _led(
        self, lead: int, columns: Sequence[Any]
    ) -> tuple[ColumnElement[str], Select[*tuple[Any, ...]]]:
        stream = self.streams[lead]
        others = [one.met for one in self.streams if one is not stream]
        conditions = [*others, *self._unindexed()]
        if stream is _EVERYTHING:
            source: FromClause = task_run
            order: ColumnElement[str] = _of_run
            conditions += [_of_run < _AFTER, _of_run >= _LAST]
        else:
            # A limit keeps databases from reading another index than that of this stream.
            parts = [
                self._ids(stream, alternative).limit(_SIZE).subquery()
                for alternative in stream.alternatives
            ]
            led = parts[0] if len(parts) == 1 else union_all(*map(select, parts)).subquery()
            order = led.c.run_id
            source = led.join(task_run, _of_run == order)
        return order, select(*columns).select_from(source).where(*conditions)

    def _ids(self, stream: Stream, alternative: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
        between = (stream.ids < _AFTER, stream.ids >= _LAST)
        query = select(stream.ids.label("run_id")).where(alternative, *between)
        return query.order_by(desc(stream.ids))

    # --- what an index of the database answers -------------------------------------------------

    def _of_columns(self) -> list[Stream]:
        wanted, columns = self.wanted, task_run.c
        # One that does not exist: a filter by a task that is not known finds nothing.
        tasks = None if self.tasks is None else self.tasks or ["\n"]
        fields: dict[Any, Sequence[str]] = {
            columns.task: tasks or (),
            columns.state: wanted.state,
            columns.queue: wanted.queue,
            columns.worker: wanted.worker,
            columns.parent: wanted.parent,
        }
        found = [_of_values({column: values}) for column, values in fields.items() if values]
        if tasks and wanted.state:
            found.append(_of_values({columns.task: tasks, columns.state: wanted.state}))
        return found

    def _of_tags(self) -> list[Stream]:
        found: list[Stream] = []
        for tag in dict.fromkeys(self.wanted.tag):
            columns = task_run_tag.c
            has_tag = columns.tag == name(tag)
            met = exists().where(columns.run_id == _of_run, has_tag)
            found.append(Stream(columns.run_id, [has_tag], met))
        return found

    def _of_conditions(self) -> list[Stream]:
        found: list[Stream] = []
        for condition in self.wanted.where:
            if not _is_looked_up(condition):
                continue
            if condition.path is None:
                column, values = task_run.c[condition.field], [condition.value]
                found.append(_of_values({column: values}))
                if self.tasks and column is task_run.c.error:
                    found.append(_of_values({task_run.c.task: self.tasks, column: values}))
            else:
                has_value = self._value(task_run_argument, condition)
                columns = task_run_argument.c
                met = exists().where(columns.run_id == _of_run, has_value)
                found.append(Stream(columns.run_id, [has_value], met))
        return found

    # --- what the runs themselves are asked ------------------------------------------------------

    def _unindexed(self) -> list[ColumnElement[bool]]:
        since, until = self.wanted.bounds(self.now)
        clauses = [self._condition(one) for one in self.wanted.where if not _is_looked_up(one)]
        # The bounds are ids, which tell the millisecond; the rest is told by the instants.
        if since is not None:
            clauses.append(task_run.c.created >= since)
        if until is not None:
            clauses.append(task_run.c.created < until)
        if self.wanted.text:
            texts = (task_run.c.arguments, task_run.c.run_name, task_run.c.detail)
            clauses.append(or_(*(self._contains(text, self.wanted.text) for text in texts)))
        return clauses

    def _condition(self, condition: Condition) -> ColumnElement[bool]:
        found = self._found(condition)
        return not_(found) if condition.is_negated else found

    def _found(self, condition: Condition) -> ColumnElement[bool]:
        if condition.path is not None:
            values = task_run_argument.alias()
            of_run = values.c.run_id == _of_run
            return exists().where(of_run, self._value(values, condition))
        column: ColumnElement[Any] = task_run.c[_COLUMNS.get(condition.field, condition.field)]
        if condition.field in NUMBER_FIELDS:
            return and_(column.is_not(None), _compared(column, condition))
        return self._text(column, condition, condition.value)

    def _value(self, values: Any, condition: Condition) -> ColumnElement[bool]:
        """Return whether a row of `task_run_argument` has what a condition looks for."""
        at_path = values.c.path == condition.path
        if condition.op in ORDERS:
            return and_(at_path, _compared(values.c.number, condition))
        return and_(at_path, self._text(values.c.value, condition, condition.compared))

    def _text(
        self, column: ColumnElement[str], condition: Condition, wanted: str
    ) -> ColumnElement[bool]:
        if condition.op in ORDERS:
            return ~true()  # text has no order: see `Condition.takes`
        return self._contains(column, wanted) if "~" in condition.op else column == wanted

    def _contains(self, column: ColumnElement[str], wanted: str) -> ColumnElement[bool]:
        # Not LIKE, which looks past case in SQLite only.
        find = func.instr if self.dialect == "sqlite" else func.strpos
        return find(column, wanted) > 0


def first_id(instant: float) -> str:
    """Return a text that sorts before the ids of runs that were made at an instant or later."""
    millis = min(max(0, int(instant * 1000)), (1 << 48) - 1)
    digits = f"{millis:012x}"
    return f"{digits[:8]}-{digits[8:]}"


def _is_looked_up(condition: Condition) -> bool:
    return condition.op == "=" and (condition.path is not None or condition.field in _NOT_EMPTY)


def _of_values(wanted: Mapping[Any, Sequence[str]]) -> Stream:
    """Return the stream of the runs each of whose columns has one of its values."""
    lists = [list(dict.fromkeys(map(name, values))) for values in wanted.values()]
    met = and_(*(column.in_(values) for column, values in zip(wanted, lists, strict=True)))
    chosen = list(islice(product(*lists), _MOST_ALTERNATIVES + 1))
    is_left_out = any(
        column.name in _NOT_EMPTY and not all(values)
        for column, values in zip(wanted, lists, strict=True)
    )
    if is_left_out or len(chosen) > _MOST_ALTERNATIVES:
        return Stream(_of_run, [], met)
    alternatives = [and_(*map(_has, wanted, values)) for values in chosen]
    return Stream(_of_run, alternatives, met)


def _has(column: Any, value: str) -> ColumnElement[bool]:
    return and_(column == value, column != EMPTY) if column.name in _NOT_EMPTY else column == value


def _compared(column: ColumnElement[Any], condition: Condition) -> ColumnElement[bool]:
    op, number = condition.op.removeprefix("!"), condition.number
    return column.op(op, is_comparison=True)(number)
