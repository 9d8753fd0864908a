"""A console that is served on this machine, and ways to look at it."""

from collections.abc import Iterator
from typing import Any

import parcels
import pytest
from open_connections import connections_are_closed
from served_console import ServedConsole, StartConsole

from jtask_console.application import ConsoleApp
from jtask_console.settings import ConsoleSettings

__all__ = ["connections_are_closed"]


@pytest.fixture(autouse=True)
def _tasks_are_as_at_first() -> None:
    parcels.begin_anew()


@pytest.fixture
def start_console(jtask_nats: str) -> Iterator[StartConsole]:
    """Serve consoles by some settings; all end with the test."""
    served: list[ServedConsole] = []

    def start(**settings: Any) -> ServedConsole:
        console = ServedConsole(ConsoleApp(ConsoleSettings(**settings)))
        served.append(console)
        return console

    yield start
    for console in served:
        console.close()


@pytest.fixture
def console(start_console: StartConsole) -> ServedConsole:
    """A console without a password, as `jtask console` is by default."""
    return start_console()
