"""How often a run was released, so that its deliveries say how many workers were lost with it.

A release is a NAK, which keeps the run's place in its queue but counts as a delivery like a lapsed
lease does. So each release is counted apart before it is sent, under the message's sequence; only
runs that are delivered again pay for looking it up. So is a delivery that a lapsed lease has
brought although the worker lived.
"""

from jtask_nats.stores.counters import NatsCounters

_TTL = 30 * 86_400.0
"""Seconds a released run may wait. After that a release counts as a lost worker."""


class Releases:
    """Count releases.

    Args:
        counters: Where they are counted.
    """

    def __init__(self, counters: NatsCounters) -> None:
        self._counters = counters

    async def prepare(self) -> None:
        """Have what counts them in place before the first is counted.

        That one comes when a server or a worker is lost, and a cluster that is short of a server
        takes seconds to make a stream: runs would wait for it.

        Raises:
            BrokerError: The server refuses, or does not answer.
        """
        await self._counters.prepare()

    async def add(self, run_id: str, sequence: str) -> None:
        """Count a release that is about to be sent.

        Args:
            run_id: The run.
            sequence: Of the message that is released.

        Raises:
            BrokerError: It could not be counted: do not release.
        """
        await self._counters.add(_key(run_id, sequence), ttl=_TTL)

    def forget(self, run_id: str, sequence: str) -> None:
        """Forget a message that is settled."""
        self._counters.forget(_key(run_id, sequence))

    async def count(self, run_id: str, sequence: str) -> int:
        """Return how often a message was released."""
        return await self._counters.get(_key(run_id, sequence))


def _key(run_id: str, sequence: str) -> str:
    return f"released-{run_id}-{sequence}"
