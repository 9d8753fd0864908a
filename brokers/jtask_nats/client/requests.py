"""Requests that wait for their reply."""

import asyncio
from collections.abc import Callable

from jtask.errors import BrokerError
from jtask_nats.client.protocol import Reply, status_of


class PendingRequests:
    """The requests of one connection that have no reply yet, by inbox."""

    def __init__(self) -> None:
        self._pending: dict[str, tuple[str, asyncio.Future[Reply]]] = {}

    def add(self, inbox: str, subject: str, reply: "asyncio.Future[Reply]") -> None:
        """Expect the reply to a request that is about to be sent.

        Args:
            inbox: Where the reply arrives.
            subject: Where the request goes.
            reply: Completed with the reply or with an error.
        """
        self._pending[inbox] = (subject, reply)

    def forget(self, inbox: str) -> None:
        """Stop waiting."""
        self._pending.pop(inbox, None)

    def on_reply(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        """Take a reply; the first one counts."""
        del reply
        request = self._pending.pop(subject, None)
        if request is not None and not request[1].done():
            request[1].set_result(Reply(data, headers, *status_of(headers)))

    def fail_all(self, error_of: Callable[[str], BrokerError]) -> None:
        """Fail every request with an error made from its subject."""
        requests, self._pending = self._pending, {}
        for subject, reply in requests.values():
            if not reply.done():
                reply.set_exception(error_of(subject))

    def fail(self, subject: str, error: BrokerError) -> None:
        """Fail the requests on a subject."""
        for requested, reply in self._pending.values():
            if requested == subject and not reply.done():
                reply.set_exception(error)
