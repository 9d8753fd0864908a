"""Lines of a run, read until the run has ended."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from jtask.client import log_reader
from jtask.client.log_reader import LogReader
from jtask.contract import END_OF_ATTEMPT, ITEM, LogLine, LogPage, OutcomeRecord
from jtask.ids import get_run_ids
from jtask.outcomes import SettledRun
from jtask.states import State, StateName
from jtask.wire.envelope import encode_outcome

RUN_ID = get_run_ids().new()
LINE = LogLine(RUN_ID, 0.0, ITEM, "json", "1")


class Nothing:
    async def close(self) -> None:
        """Hear of nothing any more."""


class Silent:
    """Has a line for who asks a second time, and tells nobody."""

    def __init__(self) -> None:
        self._asked = 0

    async def append(self, lines: Sequence[LogLine]) -> None:
        raise NotImplementedError

    async def read(
        self, run_id: str, *, after: int = 0, to_the_last: bool = False
    ) -> AsyncIterator[LogPage]:
        del run_id, to_the_last
        self._asked += 1
        if self._asked > 1 and after == 0:
            yield LogPage([LINE], 1)

    async def watch(self, run_id: str, on_news: Callable[[], None]) -> Nothing:
        del run_id, on_news
        return Nothing()


class Late:
    """Gets the last lines of a run after its end is known."""

    def __init__(self, lines: Sequence[LogLine] = (LINE,)) -> None:
        self.lines = list(lines)
        self.tell: Callable[[], None] = lambda: None
        self.looked_in_vain = asyncio.Event()

    async def append(self, lines: Sequence[LogLine]) -> None:
        self.lines += lines
        self.tell()

    async def read(
        self, run_id: str, *, after: int = 0, to_the_last: bool = False
    ) -> AsyncIterator[LogPage]:
        del run_id, to_the_last
        if self.lines[after:]:
            yield LogPage(self.lines[after:], len(self.lines))
        else:
            self.looked_in_vain.set()

    async def watch(self, run_id: str, on_news: Callable[[], None]) -> Nothing:
        del run_id
        self.tell = on_news
        return Nothing()


class Ended:
    """Says that the run has ended."""

    def __init__(self, state: StateName = StateName.COMPLETED, *, has_lines: bool = False) -> None:
        self._state = state
        self._has_lines = has_lines

    async def put(self, outcome: OutcomeRecord) -> bool:
        raise NotImplementedError

    async def get(self, run_id: str) -> OutcomeRecord:
        now = time.time()
        state = State(self._state, now)
        run = SettledRun(run_id, "task", "task", state, 1, now, now, now, 0.0, "", "json")
        run.has_lines = self._has_lines
        return OutcomeRecord(run_id, encode_outcome(run))

    async def watch(
        self, target: str, deliver: Callable[[OutcomeRecord], None], on_gap: Callable[[], None]
    ) -> Nothing:
        del target, deliver, on_gap
        return Nothing()


def test_what_was_stored_and_not_told_is_read_before_a_log_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_reader, "_GRACE_SECONDS", 0.0)
    monkeypatch.setattr(log_reader, "_LONG_GRACE_SECONDS", 0.0)

    async def main() -> None:
        reader = LogReader(Silent(), Ended(), RUN_ID)
        assert await reader.follow() == [LINE]
        assert await reader.follow() is None

    asyncio.run(main())


async def goes_on_waiting(following: "asyncio.Future[Any]", store: Late) -> None:
    await store.looked_in_vain.wait()
    for _ in range(20):  # turns, in which one that waits no longer would have ended
        await asyncio.sleep(0)
    assert not following.done()


def test_the_last_lines_of_an_attempt_that_will_say_that_it_ends_are_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_reader, "_GRACE_SECONDS", 0.0)
    last = LogLine(RUN_ID, 1.0, ITEM, "json", "2")

    async def main() -> None:
        store = Late()
        reader = LogReader(store, Ended(), RUN_ID)
        assert await reader.follow() == [LINE]
        following = asyncio.ensure_future(reader.follow())
        await goes_on_waiting(following, store)
        await store.append([last, LogLine(RUN_ID, 1.0, END_OF_ATTEMPT, "", "")])
        assert await following == [last]
        assert await reader.follow() is None

    asyncio.run(main())


def test_a_log_of_which_nothing_is_there_yet_is_waited_for_when_its_run_says_that_it_has_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_reader, "_GRACE_SECONDS", 0.0)

    async def main() -> None:
        store = Late([])
        reader = LogReader(store, Ended(has_lines=True), RUN_ID)
        following = asyncio.ensure_future(reader.follow())
        await goes_on_waiting(following, store)
        await store.append([LINE, LogLine(RUN_ID, 1.0, END_OF_ATTEMPT, "", "")])
        assert await following == [LINE]
        assert await reader.follow() is None

    asyncio.run(main())


def test_nothing_more_is_waited_for_of_an_attempt_whose_worker_was_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_reader, "_GRACE_SECONDS", 0.0)
    monkeypatch.setattr(log_reader, "_LONG_GRACE_SECONDS", math.inf)

    async def main() -> None:
        reader = LogReader(Late(), Ended(StateName.CRASHED), RUN_ID)
        assert await reader.follow() == [LINE]
        assert await reader.follow() is None

    asyncio.run(main())
