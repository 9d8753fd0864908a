"""Decide how much to pull from which consumer."""

from collections.abc import Iterable, Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

from jtask_nats.queues.puller import PullMode

SHARERS = 10
"""Consumers that share a credit at a time; the others have their turn after them. What the server
does for each pull and each consumer that wakes up counts for as many runs as that gives each."""


class PullerState(Protocol):
    """Where the pulls at one consumer stand; see `jtask_nats.queues.puller.Puller`.

    Attributes:
        outstanding: Asked for and not come.
        idle: Nothing waits at the server, as far as is known.
        is_broken: Pulling is useless.
    """

    outstanding: int
    idle: bool
    is_broken: bool


P = TypeVar("P", bound=PullerState)


class Pull(NamedTuple):
    """One pull.

    Attributes:
        size: How many messages.
        mode: How long it stands.
    """

    size: int
    mode: PullMode


class Turns(Generic[P]):
    """Spread what is left of a credit over consumers, in turn. Without I/O.

    A single consumer gets all of it as a long pull. Of several, those where something waits share
    it and are asked for what is there now; each idle one has one long pull of one message, which
    is not counted: no idle queue keeps credit from a busy one, and none is forgotten. So at most
    one run of each consumer can arrive without room for it. A long pull of more is withdrawn when a
    second consumer comes, for urgent runs perhaps: nothing may answer it for seconds.

    What it does takes as long as there are pulls to be made, however many consumers there are: of
    each that has changed it must be told.
    """

    def __init__(self) -> None:
        self._levels: dict[int, _Level[P]] = {}
        """By priority, highest first."""
        self._level_of: dict[P, _Level[P]] = {}
        self._counted = set[P]()
        """Those whose pulls keep room from others."""

    def add(self, one: P, priority: int) -> None:
        """Take a new consumer into account."""
        self._levels.setdefault(priority, _Level())
        self._levels = dict(sorted(self._levels.items(), reverse=True))
        self._level_of[one] = self._levels[priority]
        self.note(one)

    def note(self, one: P) -> None:
        """Take note of where the pulls at a consumer stand now."""
        # What is asked for after that, without a turn, is one message, as of an idle one.
        if one.is_broken or not one.outstanding:
            self._counted.discard(one)
        self._level_of[one].note(one)

    def next(self, credit: int, taken: int) -> list[tuple[P, Pull]]:
        """Return what to pull now; each of these is to be noted once that is done.

        Args:
            credit: How many runs the worker takes.
            taken: How many it has.
        """
        if len(self._level_of) == 1:
            (one,) = self._level_of
            return [*_alone(one, credit - taken)]
        room = credit - taken - sum(one.outstanding for one in self._counted)
        if room <= 0:
            return []
        pulls: list[tuple[P, Pull]] = []
        for level in self._levels.values():
            for one, size in level.serve(room, credit, is_more_to_come=bool(self._counted)):
                room -= size
                pulls.append((one, Pull(size, PullMode.NO_WAIT)))
                self._counted.add(one)
            # More consumers than room: each of these may bring a run that nobody can take yet.
            mode = PullMode.SHORT if room < len(self._level_of) else PullMode.LONG
            pulls += [(one, Pull(1, mode)) for one in level.watch()]
            # A lower priority is pulled from only while nothing waits at the higher ones.
            if level.is_busy:
                break
        return pulls


class _Level(Generic[P]):
    """The consumers of one priority."""

    def __init__(self) -> None:
        # Ordered: who has waited longest comes first.
        self.waiting: dict[P, None] = {}
        """Those where something is, and of which nothing is asked for."""
        self._served: set[P] = set()
        """Those that had their turn, and of which that is still asked for."""
        self._unwatched: dict[P, None] = {}
        """Idle ones without a pull."""

    @property
    def is_busy(self) -> bool:
        return bool(self.waiting or self._served)

    def note(self, one: P) -> None:
        is_free = not (one.is_broken or one.outstanding)
        if one.idle or not is_free:
            self.waiting.pop(one, None)
        self._unwatched.pop(one, None)
        if one.is_broken or one.idle or not one.outstanding:
            self._served.discard(one)
        if is_free:
            (self._unwatched if one.idle else self.waiting).setdefault(one)

    def serve(self, room: int, credit: int, *, is_more_to_come: bool) -> Iterator[tuple[P, int]]:
        """Yield those whose turn it is, and how much of the room each gets."""
        sharers = min(len(self.waiting) + len(self._served), SHARERS)
        portion = max(1, credit // max(1, sharers))
        # What is on its way gives the worker enough to do until there is room for more than crumbs.
        least = portion if is_more_to_come else 1
        while room >= least and self.waiting:
            one = next(iter(self.waiting))
            del self.waiting[one]
            self._served.add(one)
            size = min(room, portion)
            room, least = room - size, portion
            yield one, size

    def watch(self) -> Iterable[P]:
        unwatched, self._unwatched = self._unwatched, {}
        return unwatched


def _alone(one: P, free: int) -> Iterator[tuple[P, Pull]]:
    missing = free - one.outstanding
    # Refilled at half: the next pull is there before the last one is used up, and small pulls for
    # one run each are avoided.
    if one.is_broken or missing <= 0 or (one.outstanding and missing * 2 < free):
        return
    yield one, Pull(missing, PullMode.LONG)
