"""`JTASK_RESULTS_URL=sqlite:///var/lib/app/results.db`: the outcomes of runs in an SQLite file."""

import asyncio
import contextlib
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote, urlsplit

from jtask import contract, errors, ids, settings

LOOK_SECONDS = 0.02  # SQLite does not push: the file is polled while somebody watches
SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS outcomes (
    number INTEGER PRIMARY KEY AUTOINCREMENT, run UNIQUE, client, ends, body);
CREATE INDEX IF NOT EXISTS by_end ON outcomes (ends)"""
INSERT = "INSERT OR IGNORE INTO outcomes (run, client, ends, body) VALUES (?, ?, ?, ?)"
NEWER = "SELECT number, run, body FROM outcomes WHERE number > ? AND ? IN (run, client)"


async def open_results(url, client, loop):
    """Open the file that a URL names; the entry point in pyproject.toml names this function."""
    del client, loop
    store = SqliteResults(url)
    await store.do(store.open)
    return store


class SqliteResults:
    """A `jtask.contract.OpenResultStore`; its own thread keeps the disk off jtask's loop."""

    inline_limit = 1_000_000

    def __init__(self, url):
        self.url, self.settings, self.watches = url, settings.get_settings(), set()
        self.thread = ThreadPoolExecutor(1, "jtask-sqlite")

    def open(self):
        if not (path := unquote(urlsplit(self.url).path)):
            raise errors.ConfigurationError(f"{self.url!r} names no file: use sqlite:///a/path.db")
        self.db = sqlite3.connect(path, timeout=30, isolation_level=None)
        self.db.executescript(SCHEMA)

    def do(self, work, *facts):
        return asyncio.get_running_loop().run_in_executor(self.thread, self.translate, work, *facts)

    def translate(self, work, *facts):
        try:
            return work(*facts)
        except sqlite3.Error as error:
            raise errors.BrokerUnavailable(f"{self.url} cannot be used: {error}") from error

    def rows(self, query, *values):
        return self.db.execute(query, values).fetchall()

    def name(self, target):
        return f"{self.settings.namespace}.{target}"

    def put(self, outcome):
        return self.do(self.store, outcome.run_id, outcome.body)

    def store(self, run_id, body):
        now, client = time.time(), self.name(ids.client_of(run_id))
        self.rows("DELETE FROM outcomes WHERE ends <= ?", now)
        self.rows(INSERT, self.name(run_id), client, now + self.settings.result_ttl, body)
        return self.read(run_id) == body  # the same body again is the same outcome

    def read(self, run_id):
        query = "SELECT body FROM outcomes WHERE run = ? AND ends > ?"
        return next((body for (body,) in self.rows(query, self.name(run_id), time.time())), None)

    async def get(self, run_id):
        body = await self.do(self.read, run_id)
        return None if body is None else contract.OutcomeRecord(run_id, body)

    async def watch(self, target, deliver, on_gap):
        del on_gap  # nothing is missed: each poll continues where the last one ended
        [(last,)] = await self.do(self.rows, "SELECT coalesce(max(number), 0) FROM outcomes")
        return Watch(self, self.name(target), deliver, last)

    async def close(self):
        for watch in list(self.watches):
            await watch.close()
        await self.do(self.db.close)
        self.thread.shutdown()


class Watch:
    """A subscription to outcomes: polls for newer rows until it is closed."""

    def __init__(self, store, target, deliver, last):
        self.store = store
        self.looking = asyncio.get_running_loop().create_task(self.look(target, deliver, last))
        store.watches.add(self)

    async def look(self, target, deliver, last):
        while True:
            with contextlib.suppress(errors.BrokerUnavailable):
                rows = await self.store.do(self.store.rows, NEWER, last, target)
                for number, run, body in rows:
                    last = number
                    deliver(contract.OutcomeRecord(run.rpartition(".")[2], body))
            await asyncio.sleep(LOOK_SECONDS)

    async def close(self):
        self.store.watches.discard(self)
        self.looking.cancel()
