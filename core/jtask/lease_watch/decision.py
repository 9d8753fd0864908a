"""When the guard renews for the worker."""

_RENEWALS_PER_LEASE = 3
_NOT_RUNNING = frozenset("TtZX")  # states in /proc/<pid>/stat: stopped, traced, zombie, dead


class Observation:
    """The worker at one moment.

    Args:
        beats: How often its loop has turned.
        cpu_ticks: Its CPU time.
        state: Letter in /proc/<pid>/stat.
        parent: Process id of its parent.
    """

    def __init__(self, beats: int, cpu_ticks: int, state: str, parent: int = 0) -> None:
        self.beats = beats
        self.cpu_ticks = cpu_ticks
        self.state = state
        self.parent = parent


def must_renew(before: Observation, now: Observation, still_for: float, lease: float) -> bool:
    """Decide whether the worker is alive but cannot renew by itself.

    Args:
        before: A moment ago.
        now: Now.
        still_for: Seconds since the heartbeat last moved.
        lease: Seconds.

    Returns:
        bool: Whether the guard must renew.
    """
    if now.beats != before.beats or still_for < lease / _RENEWALS_PER_LEASE:
        return False
    return now.state not in _NOT_RUNNING and now.cpu_ticks > before.cpu_ticks


def must_end(*, orphaned_for: float, still_for: float, patience: float) -> bool:
    """Decide whether a worker whose supervisor is gone has to be killed.

    One whose loop turns stops by itself. One whose interpreter is blocked does not even hear that
    it is to stop.

    Args:
        orphaned_for: Seconds since its supervisor was seen to be gone.
        still_for: Seconds since the heartbeat last moved.
        patience: Seconds that it may take.
    """
    return min(orphaned_for, still_for) >= patience
