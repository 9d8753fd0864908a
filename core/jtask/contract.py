"""What a broker promises, as small protocols; each can be implemented on its own.

Everything here runs on one event loop: the I/O thread's (`jtask.io_thread`). A broker is opened
there and all its methods are called there, save those of `ThreadEnqueue`. Times are seconds,
instants seconds since the epoch, sizes bytes. Bodies are opaque to a broker (docs/wire-format.md
says what is in them). A broker raises `jtask.errors` only.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

DEFAULT_PRIORITY = 0
ATOMIC_LIMIT = 1000
"""How many messages `enqueue` must be able to store as all or none."""
FOREVER = 32_503_680_000.0
"""The year 3000, which brokers write down for an instant that never comes."""


@dataclass(slots=True)
class Message:
    """One run on its way to a queue.

    Attributes:
        run_id: Storing the same id twice within the broker's dedup window stores it once.
        queue: Letters, digits, `_` and `-`.
        body: The envelope.
        priority: 0 (lowest, default) to 9.
        at: Not delivered before this instant; None is now.
        expires: Worth nothing after this instant; None is never. It is delivered all the same, so
            that a worker settles it as Expired and whoever waits hears of it; the broker may
            discard it a day later.
    """

    run_id: str
    queue: str
    body: bytes
    priority: int = DEFAULT_PRIORITY
    at: float | None = None
    expires: float | None = None


class Delivery(Protocol):
    """One run in this worker's hands, under a lease that the broker renews by itself.

    Exactly one of its methods is called, once; then the claim is over. Each returns when the
    broker has taken it, and none raises because the claim was lost meanwhile.
    """

    @property
    def run_id(self) -> str:
        """The id from the message's address, so that it is known for an unreadable body too."""
        ...

    @property
    def queue(self) -> str:
        """The queue it came from."""
        ...

    @property
    def body(self) -> bytes:
        """The envelope."""
        ...

    @property
    def priority(self) -> int:
        """The message's priority, 0 to 9."""
        ...

    @property
    def deliveries(self) -> int:
        """How often this message was delivered, this time included."""
        ...

    def ack(self) -> None:
        """Take the run off the queue; its outcome is stored. Never blocks, may be batched."""
        ...

    async def hand_back(self) -> None:
        """Give the run to another worker at once."""
        ...

    async def put_off(self, at: float, body: bytes | None = None) -> None:
        """Queue the run again for an instant, with a new body if given; never lost, never twice."""
        ...

    async def dead_letter(self, reason: str, body: bytes) -> None:
        """Move the run to the dead letters.

        Args:
            reason: One sentence.
            body: What to keep: the record that docs/wire-format.md calls a dead letter.
        """
        ...


class Consumption(Protocol):
    """A worker's standing wish for runs."""

    def set_credit(self, credit: int) -> None:
        """Change how many deliveries may be unsettled at once; a lower value takes time to hold."""
        ...

    async def stop(self) -> None:
        """Want nothing more. What is on the way is handed back; held deliveries stay held."""
        ...

    async def close(self) -> None:
        """Stop, and stop renewing leases."""
        ...

    def problem(self) -> str | None:
        """Say why nothing can be consumed right now, in one sentence; None while all is well."""
        ...


class Broker(Protocol):
    """Hold runs durably until a worker has settled them."""

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        ...

    @property
    def inline_limit(self) -> int:
        """The largest body that `enqueue` and `ResultStore.put` take, in bytes."""
        ...

    async def enqueue(self, messages: Sequence[Message]) -> None:
        """Store messages; they are durable on return.

        Up to ATOMIC_LIMIT messages are stored all or none; more are stored in such groups, in
        order. Lost answers are retried without storing twice.

        Raises:
            BrokerUnavailable: Not stored within the enqueue timeout of the settings.
            BrokerFull: No room.
            PermissionDenied: Not allowed.
        """
        ...

    async def consume(
        self, queues: Sequence[str], credit: int, receive: Callable[[Delivery], None]
    ) -> Consumption:
        """Deliver runs of some queues, highest priority first, until stopped.

        Queues come into being by being named. Resumes by itself after a lost connection, a lost
        consumer or a restarted server.

        Args:
            queues: Which.
            credit: How many deliveries may be unsettled at once.
            receive: Called on the loop for each delivery; must not block.
        """
        ...

    async def cancel(self, run_id: str) -> bool:
        """Take a waiting or delayed run off its queue; False when none is waiting."""
        ...

    async def depth(self, queue: str) -> int:
        """Count the runs of a queue that wait or are being executed."""
        ...

    async def close(self) -> None:
        """Send what is still buffered, then let go of the connection."""
        ...


@runtime_checkable
class ThreadEnqueue(Protocol):
    """A shorter way for synchronous callers: optional for a broker."""

    def enqueue_from_thread(self, message: Message) -> None:
        """Do `enqueue([message])` from any thread but the loop's, blocking it."""
        ...


class OutcomeRecord(NamedTuple):
    """The stored end of a run: its id and its body (docs/wire-format.md)."""

    run_id: str
    body: bytes


class Watch(Protocol):
    """A standing wish for outcomes."""

    async def close(self) -> None:
        """Want no more."""
        ...


class ResultStore(Protocol):
    """Keep outcomes for the time to live of the settings."""

    def put(self, outcome: OutcomeRecord) -> Awaitable[bool]:
        """Store the first outcome of a run, and push it to whoever watches.

        Sends at once, before the result is awaited, so that outcomes can be pipelined.

        Returns:
            Awaitable[bool]: True when this outcome is now the stored one; False when another
            came first, which stands.
        """
        ...

    async def get(self, run_id: str) -> OutcomeRecord | None:
        """Return a run's outcome, or None when there is none yet or no more."""
        ...

    async def watch(
        self,
        target: str,
        deliver: Callable[[OutcomeRecord], None],
        gap: Callable[[], None],
    ) -> Watch:
        """Push outcomes as they are stored.

        Args:
            target: A run id, or the client id that a process's own run ids carry (`client_of`).
            deliver: Called on the loop for each outcome; may see one twice.
            gap: Called on the loop when outcomes may have been missed: ask with `get`.
        """
        ...


class OpenResultStore(ResultStore, Protocol):
    """A result store with a connection of its own; what `jtask.results` factories return.

    Every `FullBroker` is one.
    """

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        ...

    @property
    def inline_limit(self) -> int:
        """The largest body that `put` takes, in bytes; at least 64 KiB."""
        ...

    async def close(self) -> None:
        """Send what is still buffered, then let go of the connection."""
        ...


class Event(NamedTuple):
    """One state entered by one run.

    Attributes:
        until: The instant that a waiting state waits for.
    """

    run_id: str
    state: str
    at: float
    task: str
    attempt: int = 1
    worker: str = ""
    detail: str = ""
    until: float | None = None


class EventLog(Protocol):
    """Keep what happened, in order of arrival, without ever slowing a run."""

    def append(self, events: Sequence[Event]) -> None:
        """Send a batch; fire and forget."""
        ...

    def read(self, *, since: float | None = None) -> AsyncIterator[Event]:
        """Read back what is kept, oldest first, up to now.

        Args:
            since: Skip what was appended before this instant.
        """
        ...

    def follow(self) -> AsyncIterator[Event]:
        """Yield events as they arrive, from now on, for ever."""
        ...


class BlobStore(Protocol):
    """Keep what is too big for a message."""

    async def put_blob(self, key: str, data: bytes) -> None:
        """Store a blob under a key (a run id, a dot, a word); readable on return."""
        ...

    async def get_blob(self, key: str) -> bytes | None:
        """Return a blob, or None when it is not there."""
        ...

    async def delete_blob(self, key: str) -> None:
        """Forget a blob; nothing happens when there is none."""
        ...


class Coordinator(Protocol):
    """Agree between processes: counters, locks, slots."""

    async def add(self, key: str, amount: int = 1) -> int:
        """Add to a counter (it starts at 0) and return its new value."""
        ...

    async def acquire(self, name: str, holder: str, limit: int, lease: float) -> bool:
        """Take one of `limit` slots of a name for `lease` seconds (at least 1); a lock is limit 1.

        A holder that has a slot renews it.
        """
        ...

    async def release(self, name: str, holder: str) -> None:
        """Give a slot back; nothing happens when the holder has none."""
        ...


class DeadLetter(NamedTuple):
    """A run that will not be executed any more, kept with everything known of it."""

    run_id: str
    queue: str
    reason: str
    at: float
    body: bytes


class DeadLetters(Protocol):
    """Look through what was dead-lettered."""

    def letters(self) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters, oldest first."""
        ...

    async def drop_letter(self, run_id: str) -> bool:
        """Forget one dead letter; False when there is none."""
        ...


class Presence(Protocol):
    """Know which workers live."""

    async def announce(self, worker: str, info: bytes, ttl: float) -> None:
        """Say that a worker lives; forgotten after `ttl` seconds unless said again."""
        ...

    async def workers(self) -> list[tuple[str, bytes]]:
        """List the living workers and what they said of themselves."""
        ...


class Control(Protocol):
    """Talk to the processes that live now; nothing is kept."""

    async def listen(self, topic: str, answer: Callable[[bytes], bytes | None]) -> Watch:
        """Hear what is asked under a topic.

        Args:
            topic: Letters, digits, `_` and `-`.
            answer: Called on the loop with each question; must not block. What it returns is sent
                back, None stays silent.
        """
        ...

    async def ask(
        self, topic: str, question: bytes, *, timeout: float, answers: int | None = None
    ) -> list[bytes]:
        """Ask everybody who listens to a topic.

        Args:
            topic: The topic.
            question: What they hear.
            timeout: How long to wait for answers; it returns at once when nobody listens.
            answers: Return as soon as this many came; None waits the whole time.
        """
        ...


class Record(NamedTuple):
    """A small value kept under a key.

    Attributes:
        revision: Grows with each change of the record.
    """

    key: str
    body: bytes
    revision: int


class Records(Protocol):
    """Keep small values that outlive every process, in named buckets."""

    async def put_record(
        self, bucket: str, key: str, body: bytes, *, revision: int | None = None
    ) -> bool:
        """Store a value.

        Args:
            bucket: Letters, digits, `_` and `-`; comes into being by being named.
            key: Any text of up to 200 characters.
            body: The value.
            revision: Store only while the record is at this revision, 0 for "not there";
                None stores in any case.

        Returns:
            bool: Whether it was stored.
        """
        ...

    async def get_record(self, bucket: str, key: str) -> Record | None:
        """Return a record, or None when there is none."""
        ...

    async def records(self, bucket: str) -> list[Record]:
        """Return a bucket's records, by key."""
        ...

    async def delete_record(self, bucket: str, key: str) -> bool:
        """Forget a record; False when there was none."""
        ...


class QueueInfo(NamedTuple):
    """How a queue stands.

    Attributes:
        name: The queue.
        waiting: Runs that could start now.
        executing: Runs in the hands of workers.
        delayed: Runs whose instant has not come.
        paused_until: Nothing is delivered before this instant, `FOREVER` for a pause without an
            end; None when it is not paused.
    """

    name: str
    waiting: int
    executing: int
    delayed: int
    paused_until: float | None


class WaitingRun(NamedTuple):
    """A run that no worker holds.

    Attributes:
        at: The instant it waits for; None when it only waits for a worker.
        body: The envelope.
    """

    run_id: str
    queue: str
    at: float | None
    body: bytes


class Queues(Protocol):
    """Look into the queues and hold them up."""

    async def queues(self) -> list[QueueInfo]:
        """Return all queues that hold runs, are served or are paused, by name."""
        ...

    async def pause_queue(self, queue: str, until: float | None = None) -> None:
        """Deliver nothing of a queue, whatever its priority, until an instant; None is for ever.

        The broker holds the pause: it outlives every process, and workers that come later keep it.
        Runs in the hands of workers go on.
        """
        ...

    async def resume_queue(self, queue: str) -> bool:
        """End a pause; False when there was none."""
        ...

    def waiting(self, queue: str | None = None) -> AsyncIterator[WaitingRun]:
        """Yield the waiting and delayed runs of one queue or of all, oldest first, up to now."""
        ...

    async def find_waiting(self, run_id: str) -> WaitingRun | None:
        """Return a run that waits or is delayed, or None; may show one that a worker holds."""
        ...


class FullBroker(
    Broker,
    ResultStore,
    EventLog,
    BlobStore,
    Coordinator,
    DeadLetters,
    Presence,
    Control,
    Records,
    Queues,
    Protocol,
):
    """A broker that keeps all its promises; what `jtask.brokers` factories return."""


class BrokerFactory(Protocol):
    """What an entry point of the group `jtask.brokers` names, by URL scheme."""

    async def __call__(self, url: str, client: str, loop: asyncio.AbstractEventLoop) -> FullBroker:
        """Connect.

        Args:
            url: The value of JTASK_URL.
            client: This process's client id (`jtask.ids.RunIds.client`).
            loop: The I/O loop, which is running this.

        Raises:
            BrokerUnavailable: It cannot be reached within the connect timeout of the settings.
            BrokerTooOld: It lacks something.
        """
        ...


class ResultStoreFactory(Protocol):
    """What an entry point of the group `jtask.results` names, by URL scheme."""

    async def __call__(
        self, url: str, client: str, loop: asyncio.AbstractEventLoop
    ) -> OpenResultStore:
        """Connect.

        Args:
            url: The value of JTASK_RESULTS_URL.
            client: This process's client id (`jtask.ids.RunIds.client`).
            loop: The I/O loop, which is running this.

        Raises:
            BrokerUnavailable: It cannot be reached within the connect timeout of the settings.
            BrokerTooOld: It lacks something.
        """
        ...
