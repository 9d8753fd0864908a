"""Requests that wait for their answer."""

import asyncio
from collections.abc import Callable

from jtask.errors import BrokerError
from jtask_nats.client.protocol import Reply, status_of


class Questions:
    """What was asked on one connection and not answered yet, by inbox."""

    def __init__(self) -> None:
        self._asked: dict[str, tuple[str, asyncio.Future[Reply]]] = {}

    def add(self, inbox: str, subject: str, answer: "asyncio.Future[Reply]") -> None:
        """Take note of a question that is about to be sent."""
        self._asked[inbox] = (subject, answer)

    def forget(self, inbox: str) -> None:
        """Wait no more."""
        self._asked.pop(inbox, None)

    def on_answer(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        """Take an answer; the first one counts."""
        del reply
        asked = self._asked.pop(subject, None)
        if asked is not None and not asked[1].done():
            asked[1].set_result(Reply(data, headers, *status_of(headers)))

    def fail_all(self, error_of: Callable[[str], BrokerError]) -> None:
        """Fail every question with an error made from its subject."""
        asked, self._asked = self._asked, {}
        for subject, answer in asked.values():
            if not answer.done():
                answer.set_exception(error_of(subject))

    def fail(self, subject: str, error: BrokerError) -> None:
        """Fail the questions asked on a subject."""
        for asked, answer in self._asked.values():
            if asked == subject and not answer.done():
                answer.set_exception(error)
