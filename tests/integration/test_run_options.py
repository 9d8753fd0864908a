"""Copies of a task with other options: cheap, and their options travel or are refused."""

import time
from typing import Any

import pytest
from in_process import StartWorker, on_each_broker, on_io
from waiting import PATIENCE

from jtask import runtime, task
from jtask.client import get_client
from jtask.contract import Broker, Message
from jtask.errors import RunTimedOut, TaskDefinitionError
from jtask.wire.envelope import Envelope, decode_envelope

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


@task(retries=0)
def attempts() -> int:
    if runtime.attempt < 3:
        raise ValueError(f"attempt {runtime.attempt}")
    return runtime.attempt


@task
def nap(seconds: float) -> str:
    time.sleep(seconds)
    return str(runtime.task_name)


def letters() -> list[str]:
    async def read(broker: Broker) -> list[str]:
        return [letter.run_id async for letter in broker.dead_letters.read()]

    found: list[str] = on_io(read)
    return found


def message_of(run_id: str) -> Envelope:
    async def read(broker: Broker) -> Envelope:
        place = await broker.queues.locate(run_id)
        assert place is not None
        return decode_envelope(place.run.body)

    found: Envelope = on_io(read)
    return found


def test_retries_of_a_copy_travel_with_its_runs_only(jtask_worker: StartWorker) -> None:
    jtask_worker(attempts)
    patient = attempts.with_options(retries=2, retry_delay_seconds=[0, 0.01])
    assert patient.delay().result(PATIENCE) == 3
    assert isinstance(attempts.delay().exception(PATIENCE), ValueError)
    assert [run.result(PATIENCE) for run in patient.delay_many([(), ()])] == [3, 3]


def test_a_timeout_and_a_name_of_a_copy_travel(jtask_worker: StartWorker) -> None:
    jtask_worker(nap)
    with pytest.raises(RunTimedOut):
        nap.with_options(timeout_seconds=0.05).delay(20).result(PATIENCE)
    run = nap.with_options(name="siesta").delay(0)
    assert run.result(PATIENCE) == "siesta"
    assert run.info is not None
    assert run.info.task_name == "siesta"
    assert nap.delay(0).result(PATIENCE) == "nap"


def test_dead_letter_of_a_copy_travels(jtask_worker: StartWorker) -> None:
    jtask_worker(attempts)
    lost = attempts.with_options(dead_letter=False).delay()
    kept = attempts.delay()
    assert lost.exception(PATIENCE)
    assert kept.exception(PATIENCE)
    while kept.run_id not in (found := letters()):
        time.sleep(0.01)
    assert lost.run_id not in found


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("on_failure", [print]),
        ("retry_condition_fn", lambda task, run, state: True),
        ("retry_on", [ValueError]),
        ("retry_delay_seconds", lambda retries: 1.0),
        ("isolation", "process"),
        ("every", 60),
    ],
)
def test_an_option_that_cannot_travel_is_refused_by_name(option: str, value: Any) -> None:
    if option == "on_failure":
        value = [lambda task, run, state: None]
    copy = attempts.with_options(**{option: value})
    with pytest.raises(TaskDefinitionError, match=f"cannot carry the option '{option}'"):
        copy.delay()
    with pytest.raises(TaskDefinitionError, match=option):
        copy.delay_many([()])


def test_an_option_with_the_tasks_own_value_need_not_travel() -> None:
    same = attempts.with_options(retries=0, isolation="none").with_options(priority=3)
    assert message_of(same.delay().run_id).options == {}
    assert message_of(same.with_options(retries=1).delay().run_id).options == {"retries": 1}


def test_a_run_that_carries_what_is_not_acceptable_fails(jtask_worker: StartWorker) -> None:
    jtask_worker(attempts)
    client = get_client()
    for options in ({"retries": -1}, {"nonsense": 1}, {"isolation": "process"}):
        run_id = client.ids.new()
        envelope = Envelope(run_id, attempts.key, "attempts", "json", b"{}", time.time())
        envelope.options = dict(options)
        message = Message(run_id, attempts.queue, envelope.encode())
        on_io(lambda broker, one=message: broker.runs.enqueue([one]))
        assert client.handle(run_id).exception(PATIENCE) is not None
        assert client.handle(run_id).state.name == "Failed"


def test_a_hook_that_a_copy_was_given_later_cannot_travel_either() -> None:
    copy = attempts.with_options(retries=5)
    copy.on_completion(lambda task, run, state: None)
    with pytest.raises(TaskDefinitionError, match="cannot carry the option 'on_completion'"):
        copy.delay()
    assert copy() == 3
    attempts.with_options(retries=5).delay()


def test_a_copy_for_one_call_shares_what_was_worked_out_for_its_task() -> None:
    nap.with_options(delay=60).delay(1)
    for copy in (nap.with_options(delay=60), nap.with_options(queue="q").with_options(priority=1)):
        assert copy.hooks is nap.hooks
        assert copy.codecs is nap.codecs
    assert nap.with_options(retries=3).hooks is not nap.hooks
