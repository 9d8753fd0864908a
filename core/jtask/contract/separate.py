"""One part of a broker in the place of another broker's."""

from typing import Any

from jtask.contract.broker import Broker


class SeparatePart:
    """A part that comes with the connection it needs; what `jtask.<part>` factories may return.

    Everything but the connection's own is the part's.

    Args:
        broker: A broker of which only one part is used.
        part: The part's name, one of `SEPARABLE`.
    """

    def __init__(self, broker: Broker, part: str) -> None:
        self._broker = broker
        self._part = getattr(broker, part)
        # Stated, not left to __getattr__ below: a part has neither of the two.
        self.url = broker.url
        self.inline_limit = broker.inline_limit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)

    async def close(self) -> None:
        """Close the connection."""
        await self._broker.close()
