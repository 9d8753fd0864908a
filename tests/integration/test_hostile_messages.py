"""One bad message stops nothing: it is set aside once, where `jtask dead ls` shows it."""

import pytest
from in_process import StartWorker
from raw_messages import send_raw
from waiting import PATIENCE, eventually

from jtask import task
from jtask.client import get_client
from jtask_dead_letters.operations import list_letters

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


@task(key="add", queue="add")
def add(a: int, b: int) -> int:
    return a + b


@pytest.mark.parametrize("token", ODD_TOKENS)
def test_runs_with_an_id_that_is_none_are_set_aside_and_the_others_go_on(
    jtask_worker: StartWorker, token: bytes
) -> None:
    jtask_worker(add, concurrency=2)
    for number in range(6):
        send_raw(b"jtask.default.q.add.0." + token % number, b"x")
    assert [add.delay(n, 1).result(PATIENCE) for n in range(4)] == [1, 2, 3, 4]
    letters = eventually(lambda: len(found := list_letters()) == 6 and found)
    assert all(len(letter.reason) < 1000 and letter.reason.isprintable() for letter in letters)
    assert get_client().broker.url  # and the connection is the same
