"""A worker says when runs wait for a task of its under another key."""

import asyncio
import logging
from typing import Any, cast

import pytest
from in_process import StartWorker, on_io
from waiting import eventually

from jtask import task
from jtask.runtime import WorkerInfo
from jtask.worker import unserved
from jtask.worker.unserved import likely_task

pytestmark = pytest.mark.usefixtures("jtask_memory")


@task
def add() -> None: ...


OTHER = "add-0123456789ab"


def info(*tasks: Any) -> WorkerInfo:
    queues = tuple(one.queue for one in tasks)
    return WorkerInfo("a", tasks, queues, 1, "memory://", cast("Any", None), None)


@pytest.mark.parametrize(
    ("queue", "is_likely"),
    [
        (OTHER, True),
        (add.key, False),
        ("sub-0123456789ab", False),
        ("add", False),
        ("add-0123456789", False),
        ("more-add-0123456789ab", False),
    ],
)
def test_a_queue_of_the_same_name_and_another_hash_is_likely_meant(
    queue: str, is_likely: bool
) -> None:
    assert likely_task(queue, info(add)) == (add.key if is_likely else None)


def test_runs_that_wait_under_another_key_are_told_once(
    jtask_worker: StartWorker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unserved, "_FIRST_SECONDS", 0.01)
    monkeypatch.setattr(unserved, "_LONGEST_SECONDS", 0.01)
    caplog.set_level(logging.WARNING, "jtask.worker")
    add.with_options(queue=OTHER).delay()
    add.with_options(queue="unrelated").delay()
    jtask_worker(add)
    said = f"runs wait in the queue {OTHER}, which no worker serves"
    eventually(lambda: said in caplog.text)
    on_io(lambda _: asyncio.sleep(0.1))  # time for ten more looks
    assert caplog.text.count("runs wait in the queue") == 1
    assert add.key in caplog.text


def test_a_queue_that_another_worker_serves_is_not_told(
    jtask_worker: StartWorker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unserved, "_FIRST_SECONDS", 0.01)
    monkeypatch.setattr(unserved, "_LONGEST_SECONDS", 0.01)
    body = b'{"queues": ["%b"]}' % OTHER.encode()
    on_io(lambda broker: broker.heartbeats.beat("another", body, 60.0))
    on_io(lambda broker: broker.heartbeats.beat("odd", b"[]", 60.0))
    add.with_options(queue=OTHER).delay()
    jtask_worker(add)
    on_io(lambda _: asyncio.sleep(0.1))
    assert "runs wait" not in caplog.text
