"""Callbacks by what they are subscribed to."""

from collections.abc import Callable, Iterable
from typing import Generic, ParamSpec

P = ParamSpec("P")


class Subscribers(Generic[P]):
    """Callbacks by name: of a queue, a topic, a run or a client."""

    def __init__(self) -> None:
        self._by_name: dict[str, list[Callable[P, None]]] = {}

    def add(self, name: str, subscriber: Callable[P, None]) -> None:
        """Subscribe a callback to a name."""
        self._by_name.setdefault(name, []).append(subscriber)

    def remove(self, name: str, subscriber: Callable[P, None]) -> None:
        """End a subscription; nothing happens when there is none."""
        subscribers = self._by_name.get(name, [])
        if subscriber in subscribers:
            subscribers.remove(subscriber)
        if not subscribers:
            self._by_name.pop(name, None)

    def names(self) -> set[str]:
        """Return the names that have subscribers."""
        return set(self._by_name)

    def of(self, names: Iterable[str]) -> list[Callable[P, None]]:
        """Return the callbacks of some names, each once."""
        # A list of its own: callbacks are called without the lock, and may subscribe others.
        return list(dict.fromkeys(it for name in names for it in self._by_name.get(name, ())))
