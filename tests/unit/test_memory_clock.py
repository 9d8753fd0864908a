"""The virtual clock moves when told to, and what becomes due on the way is done."""

import asyncio
import threading
from functools import partial

from jtask_memory import SystemClock, VirtualClock


def test_a_virtual_clock_stands_still_until_it_is_told_to_move() -> None:
    clock = VirtualClock(100.0)
    assert clock.time() == 100.0
    clock.advance(2.5)
    assert clock.time() == 102.5


def test_advancing_calls_back_in_the_order_of_the_instants_and_at_each_of_them() -> None:
    async def main() -> None:
        clock = VirtualClock(100.0)
        loop = asyncio.get_running_loop()
        called: list[tuple[str, float]] = []

        def call(name: str) -> None:
            called.append((name, clock.time()))

        for name, instant in (("late", 130.0), ("early", 110.0), ("never", 140.5)):
            clock.call_at(instant, partial(call, name), loop)
        clock.advance(40)
        assert called == [("early", 110.0), ("late", 130.0)]

    asyncio.run(main())


def test_a_timer_that_is_set_while_advancing_is_called_too_when_due() -> None:
    async def main() -> None:
        clock = VirtualClock(0.0)
        loop = asyncio.get_running_loop()
        called: list[float] = []

        def tick() -> None:
            called.append(clock.time())
            clock.call_at(clock.time() + 1, tick, loop)

        clock.call_at(1.0, tick, loop)
        clock.advance(3.5)
        assert called == [1.0, 2.0, 3.0]

    asyncio.run(main())


def test_a_cancelled_timer_is_not_called() -> None:
    async def main() -> None:
        clock = VirtualClock(0.0)
        called: list[str] = []
        timer = clock.call_at(1.0, lambda: called.append("x"), asyncio.get_running_loop())
        timer.cancel()
        clock.advance(2)
        assert called == []

    asyncio.run(main())


def test_advancing_from_another_thread_returns_when_the_loop_has_done_what_is_due() -> None:
    clock = VirtualClock(0.0)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        called_in: list[int | None] = []
        clock.call_at(1.0, lambda: called_in.append(threading.get_ident()), loop)
        clock.advance(1)
        assert called_in == [thread.ident]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_loop_that_is_not_running_does_what_is_due_when_it_runs() -> None:
    clock = VirtualClock(0.0)
    called: list[float] = []
    with asyncio.Runner() as runner:
        clock.call_at(1.0, lambda: called.append(clock.time()), runner.get_loop())
        clock.advance(2)
        assert called == []
        runner.run(asyncio.sleep(0))
    assert called == [2.0]


def test_advancing_passes_over_a_loop_that_has_ended() -> None:
    clock = VirtualClock(0.0)
    loop = asyncio.new_event_loop()
    clock.call_at(1.0, lambda: None, loop)
    loop.close()
    clock.advance(2)
    assert clock.time() == 2.0


def test_the_system_clock_calls_back_when_an_instant_has_come() -> None:
    async def main() -> None:
        clock = SystemClock()
        called = asyncio.Event()
        clock.call_at(clock.time() + 0.01, called.set, asyncio.get_running_loop())
        await called.wait()

    asyncio.run(main())
