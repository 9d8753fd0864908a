"""Who wants to hear of what."""

from collections.abc import Callable, Iterable
from typing import Generic, ParamSpec

P = ParamSpec("P")


class Listeners(Generic[P]):
    """Callbacks by the name of what they listen to."""

    def __init__(self) -> None:
        self._by_name: dict[str, list[Callable[P, None]]] = {}

    def add(self, name: str, listener: Callable[P, None]) -> None:
        """Let a callback hear of a name."""
        self._by_name.setdefault(name, []).append(listener)

    def remove(self, name: str, listener: Callable[P, None]) -> None:
        """Let a callback hear of a name no more; nothing happens when it does not."""
        listeners = self._by_name.get(name, [])
        if listener in listeners:
            listeners.remove(listener)
        if not listeners:
            self._by_name.pop(name, None)

    def names(self) -> set[str]:
        """Return what anybody listens to."""
        return set(self._by_name)

    def of(self, names: Iterable[str]) -> list[Callable[P, None]]:
        """Return the callbacks of some names, each once."""
        return list(dict.fromkeys(it for name in names for it in self._by_name.get(name, ())))
