"""A follower that is killed at any step has done each of its works wholly or not at all."""

import subprocess
import sys
from pathlib import Path

import index_models as m
import pytest

from jtask.states import FINAL
from jtask_index.reader import IndexReader
from jtask_index.retention import Limits, trim
from jtask_index.writer import IndexWriter

# Does a work in steps, and is killed before or after each of them; then does what is left of it. It
# forks, for to start Python for each step would take long.
DYING = """
import os, signal, sys
import index_models as m
from jtask_index.amending import amend
from jtask_index.engines import open_engine
from jtask_index.reader import IndexReader
from jtask_index.retention import Limits, trim
from jtask_index.writer import Followed, IndexWriter
from sqlalchemy import event

work, url, seed, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), 7
events = m.Chance(seed).events(60)


def follow(writer, is_all):
    before = writer.followed()
    while before.position < len(events):
        after = Followed("log", min(len(events), before.position + size))
        assert writer.apply(events[before.position : after.position], before, after)
        before = after
        if not is_all:
            break


def ask(writer, is_all):
    chance = m.Chance(seed)
    with IndexReader(open_engine(url)) as reader:
        silent = m.silent_runs(reader)
    amend(writer, [chance.answer(run) for run in silent])


def delete(writer, is_all):
    trim(writer, Limits(1e9, runs=2))


WORKS = {"follow": follow, "ask": ask, "delete": delete}


def die_at(last_step):
    steps = 0

    def step(*_):
        nonlocal steps
        steps += 1
        if steps == last_step:
            os.kill(os.getpid(), signal.SIGKILL)

    writer = IndexWriter(open_engine(url))
    # Before each statement, before the commit, and after it.
    for name in ("before_cursor_execute", "commit", "checkin"):
        event.listen(writer.engine, name, step)
    WORKS[work](writer, not last_step)


kills = 0
while True:
    child = os.fork()
    if not child:
        die_at(kills + 1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status == 0:
        break
    assert os.WIFSIGNALED(status)
    kills += 1
    with IndexReader(open_engine(url)) as reader:
        m.check_whole(reader)
die_at(0)
print(kills)
"""


def kill_at_every_step(work: str, database: str) -> None:
    tests = Path(m.__file__).parent
    command = [sys.executable, "-c", DYING, work, database, "1"]
    done = subprocess.run(command, cwd=tests, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


def test_a_follower_that_is_killed_at_every_step_applies_each_event_once(
    database: str, writer: IndexWriter, reader: IndexReader
) -> None:
    kill_at_every_step("follow", database)
    m.check(reader, m.Chance(1).events(60))


@pytest.fixture
def filled(writer: IndexWriter) -> IndexWriter:
    events = m.Chance(1).events(60)
    # Some runs are over, others are not.
    m.apply_all(writer, [[e for e in events if e.state not in FINAL or e.run_id < m.IDS[6]]])
    return writer


def test_what_became_of_silent_runs_is_written_wholly_or_not_at_all(
    database: str, filled: IndexWriter, reader: IndexReader
) -> None:
    assert m.silent_runs(reader)
    kill_at_every_step("ask", database)
    m.check_whole(reader)


def test_runs_are_deleted_wholly_or_not_at_all(
    database: str, filled: IndexWriter, reader: IndexReader
) -> None:
    kill_at_every_step("delete", database)
    assert trim(filled, Limits(1e9, runs=2)).runs == 0
    m.check_whole(reader)
