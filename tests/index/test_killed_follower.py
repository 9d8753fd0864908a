"""A follower that is killed at any step has applied a batch wholly or not at all."""

import subprocess
import sys
from pathlib import Path

import index_models as m

from jtask_index.reader import IndexReader
from jtask_index.writer import IndexWriter

# Applies a batch, and is killed before or after each of its steps; then applies the rest. It
# forks, for to start Python for each step would take long.
DYING = """
import os, signal, sys
import index_models as m
from jtask_index.engines import open_engine
from jtask_index.writer import Followed, IndexWriter
from sqlalchemy import event

url, seed, size = sys.argv[1], int(sys.argv[2]), 7
events = m.Chance(seed).events(60)


def follow(last_step):
    steps = 0

    def step(*_):
        nonlocal steps
        steps += 1
        if steps == last_step:
            os.kill(os.getpid(), signal.SIGKILL)

    engine = open_engine(url)
    writer = IndexWriter(engine)
    before = writer.followed()
    for name in ("begin", "before_cursor_execute", "after_cursor_execute", "commit", "checkin"):
        event.listen(writer.engine, name, step)
    while before.position < len(events):
        after = Followed("log", min(len(events), before.position + size))
        assert writer.apply(events[before.position : after.position], before, after)
        before = after
        if last_step:
            break


kills = 0
while True:
    child = os.fork()
    if not child:
        follow(kills + 1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status == 0:
        break
    assert os.WIFSIGNALED(status)
    kills += 1
follow(0)
print(kills)
"""


def test_a_follower_that_is_killed_at_every_step_applies_each_event_once(
    database: str, writer: IndexWriter, reader: IndexReader
) -> None:
    tests = Path(m.__file__).parent
    command = [sys.executable, "-c", DYING, database, "1"]
    done = subprocess.run(command, cwd=tests, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20
    m.check(reader, m.Chance(1).events(60))
