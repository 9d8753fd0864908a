"""When messages that a stream has not answered are sent again, and when they end."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jtask.errors import BrokerError, BrokerUnavailable
from jtask_nats.client.headers import FIRST_ONLY
from jtask_nats.client.unanswered import RESEND_AFTER, Unanswered

PREFIX = "_INBOX.a.1."
STORED = b'{"stream":"S", "seq":5}'


class Silent:
    """A connection whose server answers nothing by itself."""

    url, is_connected, max_payload = "nats://test", True, 1 << 20

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.write = self.written.append
        self.on_reconnect = self.on_denied = self.on_close = lambda callback: None

    def new_inbox(self) -> str:
        return PREFIX[:-1]

    def subscribe(self, subject: str, handler: Callable[..., None], reader: object) -> None:
        self.answer = lambda token: handler(PREFIX + token, "", STORED, None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr("jtask_nats.client.unanswered.time", clock)
    return clock


class Group:
    """Messages that were sent together, and what came of them."""

    def __init__(self, unanswered: Unanswered, size: int) -> None:
        self.outcomes: dict[int, BrokerError | None] = {}
        self.token = unanswered.new_token()
        subjects = [f"s.{place}" for place in range(size)]
        unanswered.add_group(self.token, subjects, FIRST_ONLY, [b"x"] * size, self._take)

    def _take(self, places: Sequence[int], error: BrokerError | None) -> None:
        self.outcomes.update(dict.fromkeys(places, error))


def with_unanswered(main: Callable[[Silent, Unanswered], None], timeout: float) -> None:
    async def around() -> None:
        connection = Silent()
        main(connection, Unanswered(cast("Any", connection), timeout))

    asyncio.run(around())


def test_a_group_ends_with_its_time_however_short_that_is(clock: SimpleNamespace) -> None:
    def main(connection: Silent, unanswered: Unanswered) -> None:
        group = Group(unanswered, 3)
        clock.now += 0.4
        unanswered._check()
        assert group.outcomes == {}
        clock.now += 0.2
        unanswered._check()
        assert [type(end) for end in group.outcomes.values()] == [BrokerUnavailable] * 3
        assert len(unanswered) == 0

    with_unanswered(main, timeout=0.5)


def test_a_group_whose_answers_come_one_by_one_is_not_sent_again(clock: SimpleNamespace) -> None:
    def main(connection: Silent, unanswered: Unanswered) -> None:
        group = Group(unanswered, 20)
        for place in range(20):
            clock.now += 0.5
            connection.answer(f"{group.token}-{place}")
            unanswered._check()
        assert group.outcomes == dict.fromkeys(range(20))
        assert connection.written == []

    with_unanswered(main, timeout=50)


def test_a_group_of_which_nothing_more_is_answered_is_sent_again(clock: SimpleNamespace) -> None:
    def main(connection: Silent, unanswered: Unanswered) -> None:
        group = Group(unanswered, 20)
        connection.answer(f"{group.token}-7")
        unanswered._check()
        clock.now += RESEND_AFTER + 0.1
        unanswered._check()
        assert len(connection.written) == 19

    with_unanswered(main, timeout=50)


@pytest.mark.parametrize(
    ("timeout", "instants"),
    [(10.0, [2.0, 6.0, 8.5]), (5.0, [2.0, 3.5]), (2.0, []), (45.0, [2.0, 6.0, 14.0, 30.0, 43.5])],
)
def test_what_nobody_answers_is_sent_once_more_shortly_before_its_time_is_up(
    clock: SimpleNamespace, timeout: float, instants: list[float]
) -> None:
    def main(connection: Silent, unanswered: Unanswered) -> None:
        ends: list[object] = []
        token = unanswered.new_token()
        begun = clock.now
        unanswered.add(token, ("s.1",), b"command", 7, ends.append)
        copies: list[float] = []
        while not ends:
            clock.now += 0.25
            before = len(connection.written)
            unanswered._check()
            copies += [clock.now - begun] * (len(connection.written) - before)
        assert copies == instants
        assert clock.now - begun == timeout

    with_unanswered(main, timeout)
