"""Filters as SQL: `RunFilter.takes` says what each part means."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    and_,
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
from jtask_index.schema import task_run, task_run_argument, task_run_tag

_MOST_BRANCHES = 32
_COLUMNS = {"name": "run_name"}
"""The fields of conditions whose columns have other names."""


@dataclass(frozen=True, slots=True)
class RunQuery:
    """What is asked of `task_run`.

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

    def newest(
        self, limit: int, after: str = "", *, columns: Sequence[Any]
    ) -> Select[*tuple[Any, ...]]:
        """Return the query for runs, newest first.

        Several values of one field make a query each, limited and in order, so that each of them
        reads no more of its index than it returns.

        Args:
            limit: How many.
            after: Only runs that come after this id in that order; empty for the first ones.
            columns: What to return of each, the run's id among it.
        """
        branches = [self._branch(columns, chosen, limit, after) for chosen in self._choices()]
        if len(branches) == 1:
            return branches[0]
        found = union_all(*(select(branch.subquery()) for branch in branches)).subquery()
        return select(found).order_by(desc(found.c.run_id)).limit(limit)

    def _choices(self) -> list[list[ColumnElement[bool]]]:
        wanted = self.wanted
        fields: list[tuple[ColumnElement[str], Sequence[str]]] = [
            (task_run.c.state, wanted.state),
            (task_run.c.queue, wanted.queue),
            (task_run.c.worker, wanted.worker),
            (task_run.c.parent, wanted.parent),
        ]
        if self.tasks is not None:
            # One that does not exist: a filter by a task that is not known finds nothing.
            fields.append((task_run.c.task, self.tasks or ["\n"]))
        lists = [
            [column == name(value) for value in dict.fromkeys(values)]
            for column, values in fields
            if values
        ]
        choices = [list(chosen) for chosen in islice(product(*lists), _MOST_BRANCHES + 1)]
        if len(choices) <= _MOST_BRANCHES:
            return choices
        return [[or_(*alternatives) for alternatives in lists]]

    def _branch(
        self,
        columns: Sequence[Any],
        chosen: Sequence[ColumnElement[bool]],
        limit: int,
        after: str,
    ) -> Select[*tuple[Any, ...]]:
        source, order = self._source()
        clauses = [*chosen, *self._clauses(order)]
        if after:
            clauses.append(order < after)
        query = select(*columns).select_from(source).where(*clauses)
        return query.order_by(desc(order)).limit(limit)

    def _source(self) -> tuple[FromClause, ColumnElement[str]]:
        """Return what to read, and the ids that say in which order.

        Where a tag or the value of an argument is asked for, its index leads: it has the ids of
        few runs, in order.
        """
        source: FromClause = task_run
        order: ColumnElement[str] = task_run.c.run_id
        for leading in self._leading():
            table, condition = leading
            source = source.join(table, and_(table.c.run_id == task_run.c.run_id, condition))
            order = table.c.run_id
        return source, order

    def _leading(self) -> list[tuple[Any, ColumnElement[bool]]]:
        found: list[tuple[Any, ColumnElement[bool]]] = []
        for tag in dict.fromkeys(self.wanted.tag):
            of_tag = task_run_tag.alias()
            found.append((of_tag, of_tag.c.tag == name(tag)))
        for condition in dict.fromkeys(self.wanted.where):
            if condition.path is not None and condition.op == "=":
                values = task_run_argument.alias()
                found.append((values, self._value(values, condition)))
        return found

    def _clauses(self, order: ColumnElement[str]) -> list[ColumnElement[bool]]:
        since, until = self.wanted.bounds(self.now)
        clauses = [
            self._condition(one) for one in self.wanted.where if one.path is None or one.op != "="
        ]
        # By the ids, which are indexed and tell the millisecond; the rest is told by the instants.
        if since is not None:
            clauses += [order >= first_id(since), task_run.c.created >= since]
        if until is not None:
            clauses += [order < first_id(until + 0.002), task_run.c.created < until]
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
            of_run = values.c.run_id == task_run.c.run_id
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


def _compared(column: ColumnElement[Any], condition: Condition) -> ColumnElement[bool]:
    op, number = condition.op.removeprefix("!"), condition.number
    return column.op(op, is_comparison=True)(number)
