"""Calls to `$JS.API.>` over one connection."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from jtask.errors import BrokerError
from jtask_nats.client.nats_errors import api_error, is_transient, no_answer
from jtask_nats.client.repeated_requests import Requester, request_repeatedly

# Seconds: first and longest pause. A new leader is elected in about 5 s (measured with 3 replicas);
# a server that has just started needs far less.
_RETRY = (0.05, 0.5)
_NO_RESPONDERS = 503


async def call_api(
    requester: Requester, suffix: str, payload: Mapping[str, object] | None, timeout: float
) -> dict[str, Any]:
    """Call `$JS.API.<suffix>`; what passes by itself (no leader yet) is tried again.

    Args:
        requester: The connection.
        suffix: Which call.
        payload: Its parameters.
        timeout: Seconds to try.

    Raises:
        ApiError: JetStream refused.
        BrokerUnavailable: No answer in time.
        PermissionDenied: We may not call this.
    """
    subject = f"$JS.API.{suffix}"
    body = b"" if payload is None else json.dumps(payload, separators=(",", ":")).encode()
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout
    pause, longest = _RETRY
    while True:
        left = max(deadline - clock(), pause)
        reply = await request_repeatedly(requester, subject, body, left)
        if reply.status == _NO_RESPONDERS:
            error: BrokerError = no_answer(
                subject, requester.url, timeout, "is JetStream enabled there?"
            )
        else:
            answer: dict[str, Any] = json.loads(reply.data)
            if "error" not in answer:
                return answer
            error = api_error(answer["error"], subject)
        if not is_transient(error) or clock() + pause > deadline:
            raise error
        await asyncio.sleep(pause)
        pause = min(pause * 2, longest)
