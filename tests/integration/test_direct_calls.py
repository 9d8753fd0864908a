"""Direct calls are recorded where there is a broker, and cost their callers nothing otherwise."""

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from in_process import StartWorker, events_of, on_each_broker, on_io
from processes import environment
from waiting import PATIENCE, eventually

from jtask import StateName, get_run, runtime, tags, task
from jtask.cli.run_report import RunReport
from jtask.client import get_client, outcome_buffer
from jtask.client.outcome_buffer import OutcomeBuffer
from jtask.errors import BrokerUnavailable, ResultMissing
from jtask.execution import direct_call, recording
from jtask.settings import get_settings
from jtask_nats.server.embedded import ensure_server, stop_server

jtask_broker = on_each_broker
ids: list[str] = []


@task(version="7", tags=["t"])
def work(value: Any) -> Any:
    ids.append(runtime.run_id or "")
    if isinstance(value, Exception):
        raise value
    return value


@task
def outer(value: int) -> str:
    work(value)
    return ids[-1]


@pytest.fixture
def recorded(jtask_broker: str) -> None:
    get_client()


def call(value: Any) -> str:
    """Call the task; return the id of the run, once its end is stored."""
    assert work(value) is value
    assert get_run(ids[-1]).wait(PATIENCE)
    return ids[-1]


@pytest.mark.usefixtures("recorded")
def test_a_direct_call_is_looked_up_afterwards() -> None:
    with tags("mine"):
        run_id = call({"a": [1, 2.5, None]})
    run = get_run(run_id)
    assert run.state.name is StateName.COMPLETED
    assert run.result(PATIENCE) == {"a": [1, 2.5, None]}
    assert run.info is not None
    assert (run.info.version, run.info.tags, run.info.parent) == ("7", ("t", "mine"), None)
    assert (run.info.task_key, run.info.attempt) == (work.key, 1)
    events = eventually(lambda: len(found := events_of(run_id)) == 3 and found)
    assert [event.state for event in events] == ["Pending", "Running", "Completed"]
    report = RunReport(run_id, events, run.info).to_text()
    assert "Completed" in report
    assert '{"a":[1,2.5,null]}' in report


@pytest.mark.usefixtures("recorded")
def test_a_direct_call_that_fails_raises_the_same_and_is_recorded() -> None:
    error = LookupError("no such thing")
    with pytest.raises(LookupError) as raised:
        work(error)
    assert raised.value is error
    with pytest.raises(LookupError, match="no such thing"):
        get_run(ids[-1]).result(PATIENCE)


@pytest.mark.usefixtures("recorded")
def test_an_asynchronous_direct_call_is_recorded() -> None:
    @task
    async def soon() -> str:
        await asyncio.sleep(0)
        return runtime.run_id or ""

    async def main() -> str:
        run_id = await soon()
        assert await get_run(run_id).result_async(PATIENCE) == run_id
        return run_id

    asyncio.run(main())


@dataclass(slots=True)
class Slotted:
    values: Iterator[int]


def circle() -> list[Any]:
    found: list[Any] = [1, 2]
    found.append(found)
    return found


def numbers() -> Iterator[int]:
    yield from range(3)


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    "make",
    [
        lambda: [numbers()],
        lambda: Slotted(numbers()),
        object,
        lambda: "x" * 100_000,
        lambda: list(range(5000)),
        circle,
    ],
)
def test_a_result_that_is_not_stored_stays_as_it_is(make: Callable[[], Any]) -> None:
    value = make()
    run_id = call(value)
    if isinstance(value, Slotted):
        value = [value.values]
    if isinstance(value, list) and len(value) == 1:
        assert list(value[0]) == [0, 1, 2]
    run = get_run(run_id)
    assert run.state.name is StateName.COMPLETED
    with pytest.raises(ResultMissing, match="its result is"):
        run.result(PATIENCE)


@pytest.mark.usefixtures("recorded")
def test_a_direct_call_inside_a_run_has_it_as_its_parent(jtask_worker: StartWorker) -> None:
    jtask_worker(outer)
    run = outer.delay(5)
    inner = get_run(run.result(PATIENCE))
    assert inner.result(PATIENCE) == 5
    assert inner.info is not None
    assert inner.info.parent == run.run_id


@pytest.mark.usefixtures("recorded")
def test_a_broker_that_refuses_is_logged_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = threading.Semaphore(0)

    async def refuse(record: Any) -> bool:
        tried.release()
        raise BrokerUnavailable("away")

    monkeypatch.setattr(get_client().broker.results, "put", refuse)
    outcome_buffer._lost.forget()
    with caplog.at_level(logging.WARNING, "jtask"):
        for number in range(20):
            assert work(number) == number
        for _ in range(20):
            assert tried.acquire(timeout=PATIENCE)
        eventually(lambda: "is not recorded: away" in caplog.text)
    assert caplog.text.count("is not recorded") == 1


@pytest.mark.usefixtures("recorded")
def test_what_a_broker_does_not_take_in_time_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    never = asyncio.Event()

    async def hang(record: Any) -> bool:
        return await never.wait()

    monkeypatch.setattr(get_client().broker.results, "put", hang)
    monkeypatch.setattr(outcome_buffer, "_FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(outcome_buffer, "MOST", 10)
    for number in range(1000):
        work(number)
    waiting = get_client().outcomes._waiting
    eventually(lambda: len(waiting) <= 10)
    on_io(lambda broker: get_client().outcomes.flush())
    # A task that is left behind is reported, by asyncio, when the garbage collector finds it.
    eventually(lambda: not list(get_client().outcomes._background))


@pytest.mark.usefixtures("recorded")
def test_nothing_is_recorded_where_the_setting_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from jtask import close

    close()
    monkeypatch.setenv("JTASK_RECORD_DIRECT_CALLS", "off")
    get_settings.cache_clear()
    get_client()
    monkeypatch.setattr(OutcomeBuffer, "add", lambda *args: pytest.fail("recorded"))
    assert work(1) == 1
    assert events_of(ids[-1]) == []
    get_settings.cache_clear()


# --- programs that have not connected ------------------------------------------------------------

PROGRAM = """
import sys, time
import jtask
from jtask import runtime, task

@task
def greet(name="you"):
    print(runtime.run_id, flush=True)
    return f"hello {name}"

began = time.perf_counter()
assert greet("Ann") == "hello Ann"
print(time.perf_counter() - began, "jtask.client" in sys.modules, flush=True)
"""


def program(*, code: str = PROGRAM, **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )


def test_a_program_that_calls_a_task_is_looked_up_while_an_embedded_server_runs(
    jtask_nats: str, tmp_path: Path
) -> None:
    ensure_server()
    home = str(get_settings().home)
    ended = program(JTASK_HOME=home, JTASK_URL="embedded://")
    run_id, _, is_loaded = ended.stdout.split()
    assert is_loaded == "True"
    assert ended.stderr == ""
    run = get_run(run_id)
    assert run.state.name is StateName.COMPLETED
    assert run.result(PATIENCE) == "hello Ann"
    assert len(events_of(run_id)) == 3


BUSY = """
import ctypes, os, sys
import jtask
from jtask import runtime, task

# As a long call into C does, and unlike time.sleep, it keeps the interpreter's lock.
block = ctypes.PyDLL(None).usleep

@task
def busy():
    print(runtime.run_id, flush=True)
    while not os.path.exists("end"):
        block(300_000)  # microseconds
    return "done"

with jtask.connect():
    busy()
"""


def test_a_direct_call_that_keeps_its_process_from_answering_at_once_is_found(
    jtask_nats: str, tmp_path: Path
) -> None:
    ensure_server()
    env = environment(JTASK_HOME=str(get_settings().home), JTASK_URL="embedded://")
    command = [sys.executable, "-c", BUSY]
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        run = get_run(program.stdout.readline().decode().strip())
        try:
            assert run.state.name is StateName.RUNNING
        finally:
            (tmp_path / "end").touch()
        assert run.result(PATIENCE) == "done"


def test_a_program_does_not_start_a_server_for_a_direct_call(tmp_path: Path) -> None:
    for home in (tmp_path / "never", tmp_path / "stopped"):
        if home.name == "stopped":
            ensure_server(home)
            stop_server(home)
        ended = program(JTASK_HOME=str(home), JTASK_URL="embedded://")
        assert ended.stdout.split()[2] == "False"
        assert not (home / "server.pid").exists() or home.name == "stopped"
        from jtask_nats.server.embedded import server_status

        assert server_status(home) is None


def test_a_program_that_is_to_record_starts_one(tmp_path: Path) -> None:
    home = tmp_path / "home"
    try:
        program(JTASK_HOME=str(home), JTASK_URL="embedded://", JTASK_RECORD_DIRECT_CALLS="on")
        assert stop_server(home)
    finally:
        stop_server(home)


def test_a_broker_that_is_away_costs_a_program_a_moment_and_a_warning() -> None:
    began = time.monotonic()
    ended = program(JTASK_URL="nats://127.0.0.1:9", JTASK_CONNECT_TIMEOUT="60")
    assert float(ended.stdout.split()[1]) < 30
    assert "is not recorded: the program has ended" in ended.stderr
    assert time.monotonic() - began < 50  # not the connect timeout


AWAY = {"JTASK_URL": "nats://127.0.0.1:9", "JTASK_CONNECT_TIMEOUT": "0.3"}


def test_a_limited_direct_call_is_refused_while_the_broker_is_away() -> None:
    code = """
from jtask import task
from jtask.errors import RunRefused

@task(limit=1)
def limited():
    print("executed")

try:
    limited()
except RunRefused as refusal:
    print(refusal)
"""
    ended = program(code=code, **AWAY)
    assert ended.stdout.startswith("whether it may start cannot be known now: no NATS server")
    assert "executed" not in ended.stdout
    assert "plugin" not in ended.stderr


@pytest.mark.parametrize("policy", ["INPUTS", "INPUTS.configure(isolation_level='SERIALIZABLE')"])
def test_a_cached_direct_call_is_executed_while_the_broker_is_away(policy: str) -> None:
    code = f"""
from jtask import task
from jtask.cache_policies import INPUTS
from jtask.client import process_client

@task(cache_policy={policy})
def cached(number: int):
    return "executed"

tries, connect = [], process_client.Client
process_client.Client = lambda: tries.append(1) or connect()
print(cached(1), cached(1), len(tries))
"""
    ended = program(code=code, JTASK_RECORD_DIRECT_CALLS="off", **AWAY)
    assert ended.stdout == "executed executed 1\n"
    assert "plugin 'caching' failed in jtask_lookup" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_wrong_setting_does_not_fail_a_direct_call() -> None:
    ended = program(JTASK_URL="nowhere://")
    assert "no broker has the scheme 'nowhere'" in ended.stderr


def test_a_program_may_still_connect_elsewhere(jtask_nats: str, tmp_path: Path) -> None:
    ensure_server()
    code = PROGRAM + "\ntime.sleep(0.5)\nprint(jtask.connect('memory://'))"
    ended = program(code=code, JTASK_HOME=str(get_settings().home), JTASK_URL="embedded://")
    assert "memory://" in ended.stdout


def test_the_folder_looked_at_is_the_servers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("JTASK_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    get_settings.cache_clear()
    try:
        assert not recording._embedded_server_lives(get_settings())
        ensure_server()
        assert recording._embedded_server_lives(get_settings())
        stop_server()
        assert not recording._embedded_server_lives(get_settings())
    finally:
        stop_server()
        get_settings.cache_clear()


def test_looking_is_done_now_and_then_only(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    monkeypatch.setattr(direct_call, "may_be_recorded", lambda: bool(looks.append(time.time())))
    monkeypatch.setattr(direct_call, "_look_at", 0.0)
    for number in range(100):
        work(number)
    assert len(looks) == 1


def test_a_call_during_the_look_of_another_thread_is_recorded_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(direct_call, "may_be_recorded", lambda: True)
    monkeypatch.setattr(direct_call, "_look_at", 0.0)
    told: list[str] = []
    other = threading.Thread(target=work, args=(1,))

    def begin_recording() -> None:
        other.start()
        other.join(0.5)  # a call that does not wait for this one is over
        direct_call.record(
            lambda run, state: told.append(run.run_id), lambda run, outcome: told.append("end")
        )

    try:
        direct_call.call(work, (0,), {}, begin_recording)
        other.join(PATIENCE)
        assert sorted(told.count(run_id) for run_id in {*told}) == [2, 3, 3]
    finally:
        direct_call.stop_recording()
        monkeypatch.setattr(direct_call, "_look_at", 0.0)
