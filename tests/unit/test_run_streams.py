"""Which stream holds the runs of a queue, and how several are asked as one."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from jtask.errors import BrokerError
from jtask.ids import RunIds
from jtask_nats.queues.over_streams import first_found, merged
from jtask_nats.queues.queue_counts import is_run, level_of
from jtask_nats.streams.run_streams import RunStreams, part_of
from jtask_nats.streams.subjects import Subjects, is_for_parked

RUN = RunIds().new()


def test_one_stream_holds_all_runs_under_the_names_it_always_had() -> None:
    streams, subjects = RunStreams("shop"), Subjects("shop")
    assert streams.names == ("JTASK_shop",)
    assert streams.of("mails") == streams.first == "JTASK_shop"
    assert subjects.queued("mails", 0, "r1") == "jtask.shop.q.mails.0.r1"
    assert subjects.of_part(1) == ["jtask.shop.q.>", "jtask.shop.s.>", "jtask.shop.p.>"]


@pytest.mark.parametrize(
    ("queue", "number", "part"),
    [("mails", 1, 1), ("mails", 4, 2), ("mails", 7, 3), ("reports", 4, 2), ("shop-total", 4, 3)],
)
def test_a_queue_has_the_same_stream_in_every_version(queue: str, number: int, part: int) -> None:
    assert part_of(queue, number) == part


@pytest.mark.parametrize("number", [2, 3, 4, 8, 16])
def test_queues_are_spread_evenly(number: int) -> None:
    parts = Counter(part_of(f"queue-{one}", number) for one in range(1000))
    assert set(parts) == set(range(1, number + 1))
    assert max(parts.values()) < 1.5 * 1000 / number


def test_the_runs_of_a_queue_are_in_the_subjects_of_its_stream() -> None:
    subjects, streams = Subjects("shop", 4), RunStreams("shop", 4)
    assert streams.names == ("JTASK_shop", *(f"JTASK_shop_RUNS_{part}" for part in (2, 3, 4)))
    assert streams.of("mails") == "JTASK_shop_RUNS_2"
    of_all = [subjects.of_part(part) for part in (1, 2, 3, 4)]
    mine = [
        subjects.queued("mails", 0, RUN),
        subjects.schedule("mails", 0, RUN),
        subjects.parked("mails", "a key", RUN),
    ]
    for subject in mine:
        captured = [any(subject.startswith(one[:-1]) for one in part) for part in of_all]
        assert captured == [False, True, False, False]
        assert level_of(subject)[0] == "mails"
        assert is_run(subjects, subject)
    assert subjects.parked_key(mine[2]) == "a key"
    assert [subjects.is_schedule(one) for one in mine] == [False, True, True]
    assert [is_for_parked(one.rsplit(".", 3)[0]) for one in mine] == [False, False, True]


def test_two_numbers_of_streams_have_no_subject_in_common() -> None:
    one, many, more = Subjects("shop"), Subjects("shop", 2), Subjects("shop", 3)
    placed = {subjects.queued("mails", 0, RUN) for subjects in (one, many, more)}
    assert len(placed) == 3


def test_the_first_that_finds_something_is_waited_for_alone() -> None:
    async def after(seconds: float, found: str | None) -> str | None:
        await asyncio.sleep(seconds)
        return found

    async def fail() -> str | None:
        raise BrokerError("no leader")

    async def main() -> None:
        assert await first_found([after(3600, "late"), fail(), after(0, "found")]) == "found"
        assert await first_found([after(0, None), after(0, None)]) is None
        with pytest.raises(BrokerError, match="no leader"):
            await first_found([after(0, None), fail()])

    asyncio.run(main())


def test_what_several_streams_have_is_shown_in_one_order() -> None:
    async def numbers(*of_one: int) -> AsyncIterator[int]:
        for number in of_one:
            yield number

    async def main() -> list[int]:
        sources = [numbers(1, 4, 5), numbers(), numbers(2, 3, 6)]
        return [number async for number in merged(sources, float)]

    assert asyncio.run(main()) == [1, 2, 3, 4, 5, 6]
