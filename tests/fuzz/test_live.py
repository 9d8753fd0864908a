"""Messages of any kind, on all subjects that jtask reads, stop no worker, caller or command."""

import json
import logging

import pytest
from click.testing import CliRunner
from fuzz_corpus import BODIES, ENVELOPES, HEADERS, TOKENS
from in_process import StartWorker
from raw_messages import run_id_bytes, send_raw
from waiting import PATIENCE

from jtask import task
from jtask.cli.program import main
from jtask.client import get_client
from jtask.ids import get_run_ids

pytestmark = [pytest.mark.usefixtures("jtask_nats"), pytest.mark.timeout(170)]

_SMALL = tuple(body for body in (*BODIES, *ENVELOPES[::7]) if len(body) < 10_000)
_TOPICS = (b"cancel", b"cancelling", b"held-runs", b"cancelled-runs", b"purged-queues")


@task(key="add", queue="add")
def add(a: int, b: int) -> int:
    return a + b


@task(key="tick", queue="tick", every=3600)
def tick() -> None:
    """Have a schedule."""


def send_to_all() -> int:
    """Send what is odd to every subject; return how many messages that were."""
    ns, sent = b"jtask.default.", 0
    client = get_run_ids().client.encode()
    subjects = [ns + b"c.ask.%b" % topic for topic in _TOPICS]
    subjects += [ns + b"c.priority", ns + b"c.held", ns + b"e.f", ns + b"e.\xff", ns + b"w.host-1"]
    for bucket in (b"cancellations", b"schedules", b"replays", b"=3dpauses", b"=pauses"):
        subjects += [ns + b"k.%b.%b" % (bucket, key) for key in (b"add", b"=2a", b"\xff", b"==x")]
    subjects += [ns + b"r.%b.%b" % (client, run_id_bytes()), ns + b"r.x.y", ns + b"r.\xff.\xff"]
    subjects += [ns + b"d.add.%b" % run_id_bytes(), ns + b"d.\x1b.x", ns + b"b.x.y", ns + b"t.x"]
    subjects += [ns + b"s.add.0.x", ns + b"q.add.7.%b" % run_id_bytes(), ns + b"q.add.x.y"]
    subjects += [ns + b"q.\x1b[2J.0.%b" % run_id_bytes(), ns + b"q.a.b.c.d.e", ns + b"q.x"]
    for subject in subjects:
        send_raw(subject, *_SMALL)
        sent += len(_SMALL)
    for number, token in enumerate(TOKENS):
        send_raw(ns + b"q.add.0." + token % number, b"x")
        send_raw(ns + b"o.%b." % client + token % number, b"x")
        sent += 2
    for body in (*BODIES, *ENVELOPES[::11]):
        send_raw(ns + b"q.add.0." + run_id_bytes(), body)
        sent += 1
    for lines in HEADERS:
        send_raw(ns + b"q.add.0." + run_id_bytes(), b"{}", headers=lines)
        send_raw(ns + b"d.add." + run_id_bytes(), b"{}", headers=lines)
        sent += 2
    return sent


def jtask(*arguments: str) -> str:
    ended = CliRunner().invoke(main, arguments)
    assert ended.exception is None or isinstance(ended.exception, SystemExit), (
        arguments,
        ended.exc_info,
    )
    assert "\x1b" not in ended.stdout + ended.stderr
    return ended.stdout


def test_a_worker_a_caller_and_the_commands_go_on(
    jtask_worker: StartWorker, caplog: pytest.LogCaptureFixture
) -> None:
    worker = jtask_worker(add, tick, concurrency=2)
    before = add.delay(1, 1)
    assert before.result(PATIENCE) == 2
    with caplog.at_level(logging.INFO, "jtask"):
        sent = send_to_all()
        runs = [add.delay(n, 1) for n in range(20)]
        assert [run.result(PATIENCE) for run in runs] == [n + 1 for n in range(20)]
    assert worker.problem() is None
    assert not [line for line in caplog.messages if "reconnected" in line]
    assert len(caplog.messages) < sent / 4
    for arguments in (
        ("runs", "ls"),
        ("runs", "show", before.run_id),
        ("queues", "ls"),
        ("dead", "ls"),
        ("schedules", "ls"),
        ("workers", "ls"),
        ("workers", "ls", "--json"),
        ("cancel", "--queue", "add", "--yes"),
        ("cancel", "*"),
        ("queues", "purge", "*", "--yes"),
        ("queues", "pause", "*"),
        ("dead", "show", "*"),
        ("dead", "replay", "*"),
        ("dead", "drop", "*"),
        ("enqueue", "add", "a=1", "b=2"),
        ("enqueue", "add", "a=1", "b=2", "--queue", "unserved"),
    ):
        jtask(*arguments)
    letters = json.loads(jtask("dead", "ls", "--json"))
    assert len(letters) > 50  # also after `dead drop '*'`
    assert all(len(letter["reason"]) < 3000 for letter in letters)
    jtask("dead", "replay", "--all", "--yes")
    jtask("dead", "drop", "--all", "--yes")
    assert add.delay(2, 2).result(PATIENCE) == 4
    assert get_client().broker is not None
