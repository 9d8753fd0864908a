"""Connections to databases that tests open in their own process."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool
from waiting import eventually


@pytest.fixture(autouse=True)
def connections_are_closed() -> Iterator[None]:
    """Fail the test that leaves a connection to a database open.

    Else the garbage collector would close it with a warning, at any time later, and fail the test
    of this process that is executed then.
    """
    opened: set[object] = set()
    with ExitStack() as listening:

        def listen(name: str, note: object) -> None:
            event.listen(Pool, name, note)
            listening.callback(event.remove, Pool, name, note)

        listen("connect", lambda connection, _: opened.add(connection))
        listen("close", lambda connection, _: opened.discard(connection))
        yield
        # A follower that was stopped closes its own soon.
        eventually(lambda: not opened)
