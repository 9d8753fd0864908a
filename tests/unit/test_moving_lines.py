"""Whether a socket moves: what tells a slow line from a server that is silent."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlparse

from waiting import until

from jtask_nats.client.shared_socket import SharedSocket

MUCH = 1 << 24  # bytes: more than the kernel takes


def on_a_line(main: Callable[[SharedSocket, socket.socket], Awaitable[None]]) -> None:
    """Give a test both ends of a connection; the other one is the test's own to read."""

    async def connected() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            ours = SharedSocket(asyncio.get_running_loop())
            port = listening.getsockname()[1]
            await ours.connect(urlparse(f"nats://127.0.0.1:{port}"), 0, 10.0)
            other, _ = listening.accept()
            with other:
                await main(ours, other)
            ours.close()

    asyncio.run(connected())


def test_what_arrives_moves_it_until_it_is_looked_at() -> None:
    async def main(ours: SharedSocket, other: socket.socket) -> None:
        assert not ours.has_moved()
        other.sendall(b"PONG\r\n")
        await until(ours.has_moved)
        assert not ours.has_moved()

    on_a_line(main)


def test_much_that_leaves_slowly_moves_it_and_much_that_stays_does_not() -> None:
    async def main(ours: SharedSocket, other: socket.socket) -> None:
        ours.write(b"x" * MUCH)
        assert not ours.has_moved()
        await until(lambda: not ours.has_moved())

        def moves() -> bool:
            other.recv(1 << 16)
            return ours.has_moved()

        await until(moves)
        # The other side reads no more.
        await until(lambda: not ours.has_moved())

    on_a_line(main)


def test_little_that_the_kernel_of_a_frozen_server_takes_does_not_move_it() -> None:
    async def main(ours: SharedSocket, other: socket.socket) -> None:
        for _ in range(50):
            ours.write(b"PING\r\n")
            assert not ours.has_moved()
            await asyncio.sleep(0)

    on_a_line(main)
