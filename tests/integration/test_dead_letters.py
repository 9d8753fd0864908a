"""Keep what failed for good, and execute it again, on both brokers."""

import json
import threading
import time
from typing import Any

import pytest
from click.testing import CliRunner
from in_process import StartWorker, arguments_blob, lose_workers, on_each_broker, on_io
from waiting import PATIENCE, eventually

from jtask import Run, StateName, runtime, task
from jtask.cli.program import main
from jtask.client import get_client
from jtask.contract import Message
from jtask.errors import RunCancelled, RunNotFound, TaskDefinitionError
from jtask.hooks import hookimpl
from jtask.ids import created_at
from jtask.lifecycle import Retry
from jtask.testing import run_worker
from jtask.worker.start_counters import START_COUNTER_TTL, start_counter
from jtask_dead_letters.headers import REPLAY_OF
from jtask_dead_letters.operations import (
    drop_letters,
    find_letter,
    list_letters,
    replay_letter,
    replay_letters,
)

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


MEGABYTE = 1_000_000


class Died(Exception):
    """What a process that dies does not survive."""


class Switch:
    """Decides whether the task of this file fails, and counts its executions."""

    fails = True
    executed: list[Any]


switch = Switch()


@task(tags=["nightly"])
def fragile(value: str = "x") -> str:
    if switch.fails:
        raise ValueError(f"no {value[:20]}")
    switch.executed.append((value, runtime.attempt, runtime.tags))
    return value


@task
def other() -> None:
    raise ArithmeticError("wrong sum")


@pytest.fixture(autouse=True)
def _failing() -> None:
    switch.fails, switch.executed = True, []


def fail(run: Run[Any], *, worker: bool = True) -> Run[Any]:
    """Have a run end as a dead letter."""
    if worker:
        with run_worker(fragile, other):
            run.wait(PATIENCE)
    eventually(lambda: [letter for letter in list_letters() if letter.run_id == run.run_id])
    return run


def execute() -> None:
    """Have all that waits executed, now without failing."""
    switch.fails = False
    with run_worker(fragile):
        eventually(lambda: on_io(lambda broker: broker.queues.depth(fragile.queue)) == 0)


def send_too_late() -> Run[Any]:
    """Send a run that has expired before anybody gets it."""
    run = fragile.apply_async(("late",), expires=0.01)
    eventually(lambda: time.time() > created_at(run.run_id) + 0.02)
    return run


def program(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["dead", *arguments])


# --- keeping -------------------------------------------------------------------------------------


def test_what_fails_for_good_is_kept_with_error_payload_and_history(jtask_plugin: Any) -> None:
    class Once:
        @hookimpl
        def jtask_failed(self, run: Any, error: BaseException) -> Retry | None:
            return Retry(0.0, "once more") if run.attempt == 1 else None

    jtask_plugin(Once())
    run = fail(fragile.delay("apple"))
    letter = find_letter(run.run_id)
    assert (letter.task, letter.name, letter.queue) == (fragile.key, "fragile", fragile.queue)
    assert (letter.state, letter.error) == ("Failed", "builtins.ValueError")
    assert letter.reason == "the task raised ValueError: no apple"
    assert letter.failure is not None
    assert "raise ValueError" in letter.failure.traceback
    assert letter.outcome is not None
    assert [attempt.number for attempt in letter.outcome.history] == [1]
    assert letter.envelope is not None
    assert json.loads(letter.envelope.payload) == {"value": "apple"}


def test_an_expired_run_is_kept() -> None:
    letter = find_letter(fail(send_too_late()).run_id)
    assert (letter.state, letter.error) == ("Expired", "jtask.errors.RunExpired")


def test_a_crashed_run_is_kept(jtask_worker: StartWorker) -> None:
    @task
    def crash() -> None:
        raise SystemExit(3)

    jtask_worker(crash)
    letter = find_letter(fail(crash.delay(), worker=False).run_id)
    assert (letter.state, letter.error) == ("Crashed", "builtins.SystemExit")


def test_a_message_that_cannot_be_read_is_kept_and_cannot_be_replayed() -> None:
    client = get_client()
    run_id = client.ids.new()
    on_io(lambda broker: broker.runs.enqueue([Message(run_id, fragile.queue, b"nonsense")]))
    letter = find_letter(fail(client.handle(run_id)).run_id)
    assert (letter.name, letter.envelope) == ("", None)
    [answer] = replay_letters([run_id])
    assert answer.new_run_id is None
    assert "cannot be read" in (answer.problem or "")
    assert [kept.run_id for kept in list_letters()] == [run_id]


def test_what_is_cancelled_is_not_kept(jtask_worker: StartWorker) -> None:
    @task
    def stops() -> None:
        raise RunCancelled

    jtask_worker(stops)
    assert stops.delay().wait(PATIENCE)
    waiting = fragile.delay()
    waiting.cancel()
    assert list_letters() == []


def test_a_task_can_do_without_letters(jtask_worker: StartWorker) -> None:
    @task(dead_letter=False)
    def fleeting() -> None:
        raise ValueError

    jtask_worker(fleeting)
    assert fleeting.delay().wait(PATIENCE)
    assert list_letters() == []


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JTASK_LEASE", "1")


@pytest.mark.usefixtures("short_lease")
@pytest.mark.parametrize("keeps", [True, False])
def test_a_task_can_do_without_letters_of_runs_that_lost_their_workers(keeps: bool) -> None:
    executed: list[int] = []

    @task(dead_letter=keeps)
    def deadly(number: int) -> None:
        executed.append(number)

    run = deadly.delay(1)
    lose_three_workers(run, deadly.queue)
    with run_worker(deadly):
        assert run.wait(PATIENCE)
        assert deadly.delay(2).wait(PATIENCE)
    assert (run.state.name, executed) == (StateName.CRASHED, [2])
    assert [letter.run_id for letter in list_letters()] == [run.run_id] * keeps


def test_a_message_that_cannot_be_read_is_kept_whatever_its_queue_is_for() -> None:
    @task(dead_letter=False)
    def fleeting() -> None: ...

    client = get_client()
    run = client.handle(client.ids.new())
    on_io(lambda broker: broker.runs.enqueue([Message(run.run_id, fleeting.queue, b"nonsense")]))
    with run_worker(fleeting):
        assert run.wait(PATIENCE)
        eventually(lambda: [letter.run_id for letter in list_letters()] == [run.run_id])


def lose_three_workers(run: Run[Any], queue: str) -> None:
    """Have a run look as if three workers had died of it."""
    counter = start_counter(run.run_id)
    on_io(lambda broker: broker.counters.add(counter, 3, ttl=START_COUNTER_TTL))
    lose_workers(queue, 3)


def test_a_direct_call_is_not_kept() -> None:
    with pytest.raises(ValueError, match="no x"):
        fragile()
    assert list_letters() == []


def test_the_option_is_true_or_false() -> None:
    with pytest.raises(TaskDefinitionError, match="must be True or False, got 1"):
        task(dead_letter=1)(lambda: None)


def test_a_letter_too_big_for_a_message_keeps_the_arguments_rather_than_the_traceback() -> None:
    size = get_client().inline_limit - 1000
    run = fail(fragile.delay("x" * size))
    letter = find_letter(run.run_id)
    assert letter.envelope is not None
    assert len(letter.envelope.payload) > size
    assert letter.error == "builtins.ValueError"
    assert letter.failure is not None
    assert letter.failure.traceback == ""


# --- replaying -----------------------------------------------------------------------------------


def test_a_replay_is_a_new_run_from_its_first_attempt() -> None:
    run = fail(fragile.with_options(tags=["nightly", "eu"]).delay("pear"))
    again = replay_letter(run.run_id)
    assert again.run_id != run.run_id
    assert list_letters() == []
    execute()
    assert again.result(PATIENCE) == "pear"
    assert switch.executed == [("pear", 1, ("eu", "nightly"))]
    assert run.state.name is StateName.FAILED


def test_a_replay_knows_what_it_is_a_replay_of(jtask_worker: StartWorker) -> None:
    found: list[Any] = []

    @task
    def twice() -> None:
        found.append(runtime.headers.get(REPLAY_OF))
        if len(found) == 1:
            raise ValueError

    jtask_worker(twice)
    run = fail(twice.delay(), worker=False)
    replay_letter(run.run_id).result(PATIENCE)
    assert found == [None, run.run_id]


def test_a_replay_keeps_the_priority() -> None:
    run = fail(fragile.with_options(priority=7).delay("late"))
    assert find_letter(run.run_id).priority == 7
    fragile.delay("first")
    again = replay_letter(run.run_id)
    switch.fails = False
    with run_worker(fragile, concurrency=1, prefetch=0):
        assert again.result(PATIENCE) == "late"
        eventually(lambda: len(switch.executed) == 2)
    assert [value for value, _, _ in switch.executed] == ["late", "first"]


def test_an_expired_run_is_replayed_without_its_expiry() -> None:
    again = replay_letter(fail(send_too_late()).run_id)
    execute()
    assert again.result(PATIENCE) == "late"


def test_arguments_that_were_a_blob_are_replayed_and_their_first_copy_is_dropped() -> None:
    value = "v" * (2 * MEGABYTE)
    run = fail(fragile.delay(value))
    assert arguments_blob(run.run_id) is not None
    again = replay_letter(run.run_id)
    assert arguments_blob(run.run_id) is None
    execute()
    assert again.result(PATIENCE) == value


def test_a_replay_that_fails_is_a_letter_of_its_own() -> None:
    again = replay_letter(fail(fragile.delay()).run_id)
    fail(again)
    last = replay_letter(again.run_id)
    execute()
    assert last.result(PATIENCE) == "x"
    assert len(switch.executed) == 1


def test_a_repeated_replay_is_the_same_run() -> None:
    run = fail(fragile.delay())
    first = replay_letter(run.run_id)
    assert replay_letter(run.run_id) == first
    execute()
    assert replay_letter(run.run_id) == first
    execute()
    assert len(switch.executed) == 1


def test_replays_at_the_same_time_are_one_run() -> None:
    run = fail(fragile.delay("v" * (2 * MEGABYTE)))
    found: list[Run[Any]] = []
    threads = [
        threading.Thread(target=lambda: found.append(replay_letter(run.run_id))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(found) == 8
    assert len({again.run_id for again in found}) == 1
    execute()
    assert len(switch.executed) == 1


STEPS = [
    "records.put",
    "blobs.put",
    "runs.enqueue",
    "records.put",
    "dead_letters.drop",
    "blobs.delete",
]


@pytest.mark.parametrize("soon", [True, False], ids=["soon", "late"])
@pytest.mark.parametrize("done", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("step", range(len(STEPS)), ids=[f"{i}{s}" for i, s in enumerate(STEPS)])
def test_a_replay_that_dies_at_any_step_is_executed_exactly_once(
    step: int, done: bool, soon: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fail(fragile.delay("v" * (2 * MEGABYTE)))
    client = get_client()
    name = STEPS[step]
    nth = STEPS[: step + 1].count(name)
    with monkeypatch.context() as patch:
        _die_at(patch, client.broker, name, nth, done=done)
        with pytest.raises(Died):
            replay_letter(run.run_id)
    if not soon:
        # Whether it was enqueued cannot be known any more.
        monkeypatch.setattr("jtask_dead_letters.replaying._SAME_ID_SECONDS", 0.0)
    again = replay_letter(run.run_id)
    execute()
    assert again.wait(PATIENCE)
    assert again.state.name is StateName.COMPLETED
    assert replay_letter(run.run_id) == again
    execute()
    assert len(switch.executed) == 1
    assert list_letters() == []


def _die_at(patch: Any, broker: Any, name: str, nth: int, *, done: bool) -> None:
    part, _, method = name.partition(".")
    owner = getattr(broker, part)
    whole, calls = getattr(owner, method), []

    async def dying(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) < nth:
            return await whole(*args, **kwargs)
        if done:
            await whole(*args, **kwargs)
        raise Died

    patch.setattr(owner, method, dying)


def test_a_replay_that_was_admitted_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    run = fail(fragile.delay())
    client = get_client()
    with monkeypatch.context() as patch:
        _die_at(patch, client.broker, "runs.enqueue", 1, done=True)
        with pytest.raises(Died):
            replay_letter(run.run_id)
    execute()
    monkeypatch.setattr("jtask_dead_letters.replaying._SAME_ID_SECONDS", 0.0)
    again = replay_letter(run.run_id)
    execute()
    assert again.wait(PATIENCE)
    assert len(switch.executed) == 1
    assert list_letters() == []


def test_a_run_without_a_letter_cannot_be_replayed() -> None:
    run_id = get_client().ids.new()
    with pytest.raises(RunNotFound, match=f"no dead letter of run {run_id}"):
        replay_letter(run_id)
    with pytest.raises(RunNotFound):
        find_letter(run_id)


# --- choosing ------------------------------------------------------------------------------------


def test_letters_are_chosen_by_task_error_and_time() -> None:
    first, second = fail(fragile.delay()).run_id, fail(other.delay()).run_id
    at = find_letter(second).at

    def ids(**conditions: Any) -> list[str]:
        return [letter.run_id for letter in list_letters(**conditions)]

    assert ids() == [first, second]
    assert ids(task="fragile") == ids(task=fragile.key) == [first]
    assert ids(error="ArithmeticError") == ids(error="builtins.ArithmeticError") == [second]
    assert ids(error="Error") == []
    assert ids(since=at) == [second]
    assert ids(until=at) == [first]
    assert ids(task="fragile", error="ArithmeticError") == []


def test_letters_are_dropped_with_their_arguments() -> None:
    run = fail(fragile.delay("v" * (2 * MEGABYTE)))
    kept = fail(fragile.delay())
    assert drop_letters([run.run_id, get_client().ids.new()]) == [run.run_id]
    assert [letter.run_id for letter in list_letters()] == [kept.run_id]
    assert arguments_blob(run.run_id) is None


# --- the program ---------------------------------------------------------------------------------


def test_the_program_lists_and_shows() -> None:
    assert "no dead letters" in program("ls").stderr
    run = fail(fragile.delay("apple"))
    heads, line = program("ls").stdout.splitlines()
    assert heads.split() == ["RUN", "TASK", "STATE", "SINCE", "REASON"]
    assert line.startswith(f"{run.run_id}  fragile  Failed  ")
    assert line.endswith("the task raised ValueError: no apple")
    [facts] = json.loads(program("ls", "--json", "--since", "1h").stdout)
    assert (facts["run_id"], facts["error"]) == (run.run_id, "builtins.ValueError")
    shown = program("show", run.run_id).stdout
    for text in ("no apple", 'raise ValueError(f"no', 'value     "apple"'):
        assert text in shown
    told = json.loads(program("show", run.run_id, "--json").stdout)
    assert told["arguments"] == {"value": "apple"}
    assert told["failure"]["type"] == "builtins.ValueError"
    assert program("show", get_client().ids.new()).exit_code == 1


def test_the_program_replays_by_id_and_by_condition() -> None:
    run, second, third = (fail(fragile.delay(v)) for v in ("a", "b", "c"))
    said = program("replay", run.run_id)
    assert said.stdout.startswith(f"{run.run_id}  is replayed as  ")
    again = said.stdout.split()[-1]
    assert json.loads(program("replay", run.run_id, "--json").stdout) == [
        {"run_id": run.run_id, "new_run_id": again, "problem": None}
    ]
    answers = json.loads(program("replay", "--task", "fragile", "--yes", "--json").stdout)
    assert [a["run_id"] for a in answers] == [second.run_id, third.run_id]
    assert json.loads(program("replay", "--all", "--yes", "--json").stdout) == []
    assert program("replay", "--all").stderr == "no such dead letters\n"
    execute()
    assert sorted(value for value, _, _ in switch.executed) == ["a", "b", "c"]
    # What is known of a replay is what was known of its run.
    wanted = ["runs", "ls", "--where", "args.value=a", "--tag", "nightly", "--json"]
    known = {one["run_id"] for one in json.loads(CliRunner().invoke(main, wanted).stdout)}
    assert known == {run.run_id, again}
    unknown = program("replay", get_client().ids.new())
    assert (unknown.exit_code, "no dead letter" in unknown.stderr) == (1, True)


def test_the_program_drops() -> None:
    runs = [fail(fragile.delay()) for _ in range(2)]
    assert program("drop", runs[0].run_id).stderr == "1 dead letter deleted\n"
    again = program("drop", runs[0].run_id)
    assert again.exit_code == 1
    assert f"Error: there is no dead letter of run {runs[0].run_id}\n" in again.stderr
    said = program("drop", "--error", "ValueError", "--yes", "--json")
    assert json.loads(said.stdout) == [runs[1].run_id]


@pytest.mark.parametrize("command", ["replay", "drop"])
def test_the_program_wants_to_know_which_and_whether(command: str) -> None:
    fail(fragile.delay())
    for arguments in ([], ["--all", "--task", "x"], ["some-id", "--all"]):
        ended = program(command, *arguments)
        assert (ended.exit_code, "specify which dead letters" in ended.stderr) == (2, True)
    assert "add --yes" in " ".join(program(command, "--all").stderr.split())
    assert len(list_letters()) == 1
