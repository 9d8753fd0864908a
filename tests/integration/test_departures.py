"""Runs that are over and held up on their way out of their queue stop none that comes behind."""

import asyncio
from collections.abc import Awaitable, Iterator

import pytest
from in_process import StartWorker, on_each_broker, on_io
from waiting import PATIENCE, eventually

from jtask import task
from jtask.hooks import hookimpl
from jtask.plugins import get_plugins
from jtask.stored_ends import StoredEnd

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker

QUEUE = "held-up"
MANY = 20
"""More runs than a worker of one slot holds."""


@task(queue=QUEUE)
def square(x: int) -> int:
    return x * x


class Slow:
    """Takes as long as it is told to over each end."""

    def __init__(self) -> None:
        self.may_go_on = asyncio.Event()

    @hookimpl
    def jtask_stored(self, end: StoredEnd) -> Awaitable[object]:
        del end
        return self.may_go_on.wait()

    async def let_go(self) -> None:
        self.may_go_on.set()


@pytest.fixture
def slow() -> Iterator[Slow]:
    plugin = Slow()
    get_plugins().add(plugin)
    yield plugin
    get_plugins().remove(plugin)


def test_runs_that_a_plugin_holds_up_let_others_pass_and_stay_on_their_queue(
    jtask_worker: StartWorker, slow: Slow
) -> None:
    jtask_worker(square, concurrency=1)
    runs = [square.delay(x) for x in range(MANY)]
    assert [run.result(PATIENCE) for run in runs] == [x * x for x in range(MANY)]
    assert on_io(lambda broker: broker.queues.depth(QUEUE)) == MANY
    on_io(lambda _: slow.let_go())
    eventually(lambda: on_io(lambda broker: broker.queues.depth(QUEUE)) == 0)
