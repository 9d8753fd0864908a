"""Know whether the pulls of a worker are being answered."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

# Longer than a pull stands (6 s) and than two heartbeats; so short that a health check sees a lost
# server within 10 s.
SILENCE_TIMEOUT = 7.0
"""Seconds without an answer to a standing pull after which the server counts as silent."""

QUIET_TIMEOUT = 1.5
"""Seconds without an answer after which one should pull anew: more than one heartbeat."""
PROBE_EVERY = 0.5
"""Seconds after which one should do so again, and where pulls are refused."""

_LATE = 1.0  # seconds between two looks: longer, and it is we who were away
_MIN_REPORTED = 3.0  # seconds a problem is reported at least, so that a probe sees it too


class PullerActivity(Protocol):
    """What is looked at of a consumer's pulls; see `jtask_nats.queues.puller.Puller`."""

    responded: bool
    outstanding: int
    is_broken: bool


P = TypeVar("P", bound=PullerActivity)


class PullHealth:
    """Conclude from what arrives whether some pullers are served. Without I/O.

    A suspect puller is trusted again when the server answers it, not when its consumer has been
    repaired.

    Args:
        clock: Gives seconds; instants do not matter.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._responded_at: dict[PullerActivity, float] = {}
        self._probed_at: dict[PullerActivity, float] = {}
        self._looked_at = self._awake_since = clock()
        self._suspects: dict[PullerActivity, str] = {}
        self._unanswered: str | None = None
        self._last = ""
        self._shown_until = clock()

    @property
    def problem(self) -> str | None:
        """What is wrong, or was a moment ago, in one sentence; None while all is well."""
        for reason in self._suspects.values():
            return reason
        if self._unanswered is None and self._clock() < self._shown_until:
            return self._last
        return self._unanswered

    def is_suspect(self, puller: PullerActivity) -> bool:
        """Tell whether the server has not answered a puller since something went wrong with it."""
        return puller in self._suspects

    def suspect(self, puller: PullerActivity, reason: str) -> None:
        """Report that something is wrong with a puller."""
        self._suspects[puller] = reason
        self._report(reason)

    def record_ping(self, problem: str | None) -> None:
        """Note how the server answered a ping: None, or what went wrong."""
        self._unanswered = problem
        if problem is not None:
            self._report(problem)

    def check(self, pullers: Iterable[P]) -> list[P]:
        """Note who was answered since the last check; return those silent for too long.

        A puller without a standing pull expects no answer, and is no longer suspect once it is
        repaired.
        """
        now = self._clock()
        silent: list[P] = []
        for puller in pullers:
            if puller.responded:
                self._unanswered = None
            if puller.responded or not puller.outstanding:
                self._responded_at[puller] = now
                if not puller.is_broken:
                    self._suspects.pop(puller, None)
            elif puller.is_broken:
                self._responded_at[puller] = now
            elif now - self._responded_at.setdefault(puller, now) >= SILENCE_TIMEOUT:
                self._responded_at[puller] = now
                silent.append(puller)
            puller.responded = False
        return silent

    def quiet(self, pullers: Iterable[P]) -> list[P]:
        """Return those that should pull anew, since nobody answers; to be called after `check`."""
        now = self._clock()
        if now - self._looked_at > _LATE:
            # What was answered meanwhile has not been read yet.
            self._awake_since = now
        self._looked_at = now
        quiet: list[P] = []
        for puller in pullers:
            probed = self._probed_at.get(puller, 0.0)
            heard = max(self._responded_at.get(puller, now), self._awake_since)
            # Answers to what is broken are refusals.
            again = puller.is_broken or probed >= heard
            since, timeout = (probed, PROBE_EVERY) if again else (heard, QUIET_TIMEOUT)
            if now - since >= timeout and (puller.outstanding or puller.is_broken):
                self._probed_at[puller] = now
                quiet.append(puller)
        return quiet

    def _report(self, reason: str) -> None:
        self._last = reason
        self._shown_until = self._clock() + _MIN_REPORTED
