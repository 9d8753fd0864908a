"""A request on its way to several responders, and their answers."""

import asyncio
import logging
from collections.abc import Callable

from jtask.signal_safety import SignalSafeLock
from jtask_memory.loops import call_on

_log = logging.getLogger("jtask")


class PendingRequest:
    """Collect answers until there are enough or no more can come; then wake the requester.

    Args:
        body: The request.
        responders: How many receive it.
        wanted: How many answers are enough; None for all.
        loop: The requester's.
    """

    def __init__(
        self, body: bytes, responders: int, wanted: int | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.body = body
        self._loop = loop
        self._missing = responders
        self._wanted = wanted
        self._answers: list[bytes] = []
        # Responders may be on several threads.
        self._lock = SignalSafeLock()
        self._ended = asyncio.Event()

    def put_to(
        self, answer: Callable[[bytes], bytes | None], loop: asyncio.AbstractEventLoop
    ) -> None:
        """Let a responder answer on its own loop; from any thread."""
        if not call_on(loop, self._answer_by, answer):
            # That loop has ended: counted as silent, or the requester would wait for it.
            self._take(None)

    async def answers(self, timeout: float) -> list[bytes]:
        """Wait for the answers.

        Args:
            timeout: Seconds of the machine's time, whatever the broker's clock says: it bounds how
                long a loop that is blocked is waited for.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._ended.wait()
        except TimeoutError:
            # Whatever has come by now is the answer.
            pass
        with self._lock:
            return self._answers[: self._wanted]

    def _answer_by(self, answer: Callable[[bytes], bytes | None]) -> None:
        reply = None
        try:
            reply = answer(self.body)
        except Exception:
            _log.exception("a request could not be answered")
        self._take(reply)

    def _take(self, reply: bytes | None) -> None:
        with self._lock:
            self._missing -= 1
            if reply is not None:
                self._answers.append(reply)
            is_over = not self._missing or len(self._answers) == self._wanted
        if is_over:
            call_on(self._loop, self._ended.set)
