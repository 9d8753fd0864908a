"""What each stream of a namespace is set to, and how to tell whether one differs. No I/O."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from jtask.settings import Settings
from jtask_nats.streams.subjects import Subjects

Config = dict[str, Any]

_VERSION = "3"
"""To be raised when a setting below changes; a stream of a newer version is left alone."""
_STREAMS = "jtask_streams"
"""In a stream's metadata: over how many the runs are spread; absent where it is one."""
NANO = 1_000_000_000
_DEDUP_WINDOW = 30 * NANO  # the server keeps each id that long in memory, 200-300 bytes each
_EVENTS_SIZE = 256 << 20  # bytes; the server reserves them, and drops the oldest events beyond
_LOGS_SIZE = 512 << 20  # bytes, likewise

# Without these jtask would lose runs or stand still; the rest is tuning.
ESSENTIAL = (
    "retention",
    "storage",
    "subjects",
    "allow_msg_schedules",
    "allow_msg_ttl",
    "allow_atomic",
    "allow_direct",
    "allow_msg_counter",
    "allow_rollup_hdrs",
)


class Stream(Enum):
    """The streams of a namespace, by what follows JTASK_<namespace> in their names."""

    RUNS = ""
    RESULTS = "_RESULTS"
    BLOBS = "_BLOBS"
    EVENTS = "_EVENTS"
    LOGS = "_LOGS"
    ITEMS = "_ITEMS"
    DEAD_LETTERS = "_DEAD"
    WORKERS = "_WORKERS"
    COUNTERS = "_COUNTERS"
    TALLIES = "_TALLIES"
    SLOTS = "_SLOTS"
    RECORDS = "_RECORDS"


def stream_configs(
    subjects: Subjects, settings: Settings, replicas: int = 1
) -> dict[Stream, Config]:
    """Return what each stream of a namespace must be set to."""
    common: Config = {
        "num_replicas": replicas,
        "allow_direct": True,
        "metadata": {"jtask": _VERSION},
    }
    disk: Config = {**common, "storage": "file", "retention": "limits", "discard": "old"}
    one_each: Config = {"max_msgs_per_subject": 1}
    # An ack before the write: quicker, and a crash costs the last moment of events at most. The
    # server has it for one replica only.
    events: Config = {"persist_mode": "async"} if replicas == 1 else {}
    return {
        # No limit on messages, bytes or age: any of them would silently drop the oldest runs. What
        # holds a full disk off is the server's own max_file_store, which refuses new ones.
        Stream.RUNS: {
            **disk,
            "subjects": subjects.of_part(1),
            # An acked run is removed by the server. Consumers may not overlap in such a stream
            # (10100): one for each priority of a queue.
            "retention": "workqueue",
            # Delays and retries (ADR-51). Cannot be switched off again, and forbids discard=new.
            "allow_msg_schedules": True,
            "allow_msg_ttl": True,
            # `enqueue` stores all or none (ADR-50).
            "allow_atomic": True,
            "allow_rollup_hdrs": True,
            "duplicate_window": _DEDUP_WINDOW,
        },
        # Waiters get the stream's republished message (ADR-28), not the worker's own: that one also
        # shows an outcome that is then refused because another came first.
        Stream.RESULTS: {
            **disk,
            **one_each,
            "subjects": [subjects.all_outcomes],
            "allow_msg_ttl": True,
            "max_age": _nanos(settings.result_ttl),
            "duplicate_window": _window(settings.result_ttl),
            "republish": {
                "src": subjects.all_outcomes,
                "dest": subjects.all_republished,
            },
        },
        Stream.BLOBS: {
            **disk,
            **one_each,
            "subjects": [subjects.all_blobs],
            "allow_msg_ttl": True,
            # Arguments live as long as their run, which may wait for years.
            "max_age": 0,
            "duplicate_window": _DEDUP_WINDOW,
        },
        Stream.EVENTS: {
            **disk,
            **events,
            "subjects": [subjects.all_events],
            "max_age": _nanos(settings.event_ttl),
            "max_bytes": _EVENTS_SIZE,
            "duplicate_window": _window(settings.event_ttl),
        },
        # Followers are told by the republished headers that there is more, and read the stream.
        Stream.LOGS: {
            **disk,
            "subjects": [subjects.all_logs],
            "max_age": _nanos(settings.log_ttl),
            "max_bytes": _LOGS_SIZE,
            "duplicate_window": _window(settings.log_ttl),
            "republish": {
                "src": subjects.all_logs,
                "dest": subjects.all_log_news,
                "headers_only": True,
            },
        },
        # No limit on bytes: the oldest items of a stream that is being read must not be dropped.
        Stream.ITEMS: {
            **disk,
            "subjects": [subjects.all_items],
            "max_age": _nanos(settings.item_ttl),
            "duplicate_window": _window(settings.item_ttl),
            "republish": {
                "src": subjects.all_items,
                "dest": subjects.all_item_news,
                "headers_only": True,
            },
        },
        Stream.DEAD_LETTERS: {
            **disk,
            **one_each,
            "subjects": [subjects.all_dead_letters],
            "max_age": _nanos(settings.dead_letter_ttl),
            "duplicate_window": _window(settings.dead_letter_ttl),
        },
        # In memory: a worker says that it lives every few seconds, so nothing is lost with the
        # server.
        Stream.WORKERS: {
            **disk,
            **one_each,
            "storage": "memory",
            "subjects": [subjects.all_workers],
            "allow_msg_ttl": True,
        },
        Stream.COUNTERS: {
            **disk,
            **one_each,
            "subjects": [subjects.all_counters],
            # ADR-49: such a stream has neither TTLs nor schedules.
            "allow_msg_counter": True,
            "duplicate_window": _DEDUP_WINDOW,
        },
        Stream.TALLIES: {
            **disk,
            **one_each,
            "subjects": [subjects.all_tallies],
            "allow_msg_ttl": True,
            "duplicate_window": _DEDUP_WINDOW,
        },
        # On disk: a limit holds on when a server comes back, and a rate may last for days.
        Stream.SLOTS: {
            **disk,
            **one_each,
            "subjects": [subjects.all_slots],
            "allow_msg_ttl": True,
        },
        Stream.RECORDS: {
            **disk,
            **one_each,
            "subjects": [subjects.all_records],
            "allow_msg_ttl": True,
            "duplicate_window": _DEDUP_WINDOW,
        },
    }


def run_stream_configs(first: Config, subjects: Subjects) -> list[Config]:
    """Return what each of the streams that hold runs must be set to.

    Args:
        first: The config of the first one, where it is the only one.
        subjects: Of the namespace.
    """
    if subjects.streams == 1:
        return [first]
    metadata = {**first["metadata"], _STREAMS: str(subjects.streams)}
    return [
        {**first, "subjects": subjects.of_part(part), "metadata": metadata}
        for part in range(1, subjects.streams + 1)
    ]


def number_of_streams(have: Config) -> int:
    """Return over how many streams the runs are spread, by the config of one of them."""
    tags: dict[str, str] = have.get("metadata") or {}
    number = tags.get(_STREAMS, "1")
    return int(number) if number.isdecimal() else 1


def drift_of(have: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what a stream has and what it should have, where they differ.

    What jtask does not set is the operator's business and no drift.
    """
    drift: dict[str, tuple[Any, Any]] = {}
    for key, value in wanted.items():
        found = have.get(key)
        if key == "metadata":
            tags: dict[str, str] = found or {}
            found = {name: tags.get(name) for name in value}
        if found != value:
            drift[key] = (found, value)
    return drift


def is_newer(have: Config) -> bool:
    """Tell whether a stream was set up by a later version of jtask."""
    tags: dict[str, str] = have.get("metadata") or {}
    version = tags.get("jtask", "0")
    return version.isdigit() and int(version) > int(_VERSION)


def _nanos(seconds: float) -> int:
    return round(seconds * NANO)


def _window(max_age: float) -> int:
    # The server refuses a dedup window longer than messages live.
    return min(_DEDUP_WINDOW, _nanos(max_age))
