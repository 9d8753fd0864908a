"""Questions to the processes that live now."""

from collections.abc import Callable
from typing import Protocol

from jtask.contract.results import Subscription


class RequestReply(Protocol):
    """Ask the processes that live now; nothing is kept."""

    async def listen(
        self,
        topic: str,
        answer: Callable[[bytes], bytes | None],
        on_gap: Callable[[], None] | None = None,
    ) -> Subscription:
        """Answer what is asked under a topic.

        Args:
            topic: Letters, digits, `_` and `-`.
            answer: Called on the loop with each question; must not block. What it returns is sent
                back, None stays silent.
            on_gap: Called on the loop when questions may have been missed.
        """
        ...

    async def ask(
        self, topic: str, question: bytes, *, timeout: float, answers: int | None = None
    ) -> list[bytes]:
        """Ask everybody who listens to a topic.

        Args:
            topic: The topic.
            question: What they get.
            timeout: How long to wait for answers, seconds. A broker that can tell that nobody
                listens, or that all have answered, returns sooner.
            answers: Return this many at most, as soon as they came; None waits the whole time.
        """
        ...
