"""A broker some of whose parts are kept elsewhere (the settings `<part>_url`)."""

from typing import Any, cast

from jtask.contract import SEPARABLE, Broker


def compose(broker: Broker, parts: dict[str, Any]) -> Broker:
    """Return a broker with some parts replaced.

    Whoever has the broker has the right parts too: nobody can ask the wrong one.

    Args:
        broker: The broker itself.
        parts: What replaces its own, by name; each with an `url` and a `close`.
    """
    return cast("Broker", _ComposedBroker(broker, parts)) if parts else broker


class _ComposedBroker:
    """All parts of a broker as attributes, as `Broker` has them."""

    def __init__(self, broker: Broker, parts: dict[str, Any]) -> None:
        self._broker = broker
        self._parts = parts
        self.url = broker.url
        limits = [part.inline_limit for part in parts.values() if hasattr(part, "inline_limit")]
        # A body that fits all: runs and outcomes are measured with one limit.
        self.inline_limit: int = min([broker.inline_limit, *limits])
        for name in ("runs", "queues", *SEPARABLE):
            setattr(self, name, parts.get(name, getattr(broker, name)))

    async def close(self) -> None:
        """Close all, the separate parts last: what the broker still sends may be about them."""
        try:
            await self._broker.close()
        finally:
            for part in self._parts.values():
                await part.close()
