import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from open_connections import connections_are_closed
from postgres_servers import postgres
from sqlalchemy import create_engine, text

from jtask_index.engines import open_engine
from jtask_index.reader import IndexReader
from jtask_index.writer import IndexWriter

__all__ = ["connections_are_closed"]
_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes an empty database, and returns its URL."""

    def new() -> str:
        number = next(_numbers)
        if request.param == "sqlite":
            return f"sqlite:///{tmp_path}/index-{number}.sqlite"
        server = request.getfixturevalue("postgres_url")
        engine = create_engine(
            f"{server}/postgres".replace("postgresql", "postgresql+psycopg"),
            isolation_level="AUTOCOMMIT",
        )
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE index_{number}"))
        engine.dispose()
        return f"{server}/index_{number}"

    return new


@pytest.fixture
def database(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest.fixture
def writer(database: str) -> Iterator[IndexWriter]:
    made = IndexWriter(open_engine(database))
    made.prepare()
    yield made
    made.engine.dispose()


@pytest.fixture
def reader(database: str, writer: IndexWriter) -> Iterator[IndexReader]:
    with IndexReader.open(database) as opened:
        yield opened
