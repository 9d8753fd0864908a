"""One bad message stops nothing: it is set aside once, where `jtask dead ls` shows it."""

from typing import Any, cast

import pytest
from in_process import StartWorker, on_io
from raw_messages import run_id_bytes, send_raw
from waiting import PATIENCE, eventually

from jtask import get_run, task
from jtask.client import get_client
from jtask.contract import Broker
from jtask.ids import get_run_ids
from jtask.outcomes import CancelResult
from jtask.testing import run_worker
from jtask.wire.envelope import Envelope
from jtask_dead_letters.operations import list_letters, replay_letter
from jtask_queues.operations import list_queues, purge_queue

pytestmark = pytest.mark.usefixtures("jtask_nats")

ODD_TOKENS = (
    b"\x01%d",
    b"\x0b%d",
    b"\x0c%d",
    b"\x1b[31m%d",
    b"\xff%d",
    b"\xc3%d",
    b"*%d",
    b"run%d",
    b"$%d",
)


@task(key="sum", queue="sum")
def add(a: int, b: int) -> int:
    return a + b


def largest_message() -> int:
    async def ask(broker: Broker) -> int:
        return int(cast("Any", broker)._connection.max_payload)

    return int(on_io(ask))


@pytest.mark.parametrize("token", ODD_TOKENS)
def test_runs_with_an_id_that_is_none_are_set_aside_and_the_others_go_on(
    jtask_worker: StartWorker, token: bytes
) -> None:
    jtask_worker(add, concurrency=2)
    for number in range(6):
        send_raw(b"jtask.default.q.sum.0." + token % number, b"x")
    assert [add.delay(n, 1).result(PATIENCE) for n in range(4)] == [1, 2, 3, 4]
    letters = eventually(lambda: len(found := list_letters()) == 6 and found)
    assert all(len(letter.reason) < 1000 and letter.reason.isprintable() for letter in letters)
    assert get_client().broker.url  # and the connection is the same


def test_outcomes_under_odd_subjects_cut_no_caller_off() -> None:
    client = get_client()
    run = add.delay(1, 1)
    assert not run.wait(0.01)
    with run_worker(add):
        for token in ODD_TOKENS:
            send_raw(b"jtask.default.o.%b." % client.ids.client.encode() + token % 1, b"{}")
        assert run.result(PATIENCE) == 2


def test_a_push_that_is_no_outcome_ends_no_wait(jtask_worker: StartWorker) -> None:
    run = add.delay(1, 1)
    assert not run.wait(0.01)
    subject = f"jtask.default.o.{get_client().ids.client}.{run.run_id}".encode()
    send_raw(subject, b"", b"{}", b"\xff", b'{"v":1,"id":"another"}')
    assert not run.done()
    jtask_worker(add)
    assert run.result(PATIENCE) == 2


def test_a_header_of_thousands_of_digits_delays_nothing_for_ever(
    jtask_worker: StartWorker,
) -> None:
    jtask_worker(add)
    run_id = get_run_ids().new()
    body = Envelope(run_id, "sum", "sum", "json", b'{"a":1,"b":2}', 1.7e9).encode()
    lines = b"Jtask-At: %b\r\nJtask-Lost: %b\r\n" % (b"9" * 5000, b"9" * 5000)
    send_raw(b"jtask.default.q.sum.0." + run_id.encode(), body, headers=lines)
    assert get_run(run_id).result(PATIENCE) == 3


def test_the_letter_of_a_message_that_fills_its_limit_is_kept(jtask_worker: StartWorker) -> None:
    jtask_worker(add)
    for head in (b"x", b'{"v":1,"id":"x","task":"sum","name":[%b]}\n' % (b"1," * 100_000)):
        body = head + b"y" * (largest_message() - 100 - len(head))
        send_raw(b"jtask.default.q.sum.0." + run_id_bytes(), body)
    letters = eventually(lambda: len(found := list_letters()) == 2 and found)
    for letter in letters:
        assert "bytes are too many to be kept" in letter.reason
        assert len(letter.reason) < 1000


def test_the_arguments_of_a_letter_that_is_too_large_are_kept_as_a_blob() -> None:
    @task(key="broken", queue="broken")
    def broken(text: str) -> None:
        raise ValueError(text[:1000])

    run_id = get_run_ids().new()
    payload = b'{"text":"%b"}' % (b"z" * (largest_message() - 400))
    body = Envelope(run_id, "broken", "broken", "json", payload, 1.7e9).encode()
    with run_worker(broken):
        send_raw(b"jtask.default.q.broken.0." + run_id.encode(), body)
        get_run(run_id).wait(PATIENCE)
        [letter] = eventually(list_letters)
        assert letter.envelope is not None
        assert letter.envelope.blob == len(payload)
        again = replay_letter(run_id)
        again.wait(PATIENCE)
    assert isinstance(again.exception(), ValueError)


def test_announcements_of_priorities_make_no_consumers_but_ten(jtask_worker: StartWorker) -> None:
    jtask_worker(add)
    for number in range(300):
        send_raw(b"jtask.default.c.priority", b"sum %d" % number)
    assert add.delay(1, 1).result(PATIENCE) == 2

    async def names(broker: Broker) -> list[str]:
        consumers = cast("Any", broker)._topology.consumers
        return [info["name"] for info in await consumers.all()]

    assert len(on_io(names)) <= 10


def test_a_cancellation_of_a_wildcard_ends_nothing(jtask_worker: StartWorker) -> None:
    delayed = add.apply_async((1, 1), countdown=3600)
    send_raw(b"jtask.default.k.cancellations.=2a", b'{"message":"all","at":1}\n')
    jtask_worker(add)
    send_raw(b"jtask.default.c.ask.cancelling", b'{"run_id":"*","message":"all"}')
    assert get_client().io.run(get_client().cancel("*", "all")).result is CancelResult.NOT_FOUND
    assert add.delay(1, 1).result(PATIENCE) == 2

    async def find(broker: Broker) -> object:
        return await broker.queues.find(delayed.run_id)

    assert on_io(find) is not None


def test_the_log_says_it_at_a_bounded_rate(
    jtask_worker: StartWorker, caplog: pytest.LogCaptureFixture
) -> None:
    jtask_worker(add)
    with caplog.at_level("INFO", "jtask"):
        for number in range(1000):
            send_raw(b"jtask.default.q.sum.0.%d" % number, b"x", wait=False)
        eventually(lambda: len(list_letters()) == 1000)
    assert len(caplog.messages) < 200


def test_a_purge_removes_what_cannot_be_a_run_where_no_worker_lives() -> None:
    with run_worker(add):
        pass
    for number, token in enumerate(ODD_TOKENS):
        send_raw(b"jtask.default.q.sum.0." + token % number, b"x")
        send_raw(b"jtask.default.q.sum.%d." % (10 + number) + run_id_bytes(), b"x")
    delayed = add.apply_async((1, 1), countdown=3600)
    assert purge_queue("sum") == 2 * len(ODD_TOKENS) + 1
    assert delayed.wait(PATIENCE)
    assert [info for info in list_queues() if info.waiting or info.delayed] == []
    assert purge_queue("sum") == 0
