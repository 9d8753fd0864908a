"""What belongs to one run is seen by no other, however many execute at once."""

import asyncio
import threading

from in_process import StartWorker, on_each_broker
from run_logs import messages_of

from jtask import Run, runtime, tags, task

jtask_broker = on_each_broker
COUNT = 500  # runs of each kind

Told = tuple[str, list[str], str | None]


@task(log_prints=True)
def nested(name: str) -> Told:
    print(f"nested {name}")
    return name, list(runtime.tags), runtime.parent_id


@task(log_prints=True)
def plain(name: str) -> tuple[str | None, Told, Told]:
    print(f"plain {name}")
    first = nested(name)
    threading.Event().wait(0.001)  # let another thread in
    return runtime.run_id, first, nested(name)


@task(log_prints=True)
async def on_loop(name: str) -> tuple[str | None, Told, Told]:
    print(f"on_loop {name}")
    first = nested(name)
    await asyncio.sleep(0.001)  # let others in
    return runtime.run_id, first, nested(name)


def test_ids_tags_and_prints_of_a_thousand_runs_at_once_stay_apart(
    jtask_worker: StartWorker,
) -> None:
    jtask_worker(plain, on_loop, concurrency=50)
    runs: list[tuple[str, Run[tuple[str | None, Told, Told]]]] = []
    for name in (f"n{number}" for number in range(COUNT)):
        with tags(name):
            runs += [(name, plain.delay(name)), (name, on_loop.delay(name))]
    for name, run in runs:
        expected: Told = (name, [name], run.run_id)
        assert run.result() == (run.run_id, expected, expected)
    for name, run in runs[:: COUNT // 5]:
        kind = "plain" if run.info and run.info.task_name == "plain" else "on_loop"
        assert messages_of(run.run_id) == [f"{kind} {name}"]
