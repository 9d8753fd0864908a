"""The durable consumers of a namespace, one for each priority of a queue: find, list, create."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from jtask.contract import DEFAULT_PRIORITY
from jtask.errors import PermissionDenied
from jtask.randomness import RANDOM
from jtask_nats.client.connection import Connection
from jtask_nats.client.jetstream_api import call_known_stream
from jtask_nats.client.nats_errors import CONSUMER_NOT_FOUND, CONSUMERS_FULL, ApiError
from jtask_nats.streams.run_streams import RunStreams
from jtask_nats.streams.stream_configs import Config
from jtask_nats.streams.subjects import PRIORITIES

ANSWER_TIMEOUT = 10.0  # seconds
_CREATE_PAUSES = (0.1, 0.2, 0.4)  # seconds for the server to delete the folder of a consumer

_MOST = 100_000
"""Consumers of a stream, where the server would stop at 1,000 (`default_max_consumers`)."""

_CONSUMER_EXISTS = 10148
_NOT_CREATED = 10012  # a consumer that is there and cannot be changed, or that has no place on disk
_GONE_MEANWHILE = {10104, 10149}  # no store for a consumer; changed while it was being deleted
_NO_PLACE = ("no such file", "creating store")

_log = logging.getLogger("jtask")


class Consumers:
    """What the server has of consumers.

    Args:
        connection: To the server.
        streams: Those that hold runs.
    """

    def __init__(self, connection: Connection, streams: RunStreams) -> None:
        self._connection = connection
        self._streams = streams

    def path(self, queue: str, priority: int) -> str:
        """Return the end of an API subject that names a consumer."""
        return f"{self._streams.of(queue)}.{consumer_name(queue, priority)}"

    async def find(self, queue: str, priority: int) -> Config | None:
        """Return the server's info about a queue's consumer; None when there is none."""
        return await self._find(self.path(queue, priority))

    async def all(self) -> list[Config]:
        """Return the server's info about every consumer."""
        listed = [
            self._pages(f"CONSUMER.LIST.{stream}", "consumers") for stream in self._streams.names
        ]
        return [info for page in await asyncio.gather(*listed) for info in page]

    async def priorities(self, queues: Sequence[str]) -> list[tuple[str, int]]:
        """List the (queue, priority) of some queues that have a consumer."""
        listed = [
            self._priorities_in(stream, wanted)
            for stream, wanted in self._streams.of_queues(queues).items()
        ]
        return [one for found in await asyncio.gather(*listed) for one in found]

    async def create(self, path: str, body: Config) -> Config | None:
        """Create a consumer, or update it where the body allows that.

        The server deletes a consumer's folder a moment after the consumer: one that is made again
        meanwhile loses its own, and what it knows is lost at the server's restart. It is created
        again unless a worker holds a run of it, which would lose the lease.

        Args:
            path: See `path`.
            body: The request of `CONSUMER.CREATE`.

        Returns:
            dict[str, Any] | None: The server's info; None when it is there and must stay as it is.

        Raises:
            ApiError: JetStream refused.
            BrokerUnavailable: No answer.
            PermissionDenied: We may not create it.
        """
        for pause in _CREATE_PAUSES:
            try:
                return await self._create(path, body)
            except ApiError as error:
                if not _has_no_place(error):
                    if error.err_code in (_CONSUMER_EXISTS, _NOT_CREATED):
                        return None
                    raise
                _log.debug("the consumer %s was only partly created: %s", path, error)
            found = await self._find(path)
            # Deleting it would make the server forget who holds which run.
            if found is not None and found["num_ack_pending"]:
                return None
            if found is not None:
                await self._delete(path)
            # Not at the same moment as others who found it like this.
            await asyncio.sleep(pause * RANDOM.uniform(1.0, 2.0))
        return await self._create(path, body)

    async def _create(self, path: str, body: Config) -> Config:
        try:
            return await self._api(f"CONSUMER.CREATE.{path}", body)
        except ApiError as error:
            stream, _, _ = path.partition(".")
            if error.err_code != CONSUMERS_FULL or not await self._can_take_more(stream):
                raise
        return await self._api(f"CONSUMER.CREATE.{path}", body)

    async def _can_take_more(self, stream: str) -> bool:
        """Tell whether a stream takes more consumers by now, which the server refused to make.

        One that only has the server's default is given a limit of its own. One that somebody has
        set, here or for the account, stays.
        """
        info = await self._api(f"STREAM.INFO.{stream}")
        config: Config = info["config"]
        if config["max_consumers"] > 0:
            return bool(info["state"]["consumer_count"] < config["max_consumers"])
        try:
            await self._api(f"STREAM.UPDATE.{stream}", {**config, "max_consumers": _MOST})
        except (ApiError, PermissionDenied) as error:
            _log.debug("the stream %s cannot be given more consumers: %s", stream, error)
            return False
        return True

    async def _priorities_in(self, stream: str, queues: Sequence[str]) -> list[tuple[str, int]]:
        wanted, found = set(queues), list[tuple[str, int]]()
        try:
            names: list[str] = await self._pages(f"CONSUMER.NAMES.{stream}", "consumers")
        except PermissionDenied:
            _log.debug("no permission to list the consumers: only the default priority is known")
            names = [consumer_name(queue) for queue in queues]
        for name in names:
            queue, _, priority = name.rpartition("_")
            if queue in wanted and priority in PRIORITIES:
                found.append((queue, int(priority)))
        return found

    async def _find(self, path: str) -> Config | None:
        try:
            return await self._api(f"CONSUMER.INFO.{path}")
        except ApiError as error:
            if error.err_code != CONSUMER_NOT_FOUND:
                raise
            return None

    async def _delete(self, path: str) -> None:
        try:
            await self._api(f"CONSUMER.DELETE.{path}")
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

    async def _api(self, suffix: str, payload: Config | None = None) -> Config:
        return await call_known_stream(self._connection, suffix, payload, ANSWER_TIMEOUT)


def consumer_name(queue: str, priority: int = DEFAULT_PRIORITY) -> str:
    """Return the name of the consumer of a queue's priority."""
    return f"{queue}_{priority}"


def _has_no_place(error: ApiError) -> bool:
    """Tell whether a consumer was refused because its folder is not there, or not any more."""
    description = error.description.lower()
    return error.err_code in _GONE_MEANWHILE or (
        error.err_code == _NOT_CREATED and any(word in description for word in _NO_PLACE)
    )
