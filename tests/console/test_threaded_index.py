"""A console's questions share one set of connections, which are closed with the console."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jtask_console.threaded_index import ThreadedIndex
from jtask_index.engines import open_engine
from jtask_index.reader import IndexReader
from jtask_index.writer import IndexWriter


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadedIndex]:
    url = f"sqlite:///{tmp_path}/index.sqlite"
    monkeypatch.setenv("JTASK_INDEX_URL", url)
    writer = IndexWriter(open_engine(url))
    writer.prepare()
    writer.engine.dispose()
    opened = ThreadedIndex()
    yield opened
    opened.close()


def test_questions_that_come_at_once_open_the_index_once(index: ThreadedIndex) -> None:
    async def ask() -> list[IndexReader]:
        return await asyncio.gather(*(index.ask(lambda reader: reader) for _ in range(4)))

    assert len(set(asyncio.run(ask()))) == 1


def test_a_connection_that_answers_a_question_is_closed_after_the_answer(
    index: ThreadedIndex,
) -> None:
    is_asked, may_answer = threading.Event(), threading.Event()
    used: list[Any] = []

    def answer(reader: IndexReader) -> int:
        is_asked.set()
        may_answer.wait()
        with reader.engine.connect() as connection:
            used.append(connection.connection.dbapi_connection)
            return connection.exec_driver_sql("SELECT 1").scalar_one()

    async def ask() -> None:
        asking = asyncio.create_task(index.ask(answer))
        await asyncio.to_thread(is_asked.wait)
        index.close()
        may_answer.set()
        assert await asking == 1
        assert await index.ask(answer) == 1  # who has not heard that it is closed

    asyncio.run(ask())
    assert len(used) == 2
    for connection in used:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")
