"""A stream survives the end of the worker that fills it, and of the server that keeps it."""

from typing import Any

TASKS = """
import time
from collections.abc import Iterator
from jtask import task

@task
def steadily(most: int) -> Iterator[int]:
    mark("begun")
    for number in range(most):
        time.sleep(0.005)
        mark("item")
        yield number
"""
READER = """
import sys, tasks
from jtask import get_run

items = list(get_run({run_id!r}, tasks.steadily).stream().items())
print(json.dumps([[item.value, item.index] for item in items]))
"""


def read(place: Any, run_id: str) -> list[list[int]]:
    found: list[list[int]] = place.ask(READER.format(run_id=run_id))
    return found


def test_a_reader_gets_all_items_although_the_worker_is_killed(place: Any, eventually: Any) -> None:
    place.write("tasks.py", TASKS)
    victim = place.serve("tasks.py", JTASK_LEASE="1")
    run_id = place.enqueue("tasks:steadily", "300")
    eventually(lambda: place.marks().count("item") > 100)
    victim.kill()
    place.serve("tasks.py", JTASK_LEASE="1")
    items = read(place, run_id)
    # What the first one had stored, then all that the second one yields.
    again = max(index for value, index in items if value == 0)
    assert again > 0
    assert [value for value, _ in items] == [*range(again), *range(300)]
    assert [index for _, index in items] == list(range(again + 300))


def test_a_stream_has_each_item_once_although_the_server_is_killed(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    place.serve("tasks.py", JTASK_LEASE="5")
    run_id = place.enqueue("tasks:steadily", "300")
    eventually(lambda: place.marks().count("item") > 100)
    place.kill_server()
    items = read(place, run_id)
    begun = place.marks().count("begun")
    assert [value for value, _ in items][-300:] == list(range(300))
    assert len(items) == 300 or begun > 1
