"""What a worker cannot execute, and what it leaves behind when it is killed."""

from collections import Counter
from typing import Any

import pytest

NUMBERS = """
import time
from jtask import task

@task(queue="shared")
def number(n: int) -> int:
    mark(f"{n}")
    time.sleep(0.002)
    return n
"""


def test_every_run_has_exactly_one_outcome_although_workers_are_killed(
    place: Any, eventually: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    place.write("tasks.py", NUMBERS)
    run_ids = place.ask(
        """
        import tasks
        runs = tasks.number.delay_many([(i,) for i in range(1000)])
        print(json.dumps([run.run_id for run in runs]))
        """
    )
    for already in (100, 400):
        victim = place.serve("tasks.py", "-c", "4", JTASK_LEASE="1")
        eventually(lambda target=already: len(place.marks()) > target)
        victim.kill()
    assert len(set(place.marks())) < 1000
    survivor = place.serve("tasks.py", "-c", "4", JTASK_LEASE="1")
    values, left = place.ask(
        f"""
        import asyncio
        from jtask import get_run
        from jtask.client import get_client

        values = [get_run(i).result(45) for i in {run_ids}]

        async def what_is_left(broker):
            while await broker.queues.depth("shared"):
                await asyncio.sleep(0.05)
            return [letter.reason async for letter in broker.dead_letters.read()]

        client = get_client()
        print(json.dumps([values, client.io.run(what_is_left(client.broker))]))
        """
    )
    assert values == list(range(1000))
    assert left == []
    executed = Counter(place.marks())
    assert set(executed) == {str(n) for n in range(1000)}
    twice = sum(count > 1 for count in executed.values())
    with capsys.disabled():
        print(f"\n  two workers killed: {twice} of 1000 short runs were executed twice")
    assert survivor.stop() == 0


def test_a_run_of_an_unknown_task_waits_for_a_worker_that_has_it(place: Any) -> None:
    place.write("tasks.py", NUMBERS)
    place.write("others.py", NUMBERS.replace("number", "other"))
    first = place.serve("tasks.py")
    run_id = place.enqueue("others.py:other", "7")
    first.says("no task with the key")
    assert first.log.count("is set aside") == 1
    assert place.result(place.enqueue("tasks.py:number", "1"))["result"] == 1
    assert first.stop() == 0
    second = place.serve("others.py")
    assert place.result(run_id)["result"] == 7
    assert second.stop() == 0


def test_an_unreadable_message_is_dead_lettered_at_once_and_only_once(place: Any) -> None:
    place.write("tasks.py", NUMBERS)
    worker = place.serve("tasks.py")
    worker.is_ready()
    found = place.ask(
        """
        import asyncio
        from jtask.client import get_client
        from jtask.contract import Message

        client = get_client()
        broker = client.broker
        run_id = client.ids.new()

        async def send():
            await broker.runs.enqueue([Message(run_id, "shared", b"nonsense")])
            while not (letters := [letter async for letter in broker.dead_letters.read()]):
                await asyncio.sleep(0.01)
            while await broker.queues.depth("shared"):
                await asyncio.sleep(0.01)
            return [(letter.run_id == run_id, letter.reason) for letter in letters]

        letters = client.io.run(send())
        run = client.handle(run_id)
        assert run.wait(30)
        print(json.dumps([letters, run.state.name, run.state.message]))
        """
    )
    letters, state, message = found
    assert letters == [[True, message]]
    assert (state, "cannot be read" in message) == ("Failed", True)
    assert place.result(place.enqueue("tasks.py:number", "1"))["result"] == 1
    assert worker.log.count("is set aside") == 1
    assert worker.stop() == 0


def test_a_run_whose_arguments_do_not_fit_the_code_fails_and_says_which(place: Any) -> None:
    place.write("tasks.py", NUMBERS)
    worker = place.serve("tasks.py")
    key = place.ask("import tasks; print(json.dumps(tasks.number.key))")
    end = place.result(place.enqueue(key, "n=many", "--queue", "shared"))
    assert (end["state"], "'n'" in end["error"]["message"]) == ("Failed", True)
    assert worker.stop() == 0
