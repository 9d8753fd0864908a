"""What all clients of one `memory://` URL share."""

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import urlsplit

from jtask.contract import DeadLetter, Message, OutcomeRecord, Record
from jtask.ids import client_of
from jtask.settings import Settings, get_settings
from jtask_memory.clock import Clock, SystemClock
from jtask_memory.events import EventFeed
from jtask_memory.expiring import Expiring
from jtask_memory.listeners import Listeners
from jtask_memory.questions import Question
from jtask_memory.queues import Backlog


class Space:
    """Everything that is stored, and who wants to hear of it.

    Whoever reads or changes an attribute holds `lock`. Listeners are called without it, in the
    thread that made the change; each carries the news to its own loop.

    Args:
        clock: The time by which runs come due and things end; the machine's when not given.
        settings: How long things are kept; this process's when not given.
    """

    def __init__(self, clock: Clock | None = None, settings: Settings | None = None) -> None:
        self.clock = clock or SystemClock()
        self.settings = settings or get_settings()
        self.lock = threading.Lock()
        self.backlog = Backlog()
        self.outcomes: Expiring[bytes] = Expiring()
        self.letters: Expiring[DeadLetter] = Expiring()
        self.events = EventFeed()
        self.blobs: dict[str, bytes] = {}
        self.counters: dict[str, int] = {}
        self.slots: dict[str, Expiring[str]] = {}
        self.workers: Expiring[bytes] = Expiring()
        self.records: dict[str, dict[str, Record]] = {}
        self.revisions = itertools.count(1)
        self.wakers: Listeners[[]] = Listeners()
        self.listeners: Listeners[[Question]] = Listeners()
        self.watchers: Listeners[[OutcomeRecord]] = Listeners()

    def enqueue(self, messages: Sequence[Message]) -> None:
        """Store messages, all at once for whoever looks."""
        with self.lock:
            now = self.clock.time()
            for message in messages:
                self.backlog.add(message, now)
        self.wake({message.queue for message in messages})

    def put_first(self, outcome: OutcomeRecord) -> bool:
        """Store an outcome and push it to whoever watches, unless another came first."""
        with self.lock:
            now = self.clock.time()
            if self.outcomes.get(outcome.run_id, now) is not None:
                return False
            self.outcomes.put(outcome.run_id, outcome.body, now, now + self.settings.result_ttl)
            watchers = self.watchers.of((outcome.run_id, client_of(outcome.run_id)))
        for watcher in watchers:
            watcher(outcome)
        return True

    def wake(self, queues: Iterable[str], last: Callable[[], None] | None = None) -> None:
        """Let whoever consumes some queues look again; one of them after all others."""
        with self.lock:
            wakers = self.wakers.of(queues)
        for waker in wakers:
            if waker != last:
                waker()
        if last is not None:
            last()


_spaces: dict[tuple[str, str], Space] = {}
# A forked child cannot see what its parent stores from now on, and may have copied a held lock.
os.register_at_fork(after_in_child=_spaces.clear)


def canonical(url: str) -> str:
    """Return the part of a URL that names a space."""
    return f"memory://{urlsplit(url).hostname or ''}"


def space_of(url: str) -> Space:
    """Return the space of a URL and namespace; it lives as long as the process."""
    return _spaces.setdefault((canonical(url), get_settings().namespace), Space())


def fresh_space(url: str, clock: Clock | None = None) -> Space:
    """Begin an empty space for a URL, with its own clock if given.

    Brokers that are open keep the space they had; those opened from now on share this one.
    """
    space = Space(clock)
    _spaces[canonical(url), get_settings().namespace] = space
    return space
