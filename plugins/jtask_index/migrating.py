"""Bring the tables of a database to the version of this code."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from jtask.errors import ConfigurationError

VERSION_TABLE = "index_version"
_LOCK = 7_741_230_555_001
"""PostgreSQL's advisory lock of those who migrate; any number that nobody else takes."""


def migrate(engine: Engine) -> None:
    """Make the tables, or bring those of an earlier version up to date.

    Several processes may do so at the same time: one does it, the others find it done.

    Args:
        engine: Where they are.

    Raises:
        ConfigurationError: They are of a later version of jtask.
    """
    with engine.execution_options(jtask_writes=True).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        version, known = _version(connection), _script().get_heads()
        if version in known:
            return
        _refuse_later(version)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def is_current(engine: Engine) -> bool:
    """Tell whether the tables are there, in the version of this code."""
    with engine.connect() as connection:
        return _version(connection) in _script().get_heads()


def _refuse_later(version: str | None) -> None:
    if version is not None and version not in {one.revision for one in _script().walk_revisions()}:
        raise ConfigurationError(
            f"the index was made by a later version of jtask (its tables are of version "
            f"{version}): upgrade jtask here, or name another database in JTASK_INDEX_URL"
        )


def _version(connection: Connection) -> str | None:
    options = {"version_table": VERSION_TABLE}
    return MigrationContext.configure(connection, opts=options).get_current_revision()


def _script() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    # Its default splits at blanks and commas too, which may be part of a folder's name.
    config.set_main_option("path_separator", "os")
    return config
