"""Measure the index: events into SQLite beside bare `executemany`, and questions to many runs."""

import gc
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import many_runs
from harness import percentile, show
from index_questions import Questions

from jtask.contract import Event
from jtask.ids import RunIds

RUNS = int(os.environ.get("BENCH_INDEX_RUNS", "10000000"))
FILE = os.environ.get("BENCH_INDEX_FILE", "")
"""Where to keep the filled index, to ask it again; else it is deleted."""

_TIMES = 40
_BATCH = 20_000


def writing() -> None:
    """Apply events; the bound writes the same two tables by bare `executemany`."""
    lives = list(_lives(100_000))
    # A follower holds one batch, and its collector has not all these events to look at.
    gc.freeze()
    _write("events into SQLite, the states of a run together", [e for life in lives for e in life])
    # As when very many runs are enqueued at once.
    apart = [life[number] for number in range(4) for life in lives]
    _write("events into SQLite, the states of a run far apart", apart)


def reading() -> None:
    """Ask an index of many runs (BENCH_INDEX_RUNS) what the console asks."""
    from jtask_index.reader import IndexReader

    with tempfile.TemporaryDirectory(prefix="jtask-bench-") as folder:
        file = Path(FILE or f"{folder}/index.sqlite")
        if not file.exists():
            begun = time.perf_counter()
            _fill(file)
            show("  filled by SQL in", time.perf_counter() - begun, "s")
        show("runs in the index", RUNS, "runs")
        show("  bytes of the file for a run", file.stat().st_size / RUNS, "bytes")
        with IndexReader.open(f"sqlite:///{file}") as reader:
            slowest, slowest_of_cpu = 0.0, 0.0
            for name, ask in Questions(reader, RUNS).all():
                times, of_cpu = _times(ask)
                slowest = max(slowest, percentile(times, 0.95))
                slowest_of_cpu = max(slowest_of_cpu, percentile(of_cpu, 0.95))
                show(f"  {name}, p50", percentile(times, 0.5), "ms")
                show(f"  {name}, p95", percentile(times, 0.95), "ms", goal="goal <= 100")
        show("the slowest question, p95", slowest, "ms", goal="goal <= 100")
        show("  by the processor's time alone", slowest_of_cpu, "ms")


def _fill(file: Path) -> None:
    from jtask_index.engines import open_engine
    from jtask_index.writer import IndexWriter

    engine = open_engine(f"sqlite:///{file}")
    IndexWriter(engine).prepare()
    engine.dispose()
    many_runs.fill(file, RUNS)


def _times(ask: Callable[[], object]) -> tuple[list[float], list[float]]:
    """Return how long it takes again and again, and of the processor's time, in milliseconds."""
    times: list[float] = []
    of_cpu: list[float] = []
    for _ in range(_TIMES):
        begun, cpu = time.perf_counter(), time.process_time()
        ask()
        times.append((time.perf_counter() - begun) * 1e3)
        of_cpu.append((time.process_time() - cpu) * 1e3)
    return times, of_cpu


def _write(name: str, events: Sequence[Event]) -> None:
    from jtask_index.engines import open_engine
    from jtask_index.writer import Followed, IndexWriter

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
    show(name, rate, "events/s", bound, "goal >= 20,000")
    show("  by the processor's time alone", of_cpu, "events/s", cpu_bound)


def _lives(count: int) -> Iterator[tuple[Event, Event, Event, Event]]:
    now = time.time()
    chance = random.Random(1)
    for number, run_id in enumerate(RunIds().new_many(count)):
        task, worker = f"task{number % 20}-0123456789ab", f"host-{number % 8}"
        at, ended = now + number / 1e4, now + number / 1e4 + 0.05 + chance.random()
        arguments = f'{{"tenant":{number % 1000},"note":"hello {number}"}}'
        over = Event(run_id, "Completed", ended, task, 1, worker)
        if number % 50 == 0:
            over = over._replace(state="Failed", detail="no", error="ValueError")
        yield (
            Event(run_id, "Scheduled", at, task, queue=task, arguments=arguments),
            Event(run_id, "Pending", at + 0.01, task, 1, worker),
            Event(run_id, "Running", at + 0.02, task, 1, worker),
            over,
        )


def _bare(file: Path, events: Sequence[Event]) -> tuple[float, float]:
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
