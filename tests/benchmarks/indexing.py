"""Measure the index: events into SQLite beside bare `executemany`, and questions to many runs."""

import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from harness import percentile, show

from jtask.contract import Event
from jtask.ids import RunIds
from jtask.run_filters import Condition, RunFilter

RUNS = int(os.environ.get("JTASK_BENCH_INDEX_RUNS", "10000000"))
_CHUNK = 500_000
_BATCH = 20_000


def writing() -> None:
    """Apply events, four a run; the bound writes the same two tables by bare `executemany`."""
    from jtask_index.engines import open_engine
    from jtask_index.writer import Followed, IndexWriter

    events = list(_lives(50_000))
    with tempfile.TemporaryDirectory(prefix="jtask-bench-") as folder:
        writer = IndexWriter(open_engine(f"sqlite:///{folder}/index.sqlite"))
        before = writer.prepare()
        begun, cpu = time.perf_counter(), time.process_time()
        for start in range(0, len(events), _BATCH):
            after = Followed("log", start + _BATCH)
            assert writer.apply(events[start : start + _BATCH], before, after)
            before = after
        rate = len(events) / (time.perf_counter() - begun)
        of_cpu = len(events) / (time.process_time() - cpu)
        bound, cpu_bound = _bare(Path(folder) / "bare.sqlite", events)
    show("events into SQLite", rate, "events/s", bound, "goal >= 20,000")
    show("  by the processor's time alone", of_cpu, "events/s", cpu_bound)


def reading() -> None:
    """Ask an index of many runs (JTASK_BENCH_INDEX_RUNS) for pages and counts."""
    from jtask_index.engines import open_engine
    from jtask_index.reader import IndexReader
    from jtask_index.writer import IndexWriter

    with tempfile.TemporaryDirectory(prefix="jtask-bench-") as folder:
        file = Path(folder) / "index.sqlite"
        IndexWriter(open_engine(f"sqlite:///{file}")).prepare()
        begun = time.perf_counter()
        _fill(file, RUNS)
        show("runs in the index", RUNS, "runs")
        show("  filled by SQL in", time.perf_counter() - begun, "s")
        show("  bytes of the file for a run", file.stat().st_size / RUNS, "bytes")
        with IndexReader.open(f"sqlite:///{file}") as reader:
            for name, ask in _questions(reader):
                times = _times(ask)
                show(f"{name}, p50", percentile(times, 0.5), "ms")
                show(f"{name}, p95", percentile(times, 0.95), "ms", goal="goal <= 100")


def _times(ask: Callable[[], object]) -> list[float]:
    found: list[float] = []
    for _ in range(40):
        begun = time.perf_counter()
        ask()
        found.append((time.perf_counter() - begun) * 1e3)
    return found


def _questions(reader: "object") -> Iterator[tuple[str, Callable[[], object]]]:
    from typing import Any

    index: Any = reader
    chance = random.Random(1)

    def anywhere() -> str:
        millis = _BEGUN + chance.randrange(RUNS)
        return f"{millis:012x}"[:8] + "-" + f"{millis:012x}"[8:]

    def task() -> str:
        return f"task{chance.randrange(50)}"

    def tenant() -> Condition:
        return Condition("args.tenant", "=", str(chance.randrange(1000)))

    def page(make: Callable[[], RunFilter]) -> Callable[[], object]:
        return lambda: index.runs(make(), limit=50)

    yield "first page", page(RunFilter)
    yield "a page anywhere", lambda: index.runs(RunFilter(), after=anywhere(), limit=50)
    yield "a task", page(lambda: RunFilter(task=(task(),)))
    yield "failed of a task", page(lambda: RunFilter(task=(task(),), state=("Failed",)))
    yield "failed or crashed of all", page(lambda: RunFilter(state=("Failed", "Crashed")))
    yield "a type of error", page(lambda: RunFilter(where=(Condition("error", "=", "OSError"),)))
    yield "a rare tag", page(lambda: RunFilter(tag=("rare",)))
    yield "an argument", page(lambda: RunFilter(where=(tenant(),)))
    yield (
        "an argument, failed, of a task",
        page(lambda: RunFilter(task=(task(),), state=("Failed",), where=(tenant(),))),
    )
    yield "a number that most exceed", page(lambda: RunFilter(where=(Condition("took", ">", "1"),)))
    yield "a worker", page(lambda: RunFilter(worker=(f"host-{chance.randrange(200)}",)))
    yield "counts by state", lambda: index.counts(RunFilter())
    yield "count of an argument, up to 10,000", lambda: index.count(RunFilter(where=(tenant(),)))
    end = (_BEGUN + RUNS) / 1000
    yield "throughput of an hour", lambda: index.timeline(RunFilter(), since=end - 3600, until=end)
    yield "failures of an hour", lambda: index.failures(RunFilter(), since=end - 3600, until=end)


_BEGUN = 1_750_000_000_000  # milliseconds; a run is made in each


def _fill(file: Path, runs: int) -> None:
    """Write rows as the index does, in order of time, by SQL alone."""
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA cache_size=-1000000")
    for start in range(0, runs, _CHUNK):
        count = min(_CHUNK, runs - start)
        connection.execute("DROP TABLE IF EXISTS temp.made")
        connection.execute(_MADE, (start, start + count - 1, _BEGUN, _BEGUN))
        for statement in _WRITTEN:
            connection.execute(statement)
        connection.commit()
    connection.execute(
        "INSERT INTO task_run_count "
        "SELECT task, queue, state, count(*) FROM task_run GROUP BY 1, 2, 3"
    )
    connection.execute(
        "INSERT INTO task_run_minute SELECT CAST(ended / 60 AS INT), task, queue, state, error, "
        "i % 20, count(*) FROM (SELECT *, CAST(took AS INT) AS i FROM task_run "
        "WHERE ended IS NOT NULL) GROUP BY 1,2,3,4,5,6"
    )
    connection.commit()
    connection.close()


_MADE = """
CREATE TEMP TABLE made AS
WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i < ?)
SELECT i, printf('%08x-%04x-7000-8000-0123456789ab', (? + i) >> 16, (? + i) & 65535) AS run_id,
       1750000000.0 + i / 1000.0 AS created, i * 2654435761 % 4294967296 AS chance FROM n
"""

_WRITTEN = (
    """INSERT INTO task_run (run_id, task, task_name, run_name, queue, state, at, until, created,
       started, ended, took, attempt, worker, parent, version, tags, detail, error, arguments,
       states)
       SELECT run_id, 'task' || (chance % 50) || '-0123456789ab', 'task' || (chance % 50), '',
       'queue' || (chance % 10), CASE WHEN chance % 100 = 3 THEN 'Failed' ELSE 'Completed' END,
       created + 1, NULL, created, created + 0.5, created + 1 + chance % 7, chance % 7 + 0.5, 1,
       'host-' || (chance % 200), '', '', CASE WHEN chance % 5000 = 0 THEN '["rare"]' ELSE '' END,
       CASE WHEN chance % 100 = 3 THEN 'OSError: no room left' ELSE '' END,
       CASE WHEN chance % 100 = 3 THEN 'OSError' ELSE '' END,
       '{"tenant":' || (i % 1000) || ',"note":"what somebody wrote about it"}', 4 FROM made""",
    """INSERT INTO task_run_state SELECT run_id, number, name, created + number, NULL, 1,
       'host-' || (chance % 200), '' FROM made, (SELECT 1 AS number, 'Scheduled' AS name UNION ALL
       SELECT 2, 'Pending' UNION ALL SELECT 3, 'Running' UNION ALL SELECT 4, 'Completed')
       ORDER BY run_id, number""",
    "INSERT INTO task_run_tag SELECT run_id, 'rare' FROM made WHERE chance % 5000 = 0",
    "INSERT INTO task_run_argument SELECT run_id, 'tenant', i % 1000, i % 1000 FROM made",
    """INSERT INTO task_run_argument SELECT run_id, 'note', 'what somebody wrote about it', NULL
       FROM made""",
)


def _lives(count: int) -> Iterator[Event]:
    now = time.time()
    chance = random.Random(1)
    for number, run_id in enumerate(RunIds().new_many(count)):
        task, worker = f"task{number % 20}-0123456789ab", f"host-{number % 8}"
        at, failed = now + number / 1e4, number % 50 == 0
        arguments = f'{{"tenant":{number % 1000},"note":"hello {number}"}}'
        yield Event(run_id, "Scheduled", at, task, queue=task, arguments=arguments)
        yield Event(run_id, "Pending", at + 0.01, task, 1, worker)
        yield Event(run_id, "Running", at + 0.02, task, 1, worker)
        ended = at + 0.05 + chance.random()
        if failed:
            yield Event(run_id, "Failed", ended, task, 1, worker, "no", error="ValueError")
        else:
            yield Event(run_id, "Completed", ended, task, 1, worker)


def _bare(file: Path, events: list[Event]) -> tuple[float, float]:
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("CREATE TABLE run (id PRIMARY KEY, state, at, task) WITHOUT ROWID")
    connection.execute(
        "CREATE TABLE state (id, at, state, worker, detail, PRIMARY KEY (id, at, state)) "
        "WITHOUT ROWID"
    )
    begun, cpu = time.perf_counter(), time.process_time()
    for start in range(0, len(events), _BATCH):
        batch = events[start : start + _BATCH]
        connection.execute("BEGIN")
        runs = {event.run_id: (event.run_id, event.state, event.at, event.task) for event in batch}
        connection.executemany("INSERT OR REPLACE INTO run VALUES (?,?,?,?)", list(runs.values()))
        connection.executemany(
            "INSERT INTO state VALUES (?,?,?,?,?)",
            [(e.run_id, e.at, e.state, e.worker, e.detail) for e in batch],
        )
        connection.execute("COMMIT")
    rate = len(events) / (time.perf_counter() - begun)
    of_cpu = len(events) / (time.process_time() - cpu)
    connection.close()
    return rate, of_cpu
