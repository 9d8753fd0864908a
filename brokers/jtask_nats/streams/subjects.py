"""The subjects of a namespace, and how to read one."""

import hashlib
import re
from typing import NamedTuple

from jtask.contract import TOP_PRIORITY
from jtask.ids import CLIENT_HEX
from jtask_nats.streams.run_streams import part_of, part_token

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_UNSAFE = re.compile(rb"[^A-Za-z0-9_-]")
_ESCAPED = re.compile(rb"=([0-9a-f]{2})")
_PARKED = "p"
_LONGEST_TOKEN = 600
"""Characters; a subject may have about a thousand."""
PRIORITIES = frozenset(map(str, range(TOP_PRIORITY + 1)))
"""As they stand in a subject."""


class Subjects:
    """The subjects of one namespace.

    Args:
        namespace: From the settings.
        streams: Over how many streams the runs are spread.
    """

    def __init__(self, namespace: str, streams: int = 1) -> None:
        self.root = f"jtask.{namespace}"
        self.streams = streams
        self._schedules = f"{self.root}.s."
        self._parked = f"{self.root}.{_PARKED}."
        self.all_outcomes = f"{self.root}.r.>"
        self.all_republished = f"{self.root}.o.>"
        self.all_blobs = f"{self.root}.b.>"
        self.all_events = f"{self.root}.e.>"
        self.all_logs = f"{self.root}.g.>"
        self.all_log_news = f"{self.root}.h.>"
        self.all_items = f"{self.root}.i.>"
        self.all_item_news = f"{self.root}.j.>"
        self.all_dead_letters = f"{self.root}.d.>"
        self.all_workers = f"{self.root}.w.>"
        self.all_counters = f"{self.root}.n.>"
        self.all_tallies = f"{self.root}.t.>"
        self.all_slots = f"{self.root}.l.>"
        self.all_records = f"{self.root}.k.>"
        self.all_pauses = self.pause("*")
        self.new_priority = f"{self.root}.c.priority"
        """Core subject: a queue has got a consumer for another priority (`<queue> <priority>`)."""
        self.held = f"{self.root}.c.held"
        """Core subject: which worker holds these runs? Answered only by one that does."""

    def of_part(self, part: int) -> list[str]:
        """Return the subjects of one of the streams that hold runs."""
        token = "" if self.streams == 1 else f"{part_token(part, self.streams)}."
        return [f"{self.root}.{kind}.{token}>" for kind in ("q", "s", _PARKED)]

    def queued(self, queue: str, priority: int | str, run_id: str) -> str:
        """Return where a run waits; `*` stands for any."""
        return f"{self.root}.q.{self._place(queue)}.{priority}.{run_id}"

    def schedule(self, queue: str, priority: int | str, run_id: str) -> str:
        """Return where a run waits for its time."""
        return f"{self._schedules}{self._place(queue)}.{priority}.{run_id}"

    def parked(self, queue: str, key: str | None, run_id: str) -> str:
        """Return where a run waits under a key; None is any key, `*` any queue or run."""
        token = "*" if key is None else _short_token(key)
        return f"{self._parked}{self._place(queue)}.{token}.{run_id}"

    def delayed(self, queue: str) -> str:
        """Return where the runs of a queue wait for their time; `*` stands for any queue."""
        return self.schedule(queue, "*", "*")

    def parked_by_any(self, queue: str) -> str:
        """Return where the runs of a queue wait under whatever key; `*` stands for any queue."""
        return self.parked(queue, None, "*")

    def parked_key(self, subject: str) -> str:
        """Return what the run at a subject is parked under; a hash of a long one."""
        return decode_token(subject.rsplit(".", 2)[1])

    def runs(self, queue: str, run_id: str = "*") -> str:
        """Return where runs of a queue are, waiting, delayed, parked or held; `*` is any."""
        return f"{self.root}.*.{self._place(queue)}.*.{run_id}"

    def is_schedule(self, subject: str) -> bool:
        """Tell whether the run at a subject waits for its time, or to be woken."""
        return subject.startswith((self._schedules, self._parked))

    def is_parked(self, subject: str) -> bool:
        """Tell whether the run at a subject waits to be woken."""
        return subject.startswith(self._parked)

    def outcome(self, run_id: str) -> str:
        """Return where a run's outcome is stored."""
        # As `client_of`: each run that ends comes here.
        return f"{self.root}.r.{run_id[-CLIENT_HEX:]}.{run_id}"

    def republished(self, client: str, run_id: str = "*") -> str:
        """Return where outcomes are pushed once they are stored."""
        return f"{self.root}.o.{client}.{run_id}"

    def pushed(self, run_id: str) -> str:
        """Return where the outcome of a run is pushed."""
        return self.republished(run_id[-CLIENT_HEX:], run_id)

    def chunk(self, key: str, number: int | str) -> str:
        """Return where one piece of a blob lies; `*` stands for all."""
        return f"{self.root}.b.{encode_token(key)}.{number}"

    def events(self, shard: str) -> str:
        """Return where the events of a shard of all runs go."""
        return f"{self.root}.e.{shard}"

    def log(self, run_id: str) -> str:
        """Return where the log of a run goes."""
        return f"{self.root}.g.{run_id}"

    def log_news(self, run_id: str) -> str:
        """Return where it is told that more of a run's log is stored."""
        return f"{self.root}.h.{run_id}"

    def items(self, run_id: str) -> str:
        """Return where the items of a run go."""
        return f"{self.root}.i.{run_id}"

    def item_news(self, run_id: str) -> str:
        """Return where it is told that more items of a run are stored."""
        return f"{self.root}.j.{run_id}"

    def dead_letter(self, queue: str, run_id: str) -> str:
        """Return where a dead letter lies."""
        return f"{self.root}.d.{queue}.{run_id}"

    def worker(self, worker: str) -> str:
        """Return where a worker says that it lives."""
        return f"{self.root}.w.{encode_token(worker)}"

    def counter(self, key: str) -> str:
        """Return where a counter is."""
        return f"{self.root}.n.{encode_token(key)}"

    def tally(self, key: str) -> str:
        """Return where a counter with a time to live is."""
        return f"{self.root}.t.{encode_token(key)}"

    def slot(self, name: str, number: int | str) -> str:
        """Return where a slot of a name is; `*` stands for all."""
        return f"{self.root}.l.{encode_token(name)}.{number}"

    def record(self, bucket: str, key: str) -> str:
        """Return where a record is kept; the key of one too long for that is in its headers."""
        return f"{self.root}.k.{encode_token(bucket)}.{_short_token(key)}"

    def records(self, bucket: str) -> str:
        """Return where all records of a bucket are."""
        return f"{self.root}.k.{encode_token(bucket)}.*"

    def pause(self, queue: str) -> str:
        """Return where a queue's pause is kept: in a bucket whose name nobody can give."""
        return f"{self.root}.k.=pauses.{queue}"

    def registered(self, queue: str) -> str:
        """Return where it is kept that a queue has got runs; `*` stands for any."""
        return f"{self.root}.k.=queues.{queue}"

    def request(self, topic: str) -> str:
        """Return the core subject on which a topic's questions are asked."""
        return f"{self.root}.c.ask.{encode_token(topic)}"

    def _place(self, queue: str) -> str:
        """Return the tokens of a queue: its name, and which of several streams has it."""
        if self.streams == 1:
            return queue
        # One with a wildcard is asked for in each stream.
        part = "*" if queue == "*" else part_token(part_of(queue, self.streams), self.streams)
        return f"{part}.{queue}"


def _short_token(text: str) -> str:
    """Return a string as one token, a hash of it where it is too long."""
    part = encode_token(text)
    if len(part) <= _LONGEST_TOKEN:
        return part
    # No token has two of these in a row, so no other text has it.
    return f"=={hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()}"


def encode_token(text: str) -> str:
    """Return a string as one token of a subject; `decode_token` gives it back."""
    if _PLAIN.fullmatch(text):
        return text
    # A dot would split the token, and `*` or `>` would address the subjects of others.
    raw = text.encode("utf-8", "replace")
    return _UNSAFE.sub(lambda found: b"=%02x" % found[0][0], raw).decode() or "="


def decode_token(part: str) -> str:
    """Return the text that `encode_token` made a token of."""
    if part == "=":
        return ""
    raw = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), part.encode("utf-8", "replace"))
    return raw.decode("utf-8", "replace")


def is_for_parked(place: str) -> bool:
    """Tell whether runs are parked at subjects that begin so; the queue follows."""
    return place.split(".", 3)[2] == _PARKED


def last_token(subject: str) -> str:
    """Return what stands behind a subject's last dot."""
    return subject[subject.rfind(".") + 1 :]


class AckSubject(NamedTuple):
    """What the reply subject of a delivered message tells about it.

    Attributes:
        deliveries: How often it was delivered, this time included.
        stream_seq: Its sequence in the stream.
        stored_at: When it was stored, seconds since the epoch.
        pending: How many messages the consumer has not delivered yet.
    """

    deliveries: int
    stream_seq: int
    stored_at: float
    pending: int


def parse_ack_subject(reply: str) -> AckSubject:
    """Read the reply subject of a delivered message (ADR-15).

    It has nine tokens, or eleven and more when the server adds its domain and account in front
    and a random one behind.
    """
    tokens = reply.split(".")
    first = 4 if len(tokens) == 9 else 6
    return AckSubject(
        int(tokens[first]),
        int(tokens[first + 1]),
        int(tokens[first + 3]) / 1e9,
        int(tokens[first + 4]),
    )
