"""Arguments that are too large for a message live as long as their run, on both brokers."""

import asyncio
import time
from typing import Any

import pytest
from in_process import StartWorker, arguments_blob, on_each_broker, on_io
from waiting import PATIENCE, eventually

from jtask import StateName, task
from jtask.client import get_client
from jtask.client.cancel_requests import CancelRequest
from jtask.client.cancellation import settle_orphan
from jtask.contract import BLOB_MARGIN, EXPIRY_GRACE, Broker, Delivery, OutcomeRecord
from jtask.errors import MessageRefused
from jtask.ids import created_at
from jtask.settings import get_settings
from jtask.states import State
from jtask.testing import run_worker
from jtask.wire.envelope import Envelope, encode_outcome, unstarted_record
from jtask_dead_letters import replaying
from jtask_dead_letters.operations import drop_letters, list_letters, replay_letter
from jtask_queues.operations import purge_queue

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker
LARGE = "v" * 2_000_000
DAY = 86_400.0


class Switch:
    fails = False


switch = Switch()


@task(queue="large", retries=1)
def length(value: str) -> int:
    if switch.fails:
        raise ValueError("no")
    return len(value)


@task(queue="large", dead_letter=False)
def forgotten(value: str) -> int:
    raise ValueError(len(value))


@task(queue="large")
def echo(value: str) -> str:
    return value


@pytest.fixture(autouse=True)
def _fine() -> None:
    switch.fails = False


class Lives:
    """Notes for how long each blob is to be kept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.put: list[tuple[str, float | None]] = []
        blobs = get_client().broker.blobs
        really_put = blobs.put

        async def put(key: str, data: bytes, *, ttl: float | None = None) -> None:
            self.put.append((key, ttl))
            await really_put(key, data, ttl=ttl)

        monkeypatch.setattr(blobs, "put", put)

    def of(self, key: str) -> list[float | None]:
        return [ttl for known, ttl in self.put if known == key]


def is_gone(run_id: str) -> None:
    eventually(lambda: arguments_blob(run_id) is None)


# --- how long they are kept ---------------------------------------------------------------------


def test_a_run_may_wait_longer_than_anything_else_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    lives = Lives(monkeypatch)
    run = length.apply_async((LARGE,), countdown=60 * DAY)
    assert lives.of(f"{run.run_id}.args") == [None]


def test_arguments_go_with_a_run_that_the_broker_may_discard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lives = Lives(monkeypatch)
    run = length.apply_async((LARGE,), countdown=DAY, expires=2 * DAY)
    [life] = lives.of(f"{run.run_id}.args")
    assert life == pytest.approx(3 * DAY + EXPIRY_GRACE + BLOB_MARGIN, abs=60)


def test_a_retry_outlives_the_instant_by_which_its_run_had_to_start(
    monkeypatch: pytest.MonkeyPatch, jtask_worker: StartWorker
) -> None:
    lives = Lives(monkeypatch)
    switch.fails = True
    run = length.with_options(retries=1, retry_delay_seconds=60 * DAY).apply_async(
        (LARGE,), expires=DAY
    )
    jtask_worker(length)
    eventually(lambda: len(lives.of(f"{run.run_id}.args")) == 2)
    assert lives.of(f"{run.run_id}.args")[1] is None
    eventually(lambda: run.state.name is StateName.AWAITING_RETRY)
    assert arguments_blob(run.run_id) is not None


def test_arguments_of_a_dead_letter_end_soon_after_it(
    monkeypatch: pytest.MonkeyPatch, jtask_worker: StartWorker
) -> None:
    lives = Lives(monkeypatch)
    switch.fails = True
    run = length.delay(LARGE)
    jtask_worker(length)
    eventually(list_letters)
    letter_ttl = get_settings().dead_letter_ttl
    assert lives.of(f"{run.run_id}.args") == [None, letter_ttl + BLOB_MARGIN]
    again = replay_letter(run.run_id)
    assert lives.of(f"{again.run_id}.args")[0] is None


def test_a_result_ends_soon_after_its_outcome(
    monkeypatch: pytest.MonkeyPatch, jtask_worker: StartWorker
) -> None:
    lives = Lives(monkeypatch)
    jtask_worker(echo)
    run = echo.delay(LARGE)
    assert run.result(PATIENCE) == LARGE
    assert lives.of(f"{run.run_id}.result") == [get_settings().result_ttl + BLOB_MARGIN]


# --- that none are left over ---------------------------------------------------------------------


def test_nothing_is_left_of_a_run_that_is_over(jtask_worker: StartWorker) -> None:
    jtask_worker(length, forgotten)
    runs: list[Any] = [length.delay(LARGE), forgotten.delay(LARGE)]
    for run in runs:
        assert run.wait(PATIENCE)
        is_gone(run.run_id)


def test_nothing_is_left_of_runs_that_are_cancelled_or_purged() -> None:
    cancelled = length.delay(LARGE)
    delayed = length.apply_async((LARGE,), countdown=DAY)
    purged = length.delay(LARGE)
    cancelled.cancel()
    delayed.cancel()
    assert purge_queue("large") == 1
    for run in (cancelled, delayed, purged):
        assert arguments_blob(run.run_id) is None


def test_nothing_is_left_of_a_run_that_expired(jtask_worker: StartWorker) -> None:
    run = forgotten.apply_async((LARGE,), expires=0.01)
    eventually(lambda: time.time() > created_at(run.run_id) + 0.02)
    jtask_worker(forgotten)
    assert run.wait(PATIENCE)
    assert run.state.name is StateName.EXPIRED
    is_gone(run.run_id)


def test_nothing_is_left_of_letters_that_are_dropped_or_replayed() -> None:
    switch.fails = True
    dropped, replayed = length.delay(LARGE), length.delay(LARGE)
    with run_worker(length):
        eventually(lambda: len(list_letters()) == 2)
    assert arguments_blob(dropped.run_id) is not None
    drop_letters([dropped.run_id])
    again = replay_letter(replayed.run_id)
    assert arguments_blob(dropped.run_id) is None
    assert arguments_blob(replayed.run_id) is None
    switch.fails = False
    with run_worker(length):
        assert again.result(PATIENCE) == len(LARGE)
        is_gone(again.run_id)


def test_nothing_is_left_of_a_replay_that_died_before_it_enqueued(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    switch.fails = True
    run = length.delay(LARGE)
    with run_worker(length):
        eventually(list_letters)
    tried: list[str] = []

    async def die(messages: Any) -> None:
        tried.extend(message.run_id for message in messages)
        raise RuntimeError("died")

    with monkeypatch.context() as patch:
        patch.setattr(get_client().broker.runs, "enqueue", die)
        with pytest.raises(RuntimeError):
            replay_letter(run.run_id)
    assert arguments_blob(tried[0]) is not None
    monkeypatch.setattr(replaying, "_SAME_ID_SECONDS", 0.0)
    again = replay_letter(run.run_id)
    assert again.run_id != tried[0]
    assert arguments_blob(tried[0]) is None
    assert arguments_blob(again.run_id) is not None


def test_nothing_is_left_of_a_run_that_the_broker_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    async def refuse(messages: Any) -> None:
        tried.extend(message.run_id for message in messages)
        raise MessageRefused("no")

    with monkeypatch.context() as patch:
        patch.setattr(get_client().broker.runs, "enqueue", refuse)
        with pytest.raises(MessageRefused):
            length.delay(LARGE)
    assert arguments_blob(tried[0]) is None


def test_a_worker_that_died_after_the_outcome_leaves_nothing(jtask_worker: StartWorker) -> None:
    run = length.delay(LARGE)
    state = State(StateName.COMPLETED, time.time())
    envelope = Envelope(run.run_id, length.key, length.name, "json", b"", time.time())
    outcome = encode_outcome(unstarted_record(run.run_id, envelope, state))

    async def die_before_the_ack(broker: Broker) -> None:
        held: list[Delivery] = []
        consumption = await broker.runs.consume(["large"], 1, held.append)
        while not held:
            await asyncio.sleep(0.01)
        await broker.results.put(OutcomeRecord(run.run_id, outcome))
        await held[0].release()
        await consumption.close()

    on_io(die_before_the_ack)
    jtask_worker(length)
    is_gone(run.run_id)
    eventually(lambda: on_io(lambda broker: broker.queues.depth("large")) == 0)


def test_a_caller_that_died_while_it_cancelled_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = length.delay(LARGE)

    async def die(outcome: Any) -> bool:
        raise RuntimeError("died")

    with monkeypatch.context() as patch:
        patch.setattr(get_client().broker.results, "put", die)
        with pytest.raises(RuntimeError):
            run.cancel()
    assert arguments_blob(run.run_id) is None


def test_the_end_of_a_run_that_was_taken_off_its_queue_takes_its_arguments_along() -> None:
    run = length.delay(LARGE)

    async def take_off(broker: Broker) -> None:
        found = await broker.queues.find(run.run_id)
        assert found is not None
        request = CancelRequest(run.run_id, "no more", time.time()).seen(found)
        assert await broker.runs.cancel(run.run_id)
        await settle_orphan(broker, lambda event: None, request)

    on_io(take_off)
    assert run.state.name is StateName.CANCELLED
    assert arguments_blob(run.run_id) is None
