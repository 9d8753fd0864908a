"""Calls that go on beside each other."""

import asyncio

import pytest

from jtask.background import map_bounded


def test_results_come_in_the_order_of_the_items() -> None:
    async def main() -> list[str]:
        released = [asyncio.Event() for _ in range(3)]

        async def wait_for_the_next(place: int) -> str:
            if place < 2:
                await released[place + 1].wait()
            released[place].set()
            return f"of {place}"

        return await map_bounded(wait_for_the_next, range(3), 3)

    assert asyncio.run(main()) == ["of 0", "of 1", "of 2"]


def test_there_are_no_more_tasks_than_calls_at_once() -> None:
    async def main() -> list[int]:
        async def count_tasks(_: int) -> int:
            await asyncio.sleep(0)
            return len(asyncio.all_tasks())

        return await map_bounded(count_tasks, range(100), 7)

    counts = asyncio.run(main())
    assert len(counts) == 100
    assert max(counts) == 7 + 1  # the caller's own


def test_nothing_is_awaited_of_no_items() -> None:
    async def fail(_: int) -> None:
        pytest.fail("awaited")

    assert asyncio.run(map_bounded(fail, [], 4)) == []


def test_after_a_failure_no_call_is_begun_and_those_that_were_end() -> None:
    begun: list[int] = []
    ended: list[int] = []

    async def main() -> None:
        failed = asyncio.Event()

        async def fail_as_the_last_to_begin(item: int) -> None:
            begun.append(item)
            if item == 2:
                failed.set()
                raise ValueError("the third")
            await failed.wait()
            await asyncio.sleep(0)
            ended.append(item)

        with pytest.raises(ValueError, match="the third"):
            await map_bounded(fail_as_the_last_to_begin, range(10), 3)

    asyncio.run(main())
    assert begun == [0, 1, 2]
    assert ended == [0, 1]


def test_calls_are_cancelled_with_whoever_awaits_them() -> None:
    begun: list[int] = []
    cancelled: list[int] = []

    async def main() -> None:
        async def hang(item: int) -> None:
            begun.append(item)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(item)
                raise

        mapping = asyncio.create_task(map_bounded(hang, range(5), 2))
        while len(begun) < 2:
            await asyncio.sleep(0)
        mapping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await mapping

    asyncio.run(main())
    assert begun == cancelled == [0, 1]
