"""Commands that wait for the connection to come back."""

from collections import deque

# Bytes. nats-py raises when its own buffer (2 MiB) is full; acks and events are worth no error.
_LIMIT = 8 << 20


class SendBuffer:
    """Keep commands in order, up to a limit; the oldest go first."""

    def __init__(self) -> None:
        self._commands: deque[bytes] = deque()
        self._size = 0

    def add(self, command: bytes) -> None:
        """Keep one more."""
        self._commands.append(command)
        self._size += len(command)
        while self._size > _LIMIT:
            self._size -= len(self._commands.popleft())

    def take(self) -> list[bytes]:
        """Return what was kept, and keep it no more."""
        kept = list(self._commands)
        self._commands.clear()
        self._size = 0
        return kept
