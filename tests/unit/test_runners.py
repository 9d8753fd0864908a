"""The threads in which runs are executed, and their end."""

import asyncio
import threading
from typing import Any, cast

from jtask.execution import Job
from jtask.runners import LoopRunner

PATIENCE = 20.0  # seconds


def closed(runner: LoopRunner) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            await runner.close()

    asyncio.run(main())


def test_a_closed_loop_has_no_thread_any_more() -> None:
    threads: list[threading.Thread] = []
    executed = threading.Event()

    async def perform(_: Job) -> None:
        threads.append(threading.current_thread())
        executed.set()

    runner = LoopRunner(perform)
    runner.submit(cast("Any", object()))
    assert executed.wait(PATIENCE)
    closed(runner)
    assert not threads[0].is_alive()


def test_closing_does_not_wait_for_a_task_that_blocks_the_loop() -> None:
    threads: list[threading.Thread] = []
    blocks, go_on = threading.Event(), threading.Event()

    async def perform(_: Job) -> None:
        threads.append(threading.current_thread())
        blocks.set()
        go_on.wait(PATIENCE)

    runner = LoopRunner(perform)
    runner.submit(cast("Any", object()))
    assert blocks.wait(PATIENCE)
    closed(runner)
    assert threads[0].is_alive()
    assert threads[0].daemon
    go_on.set()
    threads[0].join(PATIENCE)
    assert not threads[0].is_alive()
