"""What goes out to the server: in one write for each pass of the loop, or once it is back."""

import asyncio
from collections.abc import Sequence

from jtask_nats.client.nats_client import NatsClient
from jtask_nats.client.send_buffer import SendBuffer
from jtask_nats.client.shared_socket import SharedSocket

_WRITE_AT_ONCE = 256  # commands; more would keep the server waiting


class Outbox:
    """Collect commands, on the loop.

    Args:
        socket: Where they are written.
        client: Knows whether the server can be reached.
    """

    def __init__(self, socket: SharedSocket, client: NatsClient) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = socket
        self._client = client
        self._commands: list[bytes] = []
        self._kept = SendBuffer()

    @property
    def is_empty(self) -> bool:
        """Whether all of this pass is written."""
        return not self._commands

    def write(self, command: bytes) -> None:
        """Write a whole command in this pass of the loop; dropped when disconnected."""
        commands = self._commands
        # One system call for all commands of this pass; each alone would cost more than it carries.
        if not commands:
            self._loop.call_soon(self.flush)
        commands.append(command)
        if len(commands) >= _WRITE_AT_ONCE:
            self.flush()

    def write_or_keep(self, command: bytes) -> None:
        """Do `write`, or keep the command until the connection is back."""
        if self._client.is_up:
            self.write(command)
        else:
            self._kept.add(command)

    def flush(self) -> None:
        """Write what is there."""
        commands, self._commands = self._commands, []
        if commands and self._client.is_up:
            self._socket.write(commands[0] if len(commands) == 1 else b"".join(commands))

    def begin_anew(self, first: Sequence[bytes]) -> None:
        """Write some commands and then what was kept, to a server that has come back."""
        if commands := [*first, *self._kept.take()]:
            self._socket.write(b"".join(commands))
        # Meant for the lost connection: its requests have failed, the publisher sends again.
        self._commands.clear()
