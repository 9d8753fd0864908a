"""Decide how much to pull from which consumer."""

from collections.abc import Sequence
from typing import NamedTuple

from jtask_nats.queues.puller import PullMode


class PullerState(NamedTuple):
    """Where the pulls at one consumer stand.

    Attributes:
        outstanding: Asked for and not come.
        idle: Nothing waits at the server, as far as is known.
        is_broken: Pulling is useless.
    """

    outstanding: int
    idle: bool
    is_broken: bool = False


class Pull(NamedTuple):
    """One pull.

    Attributes:
        size: How many messages; 0 for no pull.
        mode: How long it stands.
    """

    size: int
    mode: PullMode


_NOTHING = Pull(0, PullMode.LONG)


def allocate(levels: Sequence[Sequence[PullerState]], credit: int, taken: int) -> list[Pull]:
    """Spread what is left of a credit over consumers.

    A single consumer gets all of it as a long pull. Of several, those where something waits share
    it and are asked for what is there now; each idle one has one long pull of one message, which
    is not counted: no idle queue keeps credit from a busy one, and none is forgotten. So at most
    one run of each consumer can arrive without room for it.

    Args:
        levels: The consumers of each priority, highest first.
        credit: How many runs the worker takes.
        taken: How many it has.

    Returns:
        list[Pull]: One for each consumer, in order.
    """
    every = [one for consumers in levels for one in consumers]
    free = credit - taken - sum(max(0, one.outstanding - 1) for one in every)
    if len(every) == 1:
        return [_pull_alone(every[0], credit - taken)]
    pulls: list[Pull] = []
    in_turn = True
    for consumers in levels:
        busy = sum(1 for one in consumers if not one.idle and not one.is_broken)
        portion = max(1, free // max(1, busy))
        for one in consumers:
            pull = _pull_among(one, min(free, portion), len(every)) if in_turn else _NOTHING
            free -= max(0, pull.size - 1)
            pulls.append(pull)
        # A lower priority is pulled from only while nothing waits at the higher ones.
        in_turn = in_turn and all(one.idle or one.is_broken for one in consumers)
    return pulls


def _pull_alone(one: PullerState, free: int) -> Pull:
    missing = free - one.outstanding
    # Refilled at half: the next pull is there before the last one is used up, and small pulls for
    # one run each are avoided.
    if one.is_broken or missing <= 0 or (one.outstanding and missing * 2 < free):
        return _NOTHING
    return Pull(missing, PullMode.LONG)


def _pull_among(one: PullerState, free: int, consumers: int) -> Pull:
    if one.is_broken or one.outstanding or free <= 0:
        return _NOTHING
    if one.idle:
        # More consumers than room: each of these pulls may bring a run that nobody can take yet.
        return Pull(1, PullMode.SHORT if free < consumers else PullMode.LONG)
    return Pull(free, PullMode.NO_WAIT)
