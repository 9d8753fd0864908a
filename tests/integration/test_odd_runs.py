"""Runs whose message, arguments or result are not what they should be, on both brokers."""

import pytest
from fuzz_corpus import BODIES, ENVELOPES
from in_process import StartWorker, on_each_broker, on_io
from waiting import PATIENCE, eventually

from jtask import StateName, get_run, task
from jtask.contract import Broker, Message
from jtask.errors import SerializationError
from jtask.ids import get_run_ids
from jtask.settings import get_settings
from jtask.wire.envelope import Envelope
from jtask_dead_letters.operations import list_letters

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


@task(key="odd-sum", queue="odd")
def add(a: int, b: int) -> int:
    return a + b


@task(key="odd-large", queue="odd", retries=3)
def large(size: int) -> str:
    return "x" * size


def enqueue(body: bytes, run_id: str | None = None) -> str:
    run_id = run_id or get_run_ids().new()
    message = Message(run_id, "odd", body)

    async def put(broker: Broker) -> None:
        await broker.runs.enqueue([message])

    on_io(put)
    return run_id


def test_messages_that_are_no_runs_are_set_aside_and_their_waiters_told(
    jtask_worker: StartWorker,
) -> None:
    jtask_worker(add, concurrency=2)
    bodies = [one for one in (*BODIES, *ENVELOPES[::23]) if len(one) < 900_000]
    run_ids = [enqueue(body.replace(b'"task": "add"', b'"task": "odd-sum"')) for body in bodies]
    assert add.delay(1, 1).result(PATIENCE) == 2
    for run_id in run_ids:
        # Some are runs after all.
        assert get_run(run_id).wait(PATIENCE)
    letters = list_letters()
    assert len(letters) > len(BODIES) / 2
    assert all(len(letter.reason) < 2500 for letter in letters)


@pytest.mark.parametrize("promised", [0, 5, 14, 1 << 50])
def test_arguments_of_another_length_than_promised_are_not_executed(
    jtask_worker: StartWorker, promised: int
) -> None:
    run_id = get_run_ids().new()

    async def put(broker: Broker) -> None:
        await broker.blobs.put(f"{run_id}.args", b'{"a":1,"b":2}')

    on_io(put)
    envelope = Envelope(run_id, "odd-sum", "add", "json", b"", 1.7e9, blob=promised)
    jtask_worker(add)
    run = get_run(enqueue(envelope.encode(), run_id))
    assert run.wait(PATIENCE)
    assert run.state.name is StateName.CRASHED
    [letter] = eventually(list_letters)
    assert f"{promised} bytes" in letter.reason


def test_other_arguments_of_the_same_length_are_not_executed(jtask_worker: StartWorker) -> None:
    sent, stored = b'{"a":1,"b":2}', b'{"a":1,"b":9}'
    run_id = get_run_ids().new()

    async def put(broker: Broker) -> None:
        await broker.blobs.put(f"{run_id}.args", stored)

    on_io(put)
    envelope = Envelope(run_id, "odd-sum", "add", "json", sent, 1.7e9).with_blob(sent)
    jtask_worker(add)
    run = get_run(enqueue(envelope.encode(), run_id))
    assert run.wait(PATIENCE)
    assert run.state.name is StateName.CRASHED
    assert "as they were sent" in run.state.message


def test_a_result_beyond_the_limit_fails_its_run(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JTASK_RESULT_LIMIT", "1000")
    get_settings.cache_clear()
    jtask_worker(large)
    assert large.delay(998).result(PATIENCE) == "x" * 998
    run = large.with_options(retries=0).delay(999)
    assert run.wait(PATIENCE)
    with pytest.raises(SerializationError, match="1001 bytes, and JTASK_RESULT_LIMIT is 1000"):
        run.result()
    get_settings.cache_clear()
