"""How the credit of a worker is spread over the queues that it serves."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jtask_nats.queues.pull_sizes import SHARERS, Pull, Turns
from jtask_nats.queues.puller import PullMode


@dataclass(eq=False)
class Consumer:
    """Where the pulls at one stand, and what waits at the server."""

    outstanding: int = 0
    idle: bool = False
    is_broken: bool = False
    level: int = 0
    waiting: int = 0
    delivered: int = 0


def turns_of(consumers: list[Consumer]) -> Turns[Consumer]:
    turns = Turns[Consumer]()
    for one in consumers:
        turns.add(one, one.level)
    return turns


def pulled(
    consumers: list[Consumer], credit: int, taken: int = 0, turns: Turns[Consumer] | None = None
) -> list[Pull | None]:
    turns = turns or turns_of(consumers)
    pulls = dict(turns.next(credit, taken))
    for one, pull in pulls.items():
        one.outstanding += pull.size
        turns.note(one)
    return [pulls.get(one) for one in consumers]


def busy(level: int = 0) -> Consumer:
    return Consumer(level=level)


def idle(level: int = 0) -> Consumer:
    return Consumer(idle=True, level=level)


def now(size: int) -> Pull:
    return Pull(size, PullMode.NO_WAIT)


LONG, SHORT = Pull(1, PullMode.LONG), Pull(1, PullMode.SHORT)


@pytest.mark.parametrize(
    ("consumers", "credit", "taken", "pulls"),
    [
        ([busy()], 10, 0, [Pull(10, PullMode.LONG)]),
        ([busy()], 10, 10, [None]),
        ([Consumer(6)], 10, 0, [None]),
        ([Consumer(4)], 10, 0, [Pull(6, PullMode.LONG)]),
        ([Consumer(is_broken=True)], 10, 0, [None]),
        ([busy(), idle()], 10, 0, [now(10), SHORT]),
        ([busy(), busy()], 10, 0, [now(5), now(5)]),
        ([busy(), busy()], 10, 9, [now(1), None]),
        ([idle(), idle()], 10, 0, [LONG, LONG]),
        ([busy(), busy()], 10, 10, [None, None]),
        ([busy(1), busy()], 10, 0, [now(10), None]),
        ([idle(1), busy()], 10, 0, [LONG, now(10)]),
        ([Consumer(is_broken=True, level=1), busy()], 10, 0, [None, now(10)]),
        ([busy() for _ in range(30)], 3, 0, [now(1)] * 3 + [None] * 27),
        ([busy() for _ in range(30)], 100, 0, [now(10)] * SHARERS + [None] * 20),
    ],
    ids=[
        "alone",
        "full",
        "above-half",
        "refilled-at-half",
        "broken",
        "busy-gets-all",
        "busy-share",
        "the-last-of-the-credit",
        "idle-wait",
        "no-credit",
        "higher-first",
        "lower-when-higher-is-idle",
        "lower-when-higher-is-broken",
        "many-get-one-each",
        "of-many-some-share",
    ],
)
def test_pulls_share_the_credit(
    consumers: list[Consumer], credit: int, taken: int, pulls: list[Pull | None]
) -> None:
    assert pulled(consumers, credit, taken) == pulls


def test_what_is_on_its_way_is_waited_for_rather_than_pulling_crumbs() -> None:
    consumers = [busy() for _ in range(30)]
    turns = turns_of(consumers)
    pulled(consumers, 100, turns=turns)
    consumers[0].outstanding -= 4
    assert not turns.next(100, taken=0)
    # All but these have come, and more than a crumb is free.
    consumers[0].outstanding, consumers[1].outstanding = 0, 6
    for one in consumers[:2]:
        turns.note(one)
    assert turns.next(100, taken=0) == [(consumers[SHARERS], now(10))]


def test_a_consumer_that_comes_has_the_credit_once_the_long_pull_is_withdrawn() -> None:
    turns = turns_of([first := busy()])
    assert pulled([first], 10, turns=turns) == [Pull(10, PullMode.LONG)]
    first.outstanding = 0
    turns.note(first)
    turns.add(second := busy(), 9)
    assert turns.next(10, 0) == [(second, now(10))]


def leave_unanswered(one: Consumer, turns: Turns[Consumer]) -> None:
    """Ask anew, for one message, as is done where the server says nothing."""
    one.outstanding = 0
    turns.note(one)
    one.outstanding = 1
    turns.note(one)


def break_down(one: Consumer, turns: Turns[Consumer]) -> None:
    one.is_broken = True
    turns.note(one)


@pytest.mark.parametrize("fail", [leave_unanswered, break_down])
def test_a_consumer_that_does_not_answer_keeps_no_credit_from_others(
    fail: Callable[[Consumer, Turns[Consumer]], None],
) -> None:
    silent, other = consumers = [busy(), busy()]
    turns = turns_of(consumers)
    assert pulled(consumers, 10, turns=turns) == [now(5), now(5)]
    # The five runs of the other go on for long.
    other.outstanding = 0
    turns.note(other)
    fail(silent, turns)
    assert turns.next(10, taken=5) == [(other, now(5))]


@pytest.mark.parametrize("fail", [leave_unanswered, break_down])
def test_a_consumer_that_does_not_answer_keeps_no_turn_from_lower_priorities(
    fail: Callable[[Consumer, Turns[Consumer]], None],
) -> None:
    silent, other = consumers = [busy(1), busy()]
    turns = turns_of(consumers)
    assert pulled(consumers, 10, turns=turns) == [now(10), None]
    fail(silent, turns)
    assert turns.next(10, taken=0) == [(other, now(10))]


LEVELS = st.lists(st.integers(min_value=0, max_value=2), min_size=2, max_size=40)


@given(LEVELS, st.integers(1, 30), st.integers(0, 40), st.data())
def test_at_most_one_run_of_each_consumer_is_pulled_beyond_the_credit(
    levels: list[int], credit: int, taken: int, data: st.DataObject
) -> None:
    consumers = [Consumer(level=level, idle=data.draw(st.booleans())) for level in levels]
    turns = turns_of(consumers)
    for _ in range(3):
        pulled(consumers, credit, taken, turns)
        outstanding = sum(one.outstanding for one in consumers)
        assert outstanding <= max(0, credit - taken) + len(consumers)
        for one in consumers:
            one.outstanding -= data.draw(st.integers(0, one.outstanding))
            one.idle = data.draw(st.booleans())
            turns.note(one)


@given(LEVELS, st.integers(1, 30), st.data())
def test_all_that_waits_is_delivered_higher_priorities_first(
    levels: list[int], credit: int, data: st.DataObject
) -> None:
    consumers = [Consumer(level=level, waiting=data.draw(st.integers(0, 9))) for level in levels]
    turns = turns_of(consumers)
    for _ in range(2_000):
        if not any(one.waiting for one in consumers):
            break
        pulls = turns.next(credit, 0)
        assert pulls, "nothing is asked for any more"
        for one, pull in pulls:
            assert not any(other.waiting for other in consumers if other.level > one.level)
            came = min(pull.size, one.waiting)
            one.waiting -= came
            # As the server answers: no more is there, or a long pull stands.
            one.idle = not one.waiting
            one.outstanding = pull.size - came if pull.mode is not PullMode.NO_WAIT else 0
            turns.note(one)
    assert not any(one.waiting for one in consumers)


def test_each_of_many_has_its_turn_before_one_has_another() -> None:
    consumers = [busy() for _ in range(50)]
    turns = turns_of(consumers)
    for _ in range(10):
        for one, pull in turns.next(20, 0):
            one.delivered += pull.size
            turns.note(one)
    served = [one.delivered for one in consumers]
    assert max(served) - min(served) <= 2
