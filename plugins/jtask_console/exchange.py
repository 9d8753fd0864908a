"""Requests of another framework, answered by an ASGI application on a loop of its own."""

import asyncio
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Scope

_AHEAD = 4  # chunks of an answer that wait for whoever asked; then the application waits


class Head(NamedTuple):
    """How an answer begins.

    Attributes:
        status: Its status.
        headers: Its headers, by their names in lower case, in order.
    """

    status: int
    headers: list[tuple[str, str]]

    def get(self, name: str) -> str:
        """Return a header; empty when there is none."""
        return next((value for known, value in self.headers if known == name), "")


class Exchange:
    """One request and its answer; used on the application's loop.

    Args:
        app: Who answers.
        scope: The request.
        body: What was sent with it.
    """

    def __init__(self, app: ASGIApp, scope: Scope, body: bytes) -> None:
        self._app = app
        self._scope = scope
        self._body: bytes | None = body
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(_AHEAD)
        self._head: asyncio.Future[Head] | None = None
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> Head:
        """Ask, and wait for the beginning of the answer."""
        self._head = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._answer(self._head))
        try:
            return await self._head
        except asyncio.CancelledError:
            self.close()
            raise

    async def next_chunk(self, patience: float | None = None) -> bytes | None:
        """Wait for more of the answer; None is its end.

        Args:
            patience: Seconds after which there is none yet, b""; None waits for ever.
        """
        try:
            # A chunk that comes at that very moment stays in the queue.
            async with asyncio.timeout(patience):
                return await self._chunks.get()
        except TimeoutError:
            return b""

    async def rest(self) -> bytes:
        """Wait for the rest of the answer."""
        chunks: list[bytes] = []
        while (chunk := await self._chunks.get()) is not None:
            chunks.append(chunk)
        return b"".join(chunks)

    def close(self) -> None:
        """Ask for no more: whoever was to get the answer has gone."""
        if self._task is not None:
            self._task.cancel()

    async def _answer(self, head: asyncio.Future[Head]) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except Exception as error:
            if head.done():
                raise  # the answer ends here, and the loop reports why
            head.set_exception(error)
        await self._chunks.put(None)

    async def _receive(self) -> Message:
        if self._body is None:
            await asyncio.Event().wait()  # until `close`
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [
                (name.decode(), value.decode("latin-1")) for name, value in message["headers"]
            ]
            assert self._head is not None
            self._head.set_result(Head(message["status"], headers))
        elif message.get("body"):
            await self._chunks.put(message["body"])
