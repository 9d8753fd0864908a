"""Questions to the processes that live now, which a lost connection delays and does not fail."""

import asyncio

from jtask.contract import Broker
from jtask.errors import BrokerUnavailable
from jtask.settings import get_settings

_PAUSE_SECONDS = 0.05


async def ask_patiently(
    broker: Broker, topic: str, question: bytes, *, timeout: float, answers: int | None = None
) -> list[bytes]:
    """Do `jtask.contract.RequestReply.ask`, again while the broker cannot be reached.

    Args:
        broker: Whose processes are asked.
        topic: As for `ask`; likewise the others.
        question: What they get, perhaps twice.
        timeout: How long to wait for answers, seconds.
        answers: Return as soon as this many came.

    Raises:
        BrokerUnavailable: The broker cannot be reached for as long as an enqueue tries.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + get_settings().enqueue_timeout
    while True:
        try:
            return await broker.requests.ask(topic, question, timeout=timeout, answers=answers)
        except BrokerUnavailable:
            if clock() > deadline:
                raise
            await asyncio.sleep(_PAUSE_SECONDS)
