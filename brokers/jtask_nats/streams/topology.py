"""The streams and consumers that jtask keeps on a server: which, how set, made at first use."""

import asyncio
import logging
import random
from collections.abc import Mapping
from enum import Enum
from typing import Any

from jtask.contract import DEFAULT_PRIORITY
from jtask.errors import ConfigurationError, PermissionDenied
from jtask.settings import Settings
from jtask_nats.client import headers
from jtask_nats.client.connection import Connection
from jtask_nats.client.nats_errors import CONSUMER_NOT_FOUND, ApiError
from jtask_nats.streams.pauses import Pauses, pause_of
from jtask_nats.streams.subjects import Subjects

_VERSION = "1"
"""Raised when a stream's settings below change; a stream of a newer version is left alone."""
_NANO = 1_000_000_000
_DEDUP_WINDOW = (
    30 * _NANO
)  # the server remembers each id of that time in memory, 200-300 bytes each
_EVENTS_SIZE = 256 << 20  # bytes, which the server reserves
_MAX_WAITING = 8192  # pulls that may stand at a consumer; cannot be changed later
_MAX_ACK_PENDING = 100_000
_ANSWER_TIMEOUT = 10.0  # seconds
_MAKE_AGAIN = (0.1, 0.2, 0.4)  # seconds for the server to delete the folder of a consumer

_NAME_IN_USE = 10058
_SUBJECTS_OVERLAP = 10065
_CONSUMER_EXISTS = 10148
_NOT_CREATED = 10012  # a consumer that is there and cannot be changed, or that has no place on disk
_GONE_MEANWHILE = {10104, 10149}  # no store for a consumer; changed while it was being deleted
_NO_PLACE = ("no such file", "creating store")
_JETSTREAM_OFF = {10039, 10076}
_NO_CLUSTER = 10074

# Without these jtask would lose runs or stand still; the rest is tuning.
_ESSENTIAL = (
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

_log = logging.getLogger("jtask")
Config = dict[str, Any]


class Stream(Enum):
    """The streams of a namespace, by what follows JTASK_<namespace> in their names."""

    RUNS = ""
    RESULTS = "_RESULTS"
    BLOBS = "_BLOBS"
    EVENTS = "_EVENTS"
    DEAD_LETTERS = "_DEAD"
    WORKERS = "_WORKERS"
    COUNTERS = "_COUNTERS"
    SLOTS = "_SLOTS"
    RECORDS = "_RECORDS"


class Topology:
    """Make what is needed of the streams and consumers of a namespace, once per process.

    Args:
        connection: To the server.
        subjects: Of the namespace.
        settings: Times to live, lease, replicas, namespace.
    """

    def __init__(self, connection: Connection, subjects: Subjects, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        self._base = f"JTASK_{settings.namespace}"
        self._configs = stream_configs(subjects, settings)
        self._subjects = subjects
        self.pauses = Pauses(connection, subjects, self.stream_name(Stream.RECORDS))
        """Which queues are paused; needs the stream of records."""
        self._known: set[Stream] = set()
        self._consumers: set[tuple[str, int]] = set()

    def stream_name(self, stream: Stream) -> str:
        """Return a stream's name."""
        return self._base + stream.value

    def stream_of(self, queue: str) -> str:
        """Return the stream that holds the runs of a queue; the only place that decides it."""
        del queue
        return self._base

    def forget(self) -> None:
        """Check everything again at its next use: the server may be another one now."""
        self._known.clear()
        self._consumers.clear()

    def knows_consumer(self, queue: str, priority: int) -> bool:
        """Tell whether a consumer is there, as far as this process knows."""
        return (queue, priority) in self._consumers

    def is_ready_for(self, queue: str, priority: int) -> bool:
        """Tell whether a run can be stored without making anything first; from any thread."""
        if Stream.RUNS not in self._known:
            return False
        return priority == DEFAULT_PRIORITY or self.knows_consumer(queue, priority)

    async def ensure(self, *streams: Stream) -> None:
        """Make streams that are not there and update those that are of an older version.

        Raises:
            ConfigurationError: A stream is there and cannot be made what jtask needs.
            BrokerUnavailable: No answer.
        """
        missing = [stream for stream in streams if stream not in self._known]
        if missing:
            await asyncio.gather(*(self._ensure_stream(stream) for stream in missing))

    async def ensure_consumer(self, queue: str, priority: int, *, owner: bool) -> bool:
        """Make the consumer of a queue's priority.

        Args:
            queue: Which.
            priority: 0 to 9.
            owner: Whether our lease shall hold for it if it is there already.

        Returns:
            bool: True when this process had not asked before.
        """
        if not owner and (queue, priority) in self._consumers:
            return False
        await self.ensure(Stream.RUNS, Stream.RECORDS)
        config = self._consumer_config(queue, priority)
        paused = await self.pauses.until(queue)
        if paused is not None:
            # The server leaves it alone where the consumer is there already.
            config["pause_until"] = headers.instant(paused)
        body: Config = {"stream_name": self.stream_of(queue), "config": config}
        if not owner:
            body["action"] = "create"
        name = f"{self.stream_of(queue)}.{config['name']}"
        try:
            made = await self._create_consumer(name, body)
            if made is not None:
                await self.pauses.lay_on(queue, name, pause_of(made))
        except PermissionDenied:
            # Whoever set the server up made it, or the pulls will say that it is missing.
            _log.debug("may not create the consumer %s", name)
        self._consumers.add((queue, priority))
        return True

    async def consumer_info(self, queue: str, priority: int) -> Config | None:
        """Return what the server says of a queue's consumer; None when there is none."""
        return await self._find_consumer(
            f"{self.stream_of(queue)}.{consumer_name(queue, priority)}"
        )

    async def consumer_infos(self) -> list[Config]:
        """Return what the server says of all consumers."""
        return await self._pages(f"CONSUMER.LIST.{self._base}", "consumers")

    async def priorities(self, queues: list[str]) -> list[tuple[str, int]]:
        """List the (queue, priority) of some queues that have a consumer."""
        wanted, found = set(queues), list[tuple[str, int]]()
        try:
            names: list[str] = await self._pages(f"CONSUMER.NAMES.{self._base}", "consumers")
        except PermissionDenied:
            _log.debug("may not list the consumers: only the default priority is known")
            names = [consumer_name(queue) for queue in queues]
        for name in names:
            queue, _, priority = name.rpartition("_")
            if queue in wanted and priority.isdigit():
                found.append((queue, int(priority)))
        return found

    async def _create_consumer(self, name: str, body: Config) -> Config | None:
        """Return what was made; None when it is there and must stay as it is.

        The server deletes a consumer's folder a moment after the consumer: one that is made again
        meanwhile loses its own, and what it knows is lost at the server's restart. It is made anew
        unless somebody holds a run of it, who would lose the claim.
        """
        for pause in _MAKE_AGAIN:
            try:
                return await self._api(f"CONSUMER.CREATE.{name}", body)
            except ApiError as error:
                if not _has_no_place(error):
                    if error.err_code in (_CONSUMER_EXISTS, _NOT_CREATED):
                        return None
                    raise
                _log.debug("the consumer %s is half made: %s", name, error)
            found = await self._find_consumer(name)
            if found is not None and found["num_ack_pending"]:
                return None
            if found is not None:
                await self._delete_consumer(name)
            # Not at the same moment as others who found it like this.
            await asyncio.sleep(pause * random.uniform(1.0, 2.0))
        return await self._api(f"CONSUMER.CREATE.{name}", body)

    async def _find_consumer(self, name: str) -> Config | None:
        try:
            return await self._api(f"CONSUMER.INFO.{name}")
        except ApiError as error:
            if error.err_code != CONSUMER_NOT_FOUND:
                raise
            return None

    async def _delete_consumer(self, name: str) -> None:
        try:
            await self._api(f"CONSUMER.DELETE.{name}")
        except ApiError as error:
            if error.err_code != CONSUMER_NOT_FOUND:
                raise

    async def _pages(self, suffix: str, key: str) -> list[Any]:
        found: list[Any] = []
        while True:
            answer = await self._api(suffix, {"offset": len(found)})
            page: list[Any] = answer[key] or []
            found += page
            if not page or len(found) >= answer["total"]:
                return found

    async def _ensure_stream(self, stream: Stream) -> None:
        name, wanted = self.stream_name(stream), self._configs[stream]
        try:
            await self._api(f"STREAM.CREATE.{name}", {"name": name, **wanted})
        except PermissionDenied:
            _log.debug("may not create the stream %s: it is taken to be there", name)
        except ApiError as error:
            if error.err_code in _JETSTREAM_OFF:
                raise ConfigurationError(
                    f"JetStream is not enabled on {self._connection.url}; start nats-server "
                    "with -js, or enable it for this account"
                ) from None
            if error.err_code == _NO_CLUSTER:
                raise ConfigurationError(
                    f"JTASK_REPLICAS is {self._settings.replicas}, and {self._connection.url} is "
                    f"no cluster; leave it out, or name the servers of a cluster in JTASK_URL"
                ) from None
            if error.err_code == _SUBJECTS_OVERLAP:
                raise ConfigurationError(
                    f"another stream on {self._connection.url} holds subjects of {name} "
                    f"({', '.join(wanted['subjects'])}); choose another JTASK_NAMESPACE"
                ) from None
            if error.err_code != _NAME_IN_USE:
                raise
            await self._bring_up_to_date(name, wanted)
        self._known.add(stream)

    async def _bring_up_to_date(self, name: str, wanted: Config) -> None:
        have: Config = (await self._api(f"STREAM.INFO.{name}"))["config"]
        drift = drift_of(have, wanted)
        if not drift or _is_newer(have):
            return
        try:
            await self._api(f"STREAM.UPDATE.{name}", {**have, **wanted})
        except ApiError as error:
            _report_drift(name, drift, error)
        else:
            _log.info("updated the stream %s: %s", name, _listed(drift))

    def _consumer_config(self, queue: str, priority: int) -> Config:
        name = consumer_name(queue, priority)
        return {
            "name": name,
            "durable_name": name,
            "filter_subject": self._subjects.queued(queue, priority, "*"),
            "ack_policy": "explicit",
            "ack_wait": round(self._settings.lease * _NANO),
            "max_deliver": -1,
            "max_waiting": _MAX_WAITING,
            "max_ack_pending": _MAX_ACK_PENDING,
        }

    async def _api(self, suffix: str, payload: Config | None = None) -> Config:
        return await self._connection.api(suffix, payload, timeout=_ANSWER_TIMEOUT)


def stream_configs(subjects: Subjects, settings: Settings) -> dict[Stream, Config]:
    """Return what each stream of a namespace must be set to."""
    common: Config = {
        "num_replicas": settings.replicas,
        "allow_direct": True,
        "metadata": {"jtask": _VERSION},
    }
    disk: Config = {**common, "storage": "file", "retention": "limits", "discard": "old"}
    memory: Config = {**disk, "storage": "memory"}
    one_each: Config = {"max_msgs_per_subject": 1}
    # A blob belongs to a run, an outcome or a dead letter: it must outlive all of them.
    longest = max(settings.result_ttl, settings.event_ttl, settings.dead_letter_ttl)
    events: Config = {"persist_mode": "async"} if settings.replicas == 1 else {}
    return {
        # No limit on messages, bytes or age here: any of them would drop runs.
        Stream.RUNS: {
            **disk,
            "subjects": [subjects.all_queued, subjects.all_schedules],
            "retention": "workqueue",
            "allow_msg_schedules": True,
            "allow_msg_ttl": True,
            "allow_atomic": True,
            "allow_rollup_hdrs": True,
            "duplicate_window": _DEDUP_WINDOW,
        },
        # Republished, not overheard: what loses against an earlier outcome reaches nobody.
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
            "max_age": _nanos(longest),
            "duplicate_window": _window(longest),
        },
        Stream.EVENTS: {
            **disk,
            **events,
            "subjects": [subjects.all_events],
            "max_age": _nanos(settings.event_ttl),
            "max_bytes": _EVENTS_SIZE,
            "duplicate_window": _window(settings.event_ttl),
        },
        Stream.DEAD_LETTERS: {
            **disk,
            **one_each,
            "subjects": [subjects.all_dead_letters],
            "max_age": _nanos(settings.dead_letter_ttl),
            "duplicate_window": _window(settings.dead_letter_ttl),
        },
        Stream.WORKERS: {
            **memory,
            **one_each,
            "subjects": [subjects.all_workers],
            "allow_msg_ttl": True,
        },
        Stream.COUNTERS: {
            **disk,
            **one_each,
            "subjects": [subjects.all_counters],
            "allow_msg_counter": True,
            "duplicate_window": _DEDUP_WINDOW,
        },
        Stream.SLOTS: {
            **memory,
            **one_each,
            "subjects": [subjects.all_slots],
            "allow_msg_ttl": True,
        },
        Stream.RECORDS: {
            **disk,
            **one_each,
            "subjects": [subjects.all_records],
            "duplicate_window": _DEDUP_WINDOW,
        },
    }


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


def consumer_name(queue: str, priority: int = DEFAULT_PRIORITY) -> str:
    """Return the name of the consumer of a queue's priority."""
    return f"{queue}_{priority}"


def _has_no_place(error: ApiError) -> bool:
    """Tell whether a consumer was refused because its folder is not there, or not any more."""
    description = error.description.lower()
    return error.err_code in _GONE_MEANWHILE or (
        error.err_code == _NOT_CREATED and any(word in description for word in _NO_PLACE)
    )


def _is_newer(have: Config) -> bool:
    tags: dict[str, str] = have.get("metadata") or {}
    version = tags.get("jtask", "0")
    return version.isdigit() and int(version) > int(_VERSION)


def _report_drift(name: str, drift: dict[str, tuple[Any, Any]], error: ApiError) -> None:
    if any(key in drift for key in _ESSENTIAL):
        raise ConfigurationError(
            f"the stream {name} is not what jtask needs ({_listed(drift)}) and cannot be changed "
            f"({error.description}); remove it, or choose another JTASK_NAMESPACE"
        ) from None
    _log.warning(
        "the stream %s differs from the settings (%s) and cannot be changed: %s",
        name,
        _listed(drift),
        error.description,
    )


def _listed(drift: dict[str, tuple[Any, Any]]) -> str:
    return ", ".join(f"{key} is {have!r}, not {want!r}" for key, (have, want) in drift.items())


def _nanos(seconds: float) -> int:
    return round(seconds * _NANO)


def _window(max_age: float) -> int:
    """The server refuses a dedup window longer than messages live."""
    return min(_DEDUP_WINDOW, _nanos(max_age))
