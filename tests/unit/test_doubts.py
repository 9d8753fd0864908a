"""Which deliveries a worker takes for second ones although the server says that they are new."""

from typing import cast

import pytest

from jtask_nats.queues.deliveries import InFlight, NatsDelivery
from jtask_nats.queues.doubts import Doubts, may_have_forgotten
from jtask_nats.streams.server_clock import ServerClock

LOSS = 1_000.0  # when the connection was lost, seconds since the epoch


class Consumer:
    """Enough of an `InFlight` to be delivered from."""


def a_consumer() -> InFlight:
    return cast("InFlight", Consumer())


def delivery(consumer: InFlight, stored_at: float, deliveries: int = 1) -> NatsDelivery:
    reply = f"$JS.ACK.JTASK_default.mails_0.{deliveries}.7.7.{round(stored_at * 1e9)}.0"
    made = NatsDelivery.__new__(NatsDelivery)
    made.in_flight, made.reply, made._deliveries, made.is_doubtful = (
        consumer,
        reply,
        deliveries,
        False,
    )
    return made


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def doubts(now: list[float]) -> Doubts:
    return Doubts(ServerClock(lambda: LOSS), lambda: now[0])


def test_nothing_is_doubted_without_a_reason(doubts: Doubts) -> None:
    one, other = a_consumer(), a_consumer()
    assert not doubts.about(delivery(one, LOSS - 5))
    doubts.begin([one], LOSS)
    assert not doubts.about(delivery(other, LOSS - 5))
    assert doubts.about(delivery(one, LOSS - 5))


def test_what_the_server_itself_counts_needs_no_doubt(doubts: Doubts) -> None:
    one = a_consumer()
    doubts.begin([one], LOSS)
    assert not doubts.about(delivery(one, LOSS - 5, deliveries=2))
    assert doubts.about(delivery(one, LOSS - 5))


def test_nothing_is_doubted_any_more_after_something_that_is_newer(doubts: Doubts) -> None:
    one = a_consumer()
    doubts.begin([one], LOSS)
    assert doubts.about(delivery(one, LOSS - 0.5))
    assert not doubts.about(delivery(one, LOSS + 0.5))
    assert not doubts.about(delivery(one, LOSS - 5))


def test_the_first_is_doubted_however_late_it_comes(doubts: Doubts, now: list[float]) -> None:
    one = a_consumer()
    doubts.begin([one], LOSS)
    now[0] = 10_000.0
    assert all(doubts.about(delivery(one, LOSS - 5)) for _ in range(256))


def test_of_a_backlog_so_much_is_doubted_as_comes_in_seconds(
    doubts: Doubts, now: list[float]
) -> None:
    one = a_consumer()
    doubts.begin([one], LOSS)
    assert all(doubts.about(delivery(one, LOSS - 5)) for _ in range(5_000))
    now[0] = 3.1
    assert not doubts.about(delivery(one, LOSS - 5))


def test_the_servers_clock_is_translated(now: list[float]) -> None:
    clock = ServerClock(lambda: LOSS)
    clock.offset = 60.0
    doubts, one = Doubts(clock, lambda: now[0]), a_consumer()
    doubts.begin([one], LOSS)
    assert doubts.about(delivery(one, LOSS + 55))
    assert not doubts.about(delivery(one, LOSS + 65))


def test_a_consumer_in_use_has_forgotten_nothing() -> None:
    new, idle = {"consumer_seq": 0}, {"consumer_seq": 5}
    used = {**idle, "last_active": "2026-11-30T04:57:53Z"}
    assert may_have_forgotten({"delivered": idle, "ack_floor": idle})
    assert not may_have_forgotten({"delivered": new, "ack_floor": new})
    assert not may_have_forgotten({"delivered": used, "ack_floor": idle})
    assert not may_have_forgotten({"delivered": idle, "ack_floor": used})
