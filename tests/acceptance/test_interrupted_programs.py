"""Ctrl-C ends a program although the broker does not answer."""

import signal
import socket
from collections.abc import Iterator

import pytest
from processes import Place

PROGRAMS = {
    "sync": "echo.delay()",
    "async": """
async def main() -> None:
    await echo.adelay()

asyncio.run(main())
""",
    "connecting": """
async def main() -> None:
    await jtask.aconnect()

asyncio.run(main())
""",
}
PROLOGUE = """
import asyncio
import jtask

@jtask.task
def echo() -> None:
    pass
"""


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize("code", PROGRAMS.values(), ids=PROGRAMS)
def test_ctrl_c_ends_a_program_that_cannot_connect(
    place: Place, silent: socket.socket, code: str
) -> None:
    url = f"nats://127.0.0.1:{silent.getsockname()[1]}"
    program = place.start_python(PROLOGUE + code, JTASK_URL=url, JTASK_CONNECT_TIMEOUT="600")
    connection, _ = silent.accept()
    with connection:
        assert program.stop(signal.SIGINT) != 0
    assert "KeyboardInterrupt" in program.log
