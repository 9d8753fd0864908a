"""Questions to whoever listens in this process."""

import asyncio
from collections.abc import Callable
from weakref import WeakSet

from jtask_memory.client import SpaceClient
from jtask_memory.questions import Question
from jtask_memory.space import Space


class MemoryControl(SpaceClient):
    """The contract's `Control`."""

    def __init__(self, url: str, space: Space, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(url, space, loop)
        self._listening: WeakSet[MemoryListening] = WeakSet()

    async def listen(
        self, topic: str, answer: Callable[[bytes], bytes | None]
    ) -> "MemoryListening":
        """Hear what is asked under a topic."""
        listening = MemoryListening(self._space, topic, answer, self._loop)
        self._listening.add(listening)
        return listening

    async def ask(
        self, topic: str, question: bytes, *, timeout: float, answers: int | None = None
    ) -> list[bytes]:
        """Ask everybody who listens; returns once all have answered or kept silent."""
        space = self._space
        with space.lock:
            listeners = space.listeners.of([topic])
        if not listeners:
            return []
        asked = Question(question, len(listeners), answers, self._loop)
        for listener in listeners:
            listener(asked)
        return await asked.answers(timeout)

    async def _end_listening(self) -> None:
        for listening in list(self._listening):
            await listening.close()


class MemoryListening:
    """A standing wish for questions."""

    def __init__(
        self,
        space: Space,
        topic: str,
        answer: Callable[[bytes], bytes | None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._space = space
        self._topic = topic
        self._answer = answer
        self._loop = loop
        self._is_closed = False
        with space.lock:
            space.listeners.add(topic, self._hear)

    async def close(self) -> None:
        """Want no more."""
        self._is_closed = True
        with self._space.lock:
            self._space.listeners.remove(self._topic, self._hear)

    def _hear(self, question: Question) -> None:
        question.put_to(self._say, self._loop)

    def _say(self, body: bytes) -> bytes | None:
        return None if self._is_closed else self._answer(body)
