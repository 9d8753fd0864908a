"""Know whether the pulls of a worker are being answered."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

SILENCE = 7.0
"""Seconds without a word, although a pull stands, after which the server counts as silent."""

_SHOWN = 3.0  # seconds that what was wrong is told at least, so that a probe sees it too


class Pulling(Protocol):
    """What is looked at of a consumer's pulls; see `jtask_nats.queues.puller.Puller`."""

    heard: bool
    outstanding: int
    is_broken: bool


P = TypeVar("P", bound=Pulling)


class Pulse:
    """What is known of some pullers from what they hear. Without I/O.

    A puller in doubt is trusted again when it is heard, not when its consumer has been repaired.

    Args:
        clock: Gives seconds; instants do not matter.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heard_at: dict[Pulling, float] = {}
        self._doubts: dict[Pulling, str] = {}
        self._unanswered: str | None = None
        self._last = ""
        self._shown_until = clock()

    @property
    def problem(self) -> str | None:
        """What is wrong, or was a moment ago, in one sentence; None while all is well."""
        for reason in self._doubts.values():
            return reason
        if self._unanswered is None and self._clock() < self._shown_until:
            return self._last
        return self._unanswered

    def is_doubted(self, puller: Pulling) -> bool:
        """Tell whether a puller was not heard since something went wrong with it."""
        return puller in self._doubts

    def doubt(self, puller: Pulling, reason: str) -> None:
        """Take note that something is wrong with a puller."""
        self._doubts[puller] = reason
        self._show(reason)

    def pinged(self, problem: str | None) -> None:
        """Take note of how the server answered a ping."""
        self._unanswered = problem
        if problem is not None:
            self._show(problem)

    def listen(self, pullers: Iterable[P]) -> list[P]:
        """Look who was heard since the last look; return those silent for too long.

        A puller for which nothing stands has nothing to hear, and is doubted no more once it is
        repaired.
        """
        now = self._clock()
        silent: list[P] = []
        for puller in pullers:
            if puller.heard:
                self._unanswered = None
            if puller.heard or not puller.outstanding:
                self._heard_at[puller] = now
                if not puller.is_broken:
                    self._doubts.pop(puller, None)
            elif puller.is_broken:
                self._heard_at[puller] = now
            elif now - self._heard_at.setdefault(puller, now) >= SILENCE:
                self._heard_at[puller] = now
                silent.append(puller)
            puller.heard = False
        return silent

    def excuse(self, pullers: Iterable[Pulling]) -> None:
        """Begin their silence anew: while a consumer is being repaired none of them need hear."""
        now = self._clock()
        for puller in pullers:
            self._heard_at[puller] = now

    def _show(self, reason: str) -> None:
        self._last = reason
        self._shown_until = self._clock() + _SHOWN
