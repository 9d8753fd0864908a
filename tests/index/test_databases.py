"""Which databases can hold an index, and in which version."""

from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, Table, text

from jtask.errors import BrokerUnavailable, ConfigurationError, IndexUnavailable
from jtask_index import migrating
from jtask_index.engines import default_url, open_engine
from jtask_index.migrating import VERSION_TABLE
from jtask_index.opening import open_follower
from jtask_index.reader import IndexReader
from jtask_index.schema import metadata
from jtask_index.writer import IndexWriter


def test_the_migrations_make_the_tables_that_the_code_means(writer: IndexWriter) -> None:
    with writer.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []


def test_tables_of_a_later_version_are_left_alone(writer: IndexWriter, database: str) -> None:
    with writer.engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="later version of jtask"):
        writer.prepare()


def test_to_read_an_index_that_is_not_there_makes_none(new_database: Callable[[], str]) -> None:
    url = new_database()
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"there is no index at .*jtask index"):
            IndexReader.open(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [("mysql://host/db", "cannot be"), ("no url", "cannot be at this URL")],
)
def test_a_url_that_names_no_such_database_is_refused(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        open_engine(url)


def test_a_database_that_cannot_be_reached_is_said_without_its_password() -> None:
    writer = IndexWriter(open_engine("postgresql://ann:secret@127.0.0.1:1/runs"))
    with pytest.raises(IndexUnavailable) as refused:
        writer.prepare()
    assert "127.0.0.1" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_file_that_cannot_be_made_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "index.sqlite", tmp_path / "file" / "below" / "index.sqlite"):
        with pytest.raises(IndexUnavailable, match=f"{place} .*JTASK_INDEX_URL.*JTASK_HOME"):
            IndexWriter(open_engine(f"sqlite:///{place}")).prepare()


def test_while_the_broker_cannot_be_reached_no_connection_to_the_index_stays_open(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable() -> None:
        raise BrokerUnavailable("nobody answers")

    monkeypatch.setattr("jtask.client.get_client", unreachable)
    with pytest.raises(BrokerUnavailable):
        open_follower(database)


def test_the_default_file_is_its_owners_alone(tmp_path: Path) -> None:
    writer = IndexWriter(open_engine(default_url("shop", tmp_path / "home")))
    writer.prepare()
    file = tmp_path / "home" / "index-shop.sqlite"
    assert file.stat().st_mode & 0o777 == 0o600
    writer.engine.dispose()


def test_what_an_earlier_version_has_indexed_is_kept(database: str) -> None:
    writer = IndexWriter(open_engine(database))
    with writer.engine.begin() as connection:
        config = migrating._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        table = Table("task_run", MetaData(), autoload_with=connection)
        values = {column.name: 7 if column.type.python_type is int else 7.0 for column in table.c}
        texts = {column.name: "x" for column in table.c if column.type.python_type is str}
        connection.execute(table.insert(), values | texts | {"tags": ""})
    writer.prepare()
    with IndexReader.open(database) as reader:
        run = reader.run("x")
    assert run is not None
    assert (run.task, run.at, run.trace_id) == ("x", 7.0, "")
    writer.engine.dispose()
