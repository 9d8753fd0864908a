"""What takes the runs away from a real worker shows at its health port, and goes again."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nats_clients import open_connection
from nats_servers import NatsServer, StartNats
from programs import environment, output_of
from waiting import PATIENCE, eventually

PROGRAM = (sys.executable, "-m", "jtask.cli")
TASKS = """
import time
from jtask import task

@task(queue="sums")
def add(a: int, b: int) -> int:
    return a + b

@task(queue="sums")
def nap(seconds: float) -> None:
    time.sleep(seconds)
"""
PULLS = "$JS.API.CONSUMER.MSG.NEXT.>"


def users(worker: str) -> str:
    return (
        "authorization { users: [\n"
        "  { user: admin, password: pw }\n"
        f"  {{ user: worker, password: {worker} }}\n"
        "] }"
    )


ALL_PERMITTED = users("pw")


class Worker:
    """`jtask serve` as a user of a server, with a health port."""

    def __init__(self, folder: Path, server: NatsServer, *options: str) -> None:
        self.folder, self.server = folder, server
        (folder / "tasks.py").write_text(TASKS)
        self.env = environment(JTASK_CONNECT_TIMEOUT="30")
        self._log = folder / "worker.log"
        command = [*PROGRAM, "serve", "tasks.py", "--health-port", "0", *options]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=self._as("worker"), stdout=log, stderr=log
            )
        found = eventually(lambda: re.search(r"answers on (http://[^/]+)/livez", self.log))
        self.url = found[1]

    @property
    def log(self) -> str:
        return self._log.read_text()

    def ask(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def is_ready(self) -> bool:
        return self.ask("/readyz")[0] == 200

    def becomes_unready(self) -> str:
        """Wait until it is not ready; return the reason."""
        answer = eventually(lambda: found if (found := self.ask("/readyz"))[0] == 503 else None)
        return str(answer[1])

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("/status")[1])
        return found

    def executes(self) -> None:
        """Have it execute a run."""
        assert self._enqueue("tasks.py:add", "3", "4", "--wait") == "7\n"

    def takes_a_nap(self) -> str:
        """Have it begin a long run; return its id."""
        run_id = self._enqueue("tasks.py:nap", "600").strip()
        eventually(lambda: self.status()["executing"])
        return run_id

    def _enqueue(self, *arguments: str) -> str:
        return output_of(*PROGRAM, "enqueue", *arguments, folder=self.folder, env=self._as("admin"))

    def _as(self, user: str) -> dict[str, str]:
        return self.env | {"JTASK_URL": f"nats://{user}:pw@127.0.0.1:{self.server.port}"}


StartWorker = Callable[..., Worker]


@pytest.fixture
def start_worker(start_nats: StartNats, tmp_path: Path) -> Iterator[StartWorker]:
    started: list[Worker] = []

    def start(*options: str) -> Worker:
        worker = Worker(tmp_path, start_nats(config=ALL_PERMITTED), *options)
        started.append(worker)
        eventually(worker.is_ready)
        return worker

    yield start
    for worker in started:
        worker.process.kill()
        worker.process.wait()


def call(worker: Worker, suffix: str) -> None:
    """Ask JetStream for something, as an admin."""

    async def ask() -> None:
        connection = await open_connection(worker.server.url, user="admin", password="pw")
        await connection.api(suffix)
        await connection.close()

    asyncio.run(ask())


def is_well_again(worker: Worker) -> None:
    eventually(worker.is_ready)
    worker.executes()
    assert worker.process.poll() is None


@pytest.mark.parametrize(
    "deletion",
    ["CONSUMER.DELETE.JTASK_default.sums_0", "STREAM.DELETE.JTASK_default"],
    ids=["consumer", "stream"],
)
def test_a_worker_whose_consumer_or_stream_is_deleted_is_not_ready_until_it_pulls_again(
    start_worker: StartWorker, deletion: str
) -> None:
    worker = start_worker()
    call(worker, deletion)
    assert "runs of queue 'sums' cannot be pulled" in worker.becomes_unready()
    is_well_again(worker)


@pytest.mark.parametrize("options", [(), ("--concurrency=1", "--prefetch=0")], ids=["idle", "full"])
def test_a_worker_whose_server_hangs_is_not_ready_until_it_goes_on(
    start_worker: StartWorker, options: tuple[str, ...]
) -> None:
    worker = start_worker(*options)
    if options:
        worker.takes_a_nap()
    worker.server.pause()
    reason = worker.becomes_unready()
    assert "silent" in reason or "did not answer" in reason
    assert worker.ask("/livez")[0] == 200
    assert worker.status()["queues"] == {"sums": None}
    worker.server.resume()
    eventually(worker.is_ready)
    if not options:
        worker.executes()


@pytest.mark.parametrize(
    ("revoked", "reason"),
    [
        (f'pw, permissions: {{ publish: {{ deny: "{PULLS}" }} }}', "not permit this user to publ"),
        ('pw, permissions: { subscribe: { deny: "_INBOX.>" } }', "not permit this user to subsc"),
        ("another", "is lost"),
    ],
    ids=["to-pull", "to-hear", "to-be-there"],
)
def test_a_worker_that_loses_a_permission_is_not_ready_until_it_has_it_again(
    start_worker: StartWorker, revoked: str, reason: str
) -> None:
    worker = start_worker()
    worker.server.reload(users(revoked))
    # On a busy machine the server may have been silent before it says why.
    eventually(lambda: re.search(reason, worker.becomes_unready()))
    warning = rf"WARNING worker \S+ gets no runs: .*({reason}|silent)"
    eventually(lambda: re.search(warning, worker.log))
    worker.server.reload(ALL_PERMITTED)
    is_well_again(worker)
    eventually(lambda: "gets runs again after" in worker.log)


def test_a_worker_that_is_to_give_up_ends_with_4_and_the_reason(start_worker: StartWorker) -> None:
    worker = start_worker("--give-up-after", "1")
    worker.server.reload(users(f'pw, permissions: {{ publish: {{ deny: "{PULLS}" }} }}'))
    assert worker.process.wait(PATIENCE) == 4
    assert re.search(r"Error: worker \S+ could get no runs for .* does not permit", worker.log)
    assert "Traceback" not in worker.log


def test_a_worker_is_not_ready_while_it_stops(start_worker: StartWorker) -> None:
    worker = start_worker()
    worker.takes_a_nap()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.becomes_unready() == "the worker is stopping\n"
    assert worker.ask("/livez")[0] == 200


def test_the_status_tells_what_the_worker_does(start_worker: StartWorker) -> None:
    worker = start_worker("--concurrency=3")
    run_id = worker.takes_a_nap()
    status = worker.status()
    assert status["ready"] is True
    assert status["problem"] is None
    assert status["worker"].endswith(f"-{worker.process.pid}")
    assert sorted(status["tasks"]) == ["add", "nap"]
    assert status["concurrency"] == 3
    assert status["queues"] == {"sums": 1}
    [run] = status["executing"]
    assert (run["run_id"], run["task"], run["attempt"]) == (run_id, "nap", 1)
    assert 0 <= run["age"] <= status["uptime"]
