"""A broker whose outcomes lie in another store (the setting `results_url`)."""

from typing import Any, cast

from jtask.contract import Broker, OpenResultStore, QuickPut, ThreadEnqueue


def with_results(broker: Broker, store: OpenResultStore) -> Broker:
    """Return a broker that keeps all its promises but those about outcomes, which a store keeps."""
    return cast("Broker", _SeparateResults(broker, store))


class _SeparateResults:
    """Whoever has the broker has the right store too: nobody can ask the wrong one."""

    def __init__(self, broker: Broker, store: OpenResultStore) -> None:
        self._broker = broker
        self._store = store
        # A body that fits both: runs and outcomes are measured with one limit.
        self.inline_limit = min(broker.inline_limit, store.inline_limit)
        self.put, self.get, self.watch = store.put, store.get, store.watch
        if isinstance(store, QuickPut):
            self.put_then = store.put_then
        if isinstance(broker, ThreadEnqueue):
            # Here and not by __getattr__, which isinstance(..., ThreadEnqueue) does not ask.
            self.enqueue_from_thread = broker.runs.enqueue_from_thread

    def __getattr__(self, name: str) -> Any:
        if name == "put_then":  # the broker's would store elsewhere
            raise AttributeError(name)
        return getattr(self._broker, name)

    async def close(self) -> None:
        """Close both, the store last: what the broker still sends may be about its outcomes."""
        try:
            await self._broker.close()
        finally:
            await self._store.close()
