"""Runs that have executed and are held up on their way out of their queue."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager

_PATIENCE_SECONDS = 0.05


class Departures:
    """Have other runs come in the place of those that take long to leave; on the I/O thread only.

    What one has to wait for may be a single stream that chooses its leader. The others go on.

    Args:
        on_held_up: Called with how many more, or fewer, are held up now.
    """

    def __init__(self, on_held_up: Callable[[int], None]) -> None:
        self._on_held_up = on_held_up

    @contextmanager
    def one(self) -> Generator[None]:
        """Count a run as held up from a moment after the beginning of the block to its end."""
        is_held_up = False

        def hold_up() -> None:
            nonlocal is_held_up
            is_held_up = True
            self._on_held_up(1)

        timer = asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, hold_up)
        try:
            yield
        finally:
            timer.cancel()
            if is_held_up:
                self._on_held_up(-1)
