"""Tasks that the tests of the console execute, and what happens to them."""

import threading
from collections import Counter

from waiting import PATIENCE

from jtask import task

go_on = threading.Event()
is_wrong = threading.Event()
calls: Counter[str] = Counter()


@task(queue="parcels")
def parcel(to: str, weight: int = 1) -> str:
    calls[to] += 1
    if is_wrong.is_set():
        raise ConnectionError("the road is closed")
    return to


@task(queue="slow")
def slow() -> None:
    go_on.wait(PATIENCE)


def begin_anew() -> None:
    """Let nothing go on or go wrong, and forget what was called."""
    go_on.clear()
    is_wrong.clear()
    calls.clear()
