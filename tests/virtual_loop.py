"""An event loop that waits in no time: what it would sleep, a virtual clock moves on."""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

from jtask_memory import VirtualClock


class VirtualLoop(asyncio.SelectorEventLoop):
    """Everything that is ready is done first; then the clock jumps to what is next."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(_JumpingSelector(clock))
        self._virtual = clock

    def time(self) -> float:
        return self._virtual.time()


class _JumpingSelector(selectors.BaseSelector):
    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._real = selectors.DefaultSelector()

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        assert timeout is not None, "nothing will ever happen any more"
        self._clock.advance(timeout)
        return []
