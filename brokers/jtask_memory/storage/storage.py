"""What all clients of one `memory://` URL share."""

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import urlsplit

from jtask.contract import DeadLetter, Message, OutcomeRecord, Record, SlotHolder
from jtask.ids import client_of
from jtask.settings import Settings, get_settings
from jtask.signal_safety import SignalSafeLock
from jtask_memory.clock import Clock, SystemClock
from jtask_memory.storage.backlog import Backlog
from jtask_memory.storage.event_history import EventHistory
from jtask_memory.storage.log_history import LogHistory
from jtask_memory.storage.requests import PendingRequest
from jtask_memory.storage.subscribers import Subscribers
from jtask_memory.storage.ttl_dict import TTLDict


class Storage:
    """Everything that is stored, and who is subscribed to changes.

    Whoever reads or changes an attribute holds `lock`. Subscribers are called without it, in the
    thread that made the change; each carries the news to its own loop.

    Args:
        clock: The time by which runs come due and things end; the machine's when not given.
        settings: How long things are kept; this process's when not given.
    """

    def __init__(self, clock: Clock | None = None, settings: Settings | None = None) -> None:
        self.clock = clock or SystemClock()
        self.settings = settings or get_settings()
        self.lock = SignalSafeLock()
        self.backlog = Backlog()
        self.outcomes: TTLDict[bytes] = TTLDict()
        self.letters: TTLDict[DeadLetter] = TTLDict()
        self.events = EventHistory()
        self.logs = LogHistory()
        self.items = LogHistory()
        self.blobs: TTLDict[bytes] = TTLDict()
        self.counters: TTLDict[int] = TTLDict()
        self.slots: dict[str, TTLDict[SlotHolder]] = {}
        """By name, then by token."""
        self.workers: TTLDict[bytes] = TTLDict()
        self.records: dict[str, TTLDict[Record]] = {}
        self.revisions = itertools.count(1)
        self.wakers: Subscribers[[]] = Subscribers()
        self.responders: Subscribers[[PendingRequest]] = Subscribers()
        self.event_readers: Subscribers[[]] = Subscribers()
        self.log_readers: Subscribers[[]] = Subscribers()
        self.item_readers: Subscribers[[]] = Subscribers()
        self.watchers: Subscribers[[OutcomeRecord]] = Subscribers()

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
            if (stored := self.outcomes.get(outcome.run_id, now)) is not None:
                return stored == outcome.body  # the same one, sent again
            self.outcomes.put(outcome.run_id, outcome.body, now, now + self.settings.result_ttl)
            # Under the same lock: a watcher that comes later reads the outcome, none misses it.
            watchers = self.watchers.of((outcome.run_id, client_of(outcome.run_id)))
        for watcher in watchers:
            watcher(outcome)
        return True

    def wake(self, queues: Iterable[str], last: Callable[[], None] | None = None) -> None:
        """Let whoever consumes some queues look again; one of them after all others."""
        with self.lock:
            wakers = self.wakers.of(queues)
        # Without the lock: a waker may run at once on its own loop and take it.
        for waker in wakers:
            if waker != last:
                waker()
        if last is not None:
            last()


_storages: dict[tuple[str, str], Storage] = {}
# A forked child cannot see what its parent stores from now on, and may have copied a held lock.
os.register_at_fork(after_in_child=_storages.clear)


def canonical(url: str) -> str:
    """Return the part of a URL that names a storage."""
    return f"memory://{urlsplit(url).hostname or ''}"


def storage_of(url: str) -> Storage:
    """Return the storage of a URL and namespace; it lives as long as the process."""
    # Atomic in CPython: of two threads that open the same URL at once, both get the first one's.
    return _storages.setdefault((canonical(url), get_settings().namespace), Storage())


def fresh_storage(url: str, clock: Clock | None = None) -> Storage:
    """Begin an empty storage for a URL, with its own clock if given.

    Brokers that are open keep the storage they had; those opened from now on share this one.
    """
    storage = Storage(clock)
    _storages[canonical(url), get_settings().namespace] = storage
    return storage
