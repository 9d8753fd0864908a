"""A way to a server that a test can cut."""

import asyncio
import threading


class Relay:
    """A TCP relay on 127.0.0.1, in a thread of its own; `cut` breaks all connections.

    Args:
        port: Of the server.
        delay: Seconds that everything is on the way.
    """

    def __init__(self, port: int, delay: float = 0.0) -> None:
        self._server_port = port
        self._delay = delay
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        start = asyncio.start_server(self._relay, "127.0.0.1", 0)
        self._listener = asyncio.run_coroutine_threadsafe(start, self._loop).result()
        self.port: int = self._listener.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Break every connection, in the middle of whatever is said."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _close(self) -> None:
        self._listener.close()
        await self._cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._writers |= ends
        await asyncio.gather(
            _pass_on(reader, far_writer, self._delay), _pass_on(far_reader, writer, self._delay)
        )
        self._writers -= ends


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float
) -> None:
    """Pass on what comes until one end breaks; then break the other."""
    loop = asyncio.get_running_loop()
    try:
        while data := await reader.read(1 << 16):
            if delay:
                # In order: a loop calls what is due in the order of its instants.
                loop.call_later(delay, writer.write, data)
            else:
                writer.write(data)
                await writer.drain()
    except OSError:
        pass
    finally:
        writer.transport.abort()
