"""Statements that are executed for many rows: built once for each dialect.

The rows go to the driver as they are. SQLAlchemy would look at each value of each row, which takes
longer than SQLite takes to write it.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    Column,
    Connection,
    Table,
    Text,
    any_,
    bindparam,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

Build = Callable[[Any], Any]
"""Makes the statement of the dialect's own `insert` function."""


class ManyRows:
    """One statement for many rows.

    Args:
        columns: What the values of a row are called, in their order.
        build: Makes the statement.
    """

    def __init__(self, columns: Sequence[str], build: Build) -> None:
        self._columns = tuple(columns)
        self._build = build
        self._compiled: dict[str, tuple[str, tuple[int, ...] | None]] = {}

    def execute(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Execute it for rows, each with a value for each of the columns."""
        if not rows:
            return
        sql, order = self._of(connection)
        if order is None:
            columns = self._columns
            named = [dict(zip(columns, row, strict=True)) for row in rows]
            connection.exec_driver_sql(sql, named)
        elif order == tuple(range(len(self._columns))):
            connection.exec_driver_sql(sql, list(rows))
        else:
            connection.exec_driver_sql(sql, [tuple(row[n] for n in order) for row in rows])

    def _of(self, connection: Connection) -> tuple[str, tuple[int, ...] | None]:
        dialect = connection.dialect
        if dialect.name not in self._compiled:
            insert = sqlite.insert if dialect.name == "sqlite" else postgresql.insert
            statement = self._build(insert)
            compiled = statement.compile(dialect=dialect, column_keys=list(self._columns))
            names = compiled.positiontup
            order = None if names is None else tuple(map(self._columns.index, names))
            self._compiled[dialect.name] = (str(compiled), order)
        return self._compiled[dialect.name]


class RowsByKey:
    """Reads the rows that have any of many keys: one statement, however many there are.

    Args:
        key: The column.
        columns: What to return of each row.
    """

    def __init__(self, key: Column[str], columns: Sequence[Column[Any]]) -> None:
        query = select(*columns)
        # The keys as one value: thousands of parameters take longer to bind than rows to read.
        in_json = func.json_each(bindparam("keys", type_=Text)).table_valued("value")
        self._of_json = query.where(key.in_(select(in_json.c.value)))
        in_array = any_(bindparam("keys", type_=ARRAY(Text)))
        self._of_array = query.where(key == in_array)

    def fetch(self, connection: Connection, keys: Sequence[str]) -> Sequence[Any]:
        """Return the rows, in any order."""
        if connection.dialect.name == "sqlite":
            return connection.execute(self._of_json, {"keys": json.dumps(keys)}).all()
        return connection.execute(self._of_array, {"keys": list(keys)}).all()


def inserting(table: Table, columns: Sequence[str] | None = None) -> ManyRows:
    """Return what inserts rows that are not there."""
    return ManyRows(columns or table.c.keys(), lambda insert: insert(table))


def inserting_missing(table: Table) -> ManyRows:
    """Return what inserts rows, and leaves those that are there as they are."""
    return ManyRows(table.c.keys(), lambda insert: insert(table).on_conflict_do_nothing())


def adding(table: Table) -> ManyRows:
    """Return what adds to the `runs` of rows that are there, and inserts the others."""

    def build(insert: Any) -> Any:
        statement = insert(table)
        added = table.c.runs + statement.excluded.runs
        keys = [column.name for column in table.primary_key]
        return statement.on_conflict_do_update(index_elements=keys, set_={"runs": added})

    return ManyRows(table.c.keys(), build)


def seeing(table: Table) -> ManyRows:
    """Return what raises `last_seen` of rows that are there, and inserts the others."""

    def build(insert: Any) -> Any:
        statement = insert(table)
        seen = statement.excluded.last_seen
        keys = [column.name for column in table.primary_key]
        return statement.on_conflict_do_update(
            index_elements=keys, set_={"last_seen": seen}, where=table.c.last_seen < seen
        )

    return ManyRows(table.c.keys(), build)


def updating(table: Table, key: str, columns: Sequence[str]) -> ManyRows:
    """Return what sets columns; a row has their values, then that of the key."""
    values: dict[str, Any] = {column: bindparam(column) for column in columns}
    # A column and the parameter in a condition on it must not have one name.
    of_row = f"of_{key}"
    statement = update(table).where(table.c[key] == bindparam(of_row)).values(values)
    return ManyRows((*columns, of_row), lambda _: statement)
