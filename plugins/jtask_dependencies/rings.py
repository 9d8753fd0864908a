"""Runs that wait for each other: only ids that were made by hand can do that."""

from jtask.client.cancel_requests import readable
from jtask.contract import Broker

_MOST = 1000  # runs that are looked at


async def is_ring(broker: Broker, run_id: str, awaited: str) -> bool:
    """Tell whether a run waits for itself by way of another one; on the I/O loop.

    Args:
        broker: Where they are.
        run_id: The run.
        awaited: One that it waits for, and that is not over.

    Raises:
        BrokerError: The broker does not answer.
    """
    seen, open_ones = {awaited}, [awaited]
    while open_ones and len(seen) < _MOST:
        waiting = await broker.queues.find(current := open_ones.pop())
        needs = None if waiting is None else readable(current, waiting.body).needs
        for other in needs.run_ids if needs is not None else ():
            if other == run_id:
                return True
            if other not in seen:
                seen.add(other)
                open_ones.append(other)
    return False
