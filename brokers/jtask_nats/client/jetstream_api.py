"""Calls to `$JS.API.>` over one connection."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol

from jtask_nats.client.nats_errors import (
    STREAM_NOT_FOUND,
    ApiError,
    api_error,
    is_transient,
    no_answer,
    not_ready,
)
from jtask_nats.client.protocol import NO_RESPONDERS
from jtask_nats.client.repeated_requests import Requester, request_repeatedly

# Seconds: first and longest pause. A new leader is elected in about 5 s (measured with 3 replicas);
# a server that has just started needs far less.
_RETRY = (0.05, 0.5)
API_TIMEOUT = 10.0
"""Seconds to try: an election takes up to 9."""
_NOT_HEARD_PAUSE = 0.25  # seconds


class Api(Protocol):
    """A connection that calls JetStream."""

    @property
    def is_cluster(self) -> bool:
        """Whether the server is one of several."""
        ...

    async def api(
        self, suffix: str, payload: Mapping[str, object] | None = None, *, timeout: float = ...
    ) -> dict[str, Any]:
        """Call `$JS.API.<suffix>`."""
        ...


async def call_known_stream(
    api: Api,
    suffix: str,
    payload: Mapping[str, object] | None = None,
    timeout: float = API_TIMEOUT,
) -> dict[str, Any]:
    """Call `$JS.API.<suffix>` about a stream that is there; see `until_heard`.

    Args:
        api: The connection.
        suffix: Which call, with the names of stream and consumer.
        payload: Its parameters.
        timeout: Seconds to try.

    Raises:
        ApiError: JetStream refused.
        BrokerUnavailable: No answer in time.
        PermissionDenied: We may not call this.
    """
    return await until_heard(api, lambda: api.api(suffix, payload, timeout=timeout), timeout)


async def until_heard(
    api: Api, call: Callable[[], Awaitable[dict[str, Any]]], timeout: float = API_TIMEOUT
) -> dict[str, Any]:
    """Call something about a stream that is there, again while a cluster does not know it.

    The leader of a cluster answers for the streams that it does not know, and may not have heard
    of one that was made a moment ago.

    Args:
        api: The connection.
        call: Awaited until it is no error that there is no such stream.
        timeout: Seconds to try.

    Raises:
        ApiError: JetStream refused.
        BrokerUnavailable: No answer in time.
        PermissionDenied: We may not call this.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout
    while True:
        try:
            return await call()
        except ApiError as error:
            is_unheard = error.err_code == STREAM_NOT_FOUND and api.is_cluster
            if not is_unheard or clock() + _NOT_HEARD_PAUSE > deadline:
                raise
        await asyncio.sleep(_NOT_HEARD_PAUSE)


async def list_subjects(api: Api, stream: str, pattern: str) -> AsyncIterator[tuple[str, int]]:
    """Yield the subjects of a stream's messages that match a pattern, with how many each has.

    Args:
        api: The connection.
        stream: The stream's name.
        pattern: A subject with wildcards.

    Raises:
        BrokerError: JetStream refuses, or does not answer.
    """
    offset = 0
    while True:
        asked: dict[str, object] = {"subjects_filter": pattern, "offset": offset}
        answer = await call_known_stream(api, f"STREAM.INFO.{stream}", asked)
        page: dict[str, int] = answer["state"].get("subjects") or {}
        for found in page.items():
            yield found
        offset += len(page)
        if not page or offset >= answer.get("total", 0):
            return


async def call_api(
    requester: Requester,
    suffix: str,
    payload: Mapping[str, object] | None,
    timeout: float = API_TIMEOUT,
    on_repeat: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Call `$JS.API.<suffix>`; what passes by itself (no leader yet) is tried again.

    Args:
        requester: The connection.
        suffix: Which call.
        payload: Its parameters.
        timeout: Seconds to try.
        on_repeat: See `request_repeatedly`.

    Raises:
        ApiError: JetStream refused.
        BrokerUnavailable: No answer in time, or none but that it cannot be done now.
        PermissionDenied: We may not call this.
    """
    subject = f"$JS.API.{suffix}"
    body = b"" if payload is None else json.dumps(payload, separators=(",", ":")).encode()
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout
    pause, longest = _RETRY
    while True:
        left = max(deadline - clock(), pause)
        reply = await request_repeatedly(requester, subject, body, left, on_repeat)
        if reply.status == NO_RESPONDERS:
            error = no_answer(subject, requester.url, timeout, "is JetStream enabled there?")
        else:
            answer: dict[str, Any] = json.loads(reply.data)
            if "error" not in answer:
                return answer
            refusal = api_error(answer["error"], subject)
            if not is_transient(refusal):
                raise refusal
            error = not_ready(subject, requester.url, timeout, refusal)
        if clock() + pause > deadline:
            raise error
        await asyncio.sleep(pause)
        pause = min(pause * 2, longest)
