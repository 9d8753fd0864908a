"""Databases by URL: SQLite in a folder of jtask's own, PostgreSQL, and what each of them needs."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from jtask.errors import ConfigurationError, IndexUnavailable

_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
_BUSY_SECONDS = 30.0
_CACHE_KIB = 65_536


def open_engine(url: str) -> Engine:
    """Return the engine for a database; nothing is connected yet.

    Args:
        url: `sqlite:///path/to/file` or `postgresql://user:password@host/database`.

    Raises:
        ConfigurationError: It names no database that the index can be in.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "postgresql":
        return create_engine(parsed, pool_pre_ping=True)
    engine = create_engine(parsed, connect_args={"timeout": _BUSY_SECONDS})
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def default_url(namespace: str, home: Path | None) -> str:
    """Return the URL of the SQLite file that is used where none is set.

    Args:
        namespace: The setting `namespace`: each has an index of its own.
        home: The setting `home`.
    """
    data = os.environ.get("XDG_DATA_HOME")
    folder = home or (Path(data) if data else Path.home() / ".local" / "share") / "jtask"
    file = folder.expanduser() / f"index-{namespace}.sqlite"
    return URL.create("sqlite", database=str(file)).render_as_string()


def prepare_folder(engine: Engine) -> None:
    """Make a SQLite file and its folder, for their owner only: arguments of runs are secrets.

    Raises:
        IndexUnavailable: They cannot be made.
    """
    file = sqlite_file(engine)
    try:
        if file is not None and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise IndexUnavailable(
            f"the index cannot be made at {file} ({error.strerror or error}): set JTASK_INDEX_URL "
            f"to another place, or JTASK_HOME to a folder that can be written"
        ) from error


def sqlite_file(engine: Engine) -> Path | None:
    """Return the file of a SQLite database; None for one in memory, and for PostgreSQL."""
    database = engine.url.database
    if engine.dialect.name != "sqlite" or database in (None, "", ":memory:"):
        return None
    return Path(str(database))


@contextmanager
def translated(engine: Engine) -> Generator[None]:
    """Raise `IndexUnavailable` in place of what SQLAlchemy raises."""
    try:
        yield
    except SQLAlchemyError as error:
        # Of a statement, SQLAlchemy's own text has all parameters: arguments of runs.
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        where = engine.url.render_as_string()
        raise IndexUnavailable(f"the index at {where} cannot be used: {reason}") from error


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        if parsed.drivername in _DRIVERS:
            parsed = parsed.set(drivername=_DRIVERS[parsed.drivername])
        name = parsed.get_backend_name()
        parsed.get_dialect()
    except (ArgumentError, SQLAlchemyError, ImportError) as error:
        raise ConfigurationError(f"the index cannot be at this URL: {error}") from None
    if name not in ("sqlite", "postgresql"):
        raise ConfigurationError(
            f"the index cannot be in {name}: use sqlite:///file or postgresql://host/database"
        )
    return parsed


def _set_up(connection: Any, _record: object) -> None:
    # Python's own module would begin transactions late, and not around DDL; `_begin` does it.
    connection.isolation_level = None
    cursor = connection.cursor()
    # Readers see the last commit while somebody writes. A power cut may cost the last commits,
    # never the file: the position goes back with them, and the log is read again from there.
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    cursor.close()


def _begin(connection: Connection) -> None:
    # IMMEDIATE for those that write: one that begins as a reader cannot become a writer while
    # another one writes.
    is_writer = connection.get_execution_options().get("jtask_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")
