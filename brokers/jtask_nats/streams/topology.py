"""Make the streams and consumers of a namespace at their first use, and bring them up to date."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from jtask.background import end_all
from jtask.contract import DEFAULT_PRIORITY
from jtask.errors import BrokerUnavailable, ConfigurationError, JTaskError, PermissionDenied
from jtask.settings import Settings
from jtask_nats.client import headers
from jtask_nats.client.connection import Connection
from jtask_nats.client.jetstream_api import call_known_stream
from jtask_nats.client.nats_errors import STREAM_NOT_FOUND, ApiError, StoreFull
from jtask_nats.client.reachability import until_up_within
from jtask_nats.streams.consumers import ANSWER_TIMEOUT, Consumers, consumer_name
from jtask_nats.streams.pausing import Pauses, paused_until
from jtask_nats.streams.run_streams import RunStreams
from jtask_nats.streams.server_clock import ServerClock
from jtask_nats.streams.stream_configs import (
    ESSENTIAL,
    NANO,
    Config,
    Stream,
    drift_of,
    is_newer,
    number_of_streams,
    run_stream_configs,
    stream_configs,
)
from jtask_nats.streams.subjects import Subjects

# Pulls that may stand at a consumer. The default of 512 refuses the 513th worker (409), and it
# cannot be changed later.
_MAX_WAITING = 8192
# Runs that all workers of a consumer may hold. Delivery stops at this number, 1000 by default.
_MAX_ACK_PENDING = 100_000

_NAME_IN_USE = 10058
_SUBJECTS_OVERLAP = 10065
_JETSTREAM_OFF = {10039, 10076}
_NO_CLUSTER = 10074

# Seconds that a cluster has to choose a leader for a new stream, or for itself when it has just
# started; up to 9 s for each.
_CLUSTER_TIMEOUT = 30.0
_RECHECK_PAUSE = 1.0  # seconds

_log = logging.getLogger("jtask")


class Topology:
    """Create the streams and consumers of a namespace as they are needed, once per process.

    Args:
        connection: To the server.
        subjects: Of the namespace.
        settings: Times to live, lease, namespace.
        replicas: Copies of each stream.

    Attributes:
        is_replicated: Whether each stream has more than one copy.
        run_streams: Those that hold runs.
    """

    def __init__(
        self, connection: Connection, subjects: Subjects, settings: Settings, replicas: int = 1
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._base = f"JTASK_{settings.namespace}"
        self._replicas = replicas
        self.is_replicated = replicas > 1
        configs = stream_configs(subjects, settings, replicas)
        self._configs = {self.stream_name(stream): config for stream, config in configs.items()}
        self.run_streams = RunStreams(settings.namespace, subjects.streams)
        wanted = run_stream_configs(configs[Stream.RUNS], subjects)
        self._configs |= zip(self.run_streams.names, wanted, strict=True)
        self._subjects = subjects
        self.consumers = Consumers(connection, self.run_streams)
        """Of the queues' priorities."""
        self.pauses = Pauses(connection, subjects, self.stream_name(Stream.RECORDS), self.consumers)
        """Which queues are paused; needs the stream of records."""
        self.clock = ServerClock()
        """The server's, compared whenever it is asked about a stream."""
        self._timeout = ANSWER_TIMEOUT if replicas == 1 else _CLUSTER_TIMEOUT
        self._known: dict[str, str] = {}
        """The streams that are there, with the instant at which the server has made each."""
        self._used: set[str] = set()
        """The streams that were there once."""
        self._making: dict[str, asyncio.Future[None]] = {}
        self._known_consumers: set[tuple[str, int]] = set()

    def stream_name(self, stream: Stream) -> str:
        """Return a stream's name; of those that hold runs, that of the first."""
        return self._base + stream.value

    async def close(self) -> None:
        """Make nothing more."""
        await end_all(list(self._making.values()))

    def forget(self) -> None:
        """Check everything again at its next use: something seems to be missing."""
        self._known.clear()
        self._known_consumers.clear()

    async def recheck(self, *names: str) -> None:
        """Check streams that were used, all by default, while they are used on as if nothing were.

        After a reconnect the server is the same as before most of the time, and to wait for its
        answer first would delay runs by an election. Where it is another one, publishing goes on
        trying until the streams are there.

        Raises:
            ConfigurationError: A stream is there and cannot be made what jtask needs.
            BrokerUnavailable: No answer.
        """
        used = self._used.intersection(names) if names else set(self._used)
        # All to their end: one that fails leaves none behind that still makes streams.
        checked = await asyncio.gather(*map(self._ensure_stream, used), return_exceptions=True)
        for error in checked:
            if error is not None:
                raise error

    async def recheck_until_done(self, reported: Callable[[str], None]) -> None:
        """Do `recheck` until it succeeds.

        Args:
            reported: Called with each reason why it has not.
        """
        while True:
            try:
                await self.recheck()
            except BrokerUnavailable as error:
                reported(str(error))
                await asyncio.sleep(_RECHECK_PAUSE)
            except JTaskError as error:
                # To be raised for who uses the stream next.
                self.forget()
                reported(str(error))
                return
            else:
                return

    def knows_consumer(self, queue: str, priority: int) -> bool:
        """Tell whether a consumer is there, as far as this process knows."""
        return (queue, priority) in self._known_consumers

    def is_ready_for(self, queue: str, priority: int) -> bool:
        """Tell whether a run can be stored without making anything first; from any thread."""
        if self.run_streams.of(queue) not in self._known:
            return False
        return priority == DEFAULT_PRIORITY or self.knows_consumer(queue, priority)

    async def ensure(self, *streams: Stream) -> None:
        """Make streams that are not there and update those that are of an older version.

        Args:
            streams: Which; of those that hold runs, the first.

        Raises:
            ConfigurationError: A stream is there and cannot be made what jtask needs.
            BrokerUnavailable: No answer.
        """
        await self._ensure_named([self.stream_name(stream) for stream in streams])

    async def ensure_runs(self, *queues: str) -> None:
        """Do `ensure` for the streams that hold the runs of some queues, of all by default.

        Raises:
            ConfigurationError: As above; or the runs are spread over another number of streams.
            BrokerUnavailable: No answer.
        """
        runs = self.run_streams
        await self._ensure_named(runs.of_queues(queues) if queues else runs.names)

    async def ensure_consumer(self, queue: str, priority: int, *, owner: bool) -> bool:
        """Make the consumer of a queue's priority.

        Args:
            queue: Which.
            priority: 0 to 9.
            owner: Whether to update its lease to ours if it is there already.

        Returns:
            bool: True when this process had not asked before.
        """
        if not owner and (queue, priority) in self._known_consumers:
            return False
        await self.ensure_runs(queue)
        await self.ensure(Stream.RECORDS)
        await self._make_consumer(queue, priority, owner=owner)
        self._known_consumers.add((queue, priority))
        return True

    async def _make_consumer(self, queue: str, priority: int, *, owner: bool) -> None:
        config = self._consumer_config(queue, priority)
        paused = await self.pauses.until(queue)
        if paused is not None:
            # The server leaves it alone where the consumer is there already.
            config["pause_until"] = headers.instant(paused)
        body: Config = {"stream_name": self.run_streams.of(queue), "config": config}
        if not owner:
            # Fails where it is there with another lease, which must not change under its workers.
            body["action"] = "create"
        path = self.consumers.path(queue, priority)
        try:
            made = await self.consumers.create(path, body)
            if made is not None:
                await self.pauses.apply(queue, path, paused_until(made))
        except PermissionDenied:
            # An administrator has created it, or the pulls will say that it is missing.
            _log.debug("no permission to create the consumer %s", path)

    async def _ensure_named(self, names: Iterable[str]) -> None:
        missing = [name for name in names if name not in self._known]
        if missing:
            subject = f"$JS.API.STREAM.CREATE.{missing[0]}"
            # As long as for whatever is to be stored.
            seconds = self._settings.enqueue_timeout
            await until_up_within(self._connection, subject, seconds)
            await asyncio.gather(*map(self._made_once, missing))

    def _made_once(self, name: str) -> Awaitable[None]:
        """Return what awaits that a stream is made: once for all who need it at the same time."""
        making = self._making.get(name)
        if making is None:
            making = self._making[name] = asyncio.ensure_future(self._ensure_stream(name))
            making.add_done_callback(lambda made: self._made(name, made))
        # One of them may be cancelled.
        return asyncio.shield(making)

    def _made(self, name: str, made: asyncio.Future[None]) -> None:
        self._making.pop(name, None)
        if not made.cancelled():
            # Retrieved, also where nobody waits for it any more: else asyncio logs it.
            made.exception()

    async def _ensure_stream(self, name: str) -> None:
        first, *others = self.run_streams.names
        # The first says how many there are, before one is made that should not be there. Only
        # then: it may have no leader just now.
        if name in others and not await self._is_there(name):
            await self._made_once(first)
        wanted = self._configs[name]
        made: Config = {}
        sent = self.clock.time()
        try:
            # Succeeds too when the stream is there with these settings: one request in the usual
            # case.
            made = await self._api(f"STREAM.CREATE.{name}", {"name": name, **wanted})
        except PermissionDenied:
            _log.debug("no permission to create the stream %s: assuming that it exists", name)
        except ApiError as error:
            if (reason := self._why_refused(error, name, wanted)) is not None:
                raise ConfigurationError(reason) from None
            # The server looks for the room that a stream may take before it looks for the stream.
            is_reserved = isinstance(error, StoreFull) and await self._is_there(name)
            if error.err_code != _NAME_IN_USE and not is_reserved:
                raise
            sent = self.clock.time()
            made = await self._bring_up_to_date(name, wanted)
        self.clock.note(sent, str(made.get("ts", "")))
        created = str(made.get("created", ""))
        if self._known.get(name, created) != created and name in self.run_streams.names:
            # Another stream of that name: its consumers are not those we know.
            self._known_consumers.clear()
        self._known[name] = created
        self._used.add(name)

    def _why_refused(self, error: ApiError, name: str, wanted: Config) -> str | None:
        """Say what is wrong with the server or the settings, where that is why."""
        url = self._connection.url
        if error.err_code in _JETSTREAM_OFF:
            return (
                f"JetStream is not enabled on {url}; start nats-server with -js, or enable it "
                "for this account"
            )
        if error.err_code == _NO_CLUSTER:
            return (
                f"JTASK_REPLICAS is {self._replicas}, but {url} is not a cluster: unset it, or "
                "put the servers of a cluster in JTASK_URL"
            )
        if error.err_code == _SUBJECTS_OVERLAP:
            return (
                f"another stream on {url} already uses subjects of {name} "
                f"({', '.join(wanted['subjects'])}); choose another JTASK_NAMESPACE"
            )
        return None

    async def _is_there(self, name: str) -> bool:
        try:
            await self._api(f"STREAM.INFO.{name}")
        except PermissionDenied:
            _log.debug("no permission to look at the stream %s: assuming that it exists", name)
        except ApiError as error:
            if error.err_code != STREAM_NOT_FOUND:
                raise
            return False
        return True

    async def _bring_up_to_date(self, name: str, wanted: Config) -> Config:
        """Update a stream where that is needed, and return the server's info about it."""
        info = await self._api_of_known(f"STREAM.INFO.{name}")
        have: Config = info["config"]
        if name in self.run_streams.names:
            self._check_number(number_of_streams(have))
        drift = drift_of(have, wanted)
        if not drift or is_newer(have):
            return info
        try:
            # What jtask does not set stays as the operator has it.
            await self._api_of_known(f"STREAM.UPDATE.{name}", {**have, **wanted})
        except ApiError as error:
            _report_drift(name, drift, error)
        else:
            _log.info("updated the stream %s: %s", name, _listed(drift))
        return info

    def _check_number(self, found: int) -> None:
        wanted = self._subjects.streams
        if found != wanted:
            raise ConfigurationError(
                f"the runs of namespace {self._settings.namespace!r} are spread over "
                f"{_streams(found)}, but JTASK_NATS_STREAMS is {wanted}: set it to {found} in all "
                "processes, or choose another JTASK_NAMESPACE"
            )

    def _consumer_config(self, queue: str, priority: int) -> Config:
        name = consumer_name(queue, priority)
        return {
            "name": name,
            "durable_name": name,
            "filter_subject": self._subjects.queued(queue, priority, "*"),
            "ack_policy": "explicit",
            # The lease: the server delivers again what was neither acked nor renewed so long.
            "ack_wait": round(self._settings.lease * NANO),
            # A run beyond the limit would stay in the stream undeliverable, with no more than an
            # advisory that nobody may see.
            "max_deliver": -1,
            "max_waiting": _MAX_WAITING,
            "max_ack_pending": _MAX_ACK_PENDING,
        }

    async def _api(self, suffix: str, payload: Config | None = None) -> Config:
        return await self._connection.api(suffix, payload, timeout=self._timeout)

    async def _api_of_known(self, suffix: str, payload: Config | None = None) -> Config:
        return await call_known_stream(self._connection, suffix, payload, self._timeout)


def _report_drift(name: str, drift: dict[str, tuple[Any, Any]], error: ApiError) -> None:
    if any(key in drift for key in ESSENTIAL):
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


def _streams(number: int) -> str:
    return "1 stream" if number == 1 else f"{number} streams"


def _listed(drift: dict[str, tuple[Any, Any]]) -> str:
    return ", ".join(f"{key} is {have!r}, not {want!r}" for key, (have, want) in drift.items())
