"""What runs log and print is kept, run by run, on each broker."""

import asyncio
import contextvars
import logging
import logging.config
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from in_process import StartWorker, lose_workers, on_each_broker, on_io
from run_logs import all_lines, log_of, messages_of
from waiting import eventually

import jtask
from jtask import get_run_logger, runtime, task
from jtask.client import get_client
from jtask.client.log_reader import LogReader
from jtask.contract import END_OF_ATTEMPT, LogLine
from jtask.errors import BrokerUnavailable, NotInRun
from jtask.hook_callers import HookCaller
from jtask.plugins import TaskHooks, hooks_of
from jtask.runtime import current_run
from jtask.settings import get_settings
from jtask.wire.envelope import decode_outcome

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker
log = logging.getLogger("shop.images")


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.DEBUG)
    yield
    root.setLevel(before)


def test_what_any_logger_logs_in_a_run_is_in_its_log(jtask_worker: StartWorker) -> None:
    @task
    def work() -> None:
        log.info("resized %d", 7)
        get_run_logger().warning("careful")
        logging.getLogger("x").error("no")

    jtask_worker(work)
    run = work.delay()
    run.result()
    lines = log_of(run.run_id)
    assert [(it.level, it.logger, it.message) for it in lines] == [
        (20, "shop.images", "resized 7"),
        (30, f"jtask.task.{work.name}", "careful"),
        (40, "x", "no"),
    ]
    assert [line.number for line in lines] == [1, 2, 3]
    assert {line.attempt for line in lines} == {1}


def test_the_end_of_a_run_says_whether_its_last_attempt_has_a_log(
    jtask_worker: StartWorker,
) -> None:
    @task(retries=1)
    def work(attempt_that_logs: int) -> None:
        if runtime.attempt == attempt_that_logs:
            log.info("here")
        if runtime.attempt == 1:
            raise OSError

    def has_lines(attempt_that_logs: int) -> bool:
        run, client = work.delay(attempt_that_logs), get_client()
        run.result()
        stored = client.io.run(client.broker.results.get(run.run_id))
        assert stored is not None
        return decode_outcome(stored.body).has_lines

    jtask_worker(work)
    assert not has_lines(1)
    assert has_lines(2)


def test_a_traceback_is_part_of_the_record(jtask_worker: StartWorker) -> None:
    @task
    def work() -> None:
        try:
            raise ValueError("spoilt")
        except ValueError:
            log.exception("it failed")

    jtask_worker(work)
    run = work.delay()
    run.result()
    (message,) = messages_of(run.run_id)
    assert message.startswith("it failed\nTraceback")
    assert message.endswith("ValueError: spoilt")


def test_records_below_the_level_of_the_setting_are_not_kept(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JTASK_RUN_LOG_LEVEL", "WARNING")
    get_settings.cache_clear()

    @task
    def work() -> None:
        log.info("no")
        log.warning("yes")

    jtask_worker(work)
    run = work.delay()
    run.result()
    assert messages_of(run.run_id) == ["yes"]


def test_runs_at_the_same_time_have_their_own_logs(jtask_worker: StartWorker) -> None:
    barrier = threading.Barrier(4, timeout=20)

    @task(log_prints=True)
    def in_thread(name: str) -> None:
        for number in range(20):
            barrier.wait()
            log.info("%s %d", name, number)
            print(name, number)

    met = asyncio.Event()

    @task(log_prints=True)
    async def on_loop(name: str) -> None:
        for number in range(20):
            await asyncio.sleep(0)
            print(name, number)
        met.set()

    @task
    async def silent(name: str) -> None:
        print("never seen")
        await met.wait()
        print("never seen")

    jtask_worker(in_thread, on_loop, silent, concurrency=10)
    threads = {name: in_thread.delay(name) for name in "abcd"}
    loops = {name: on_loop.delay(name) for name in "efgh"}
    quiet = silent.delay("q")
    for name, run in threads.items():
        run.result()
        expected = [f"{name} {number}" for number in range(20) for _ in range(2)]
        assert messages_of(run.run_id) == expected
    for name, run in loops.items():
        run.result()
        assert messages_of(run.run_id) == [f"{name} {number}" for number in range(20)]
    quiet.result()
    assert all_lines(quiet.run_id) == []


def test_prints_go_to_the_log_where_the_task_says_so_and_to_stdout_still(
    jtask_worker: StartWorker, capfd: pytest.CaptureFixture[str]
) -> None:
    @task(log_prints=True)
    def loud() -> None:
        print("one", 2, sep="-", end="!\n")

    @task
    def quiet() -> None:
        print("nothing")

    jtask_worker(loud, quiet)
    # One after the other: what two runs print at once arrives at stdout in pieces.
    one = loud.delay()
    one.result()
    other = quiet.delay()
    other.result()
    (line,) = log_of(one.run_id)
    assert (line.level, line.logger, line.message) == (20, "print", "one-2")
    assert all_lines(other.run_id) == []
    printed = capfd.readouterr().out
    assert "one-2!\n" in printed
    assert "nothing\n" in printed


def test_log_prints_is_inherited_by_what_a_run_calls_and_submits_unless_that_says_otherwise(
    jtask_worker: StartWorker,
) -> None:
    ids: dict[str, str] = {}

    @task
    def inner(how: str) -> None:
        ids[how] = runtime.run_id
        print(how)

    @task(log_prints=False)
    def silent() -> None:
        ids["silent"] = runtime.run_id
        print("silent")

    @task(log_prints=True)
    def outer() -> None:
        print("before")
        inner("called")
        inner.submit("submitted").result()
        silent()
        print("after")

    jtask_worker(outer)
    run = outer.delay()
    run.result()
    assert messages_of(run.run_id) == ["before", "after"]
    assert messages_of(ids["called"]) == ["called"]
    assert messages_of(ids["submitted"]) == ["submitted"]
    assert all_lines(ids["silent"]) == []


def test_the_setting_is_for_tasks_that_do_not_say(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JTASK_LOG_PRINTS", "true")
    get_settings.cache_clear()

    @task
    def says_nothing() -> None:
        print("seen")

    jtask_worker(says_nothing)
    run = says_nothing.delay()
    run.result()
    assert messages_of(run.run_id) == ["seen"]


def test_each_attempt_has_its_lines_and_its_end(jtask_worker: StartWorker) -> None:
    @task(retries=2)
    def work() -> None:
        log.info("try %d", runtime.attempt)
        if runtime.attempt < 3:
            raise ValueError("again")

    jtask_worker(work)
    run = work.delay()
    run.result()
    assert messages_of(run.run_id, 3) == ["try 1", "try 2", "try 3"]
    ends = [line.attempt for line in all_lines(run.run_id) if line.level == END_OF_ATTEMPT]
    assert ends == [1, 2, 3]


def test_a_log_is_cut_at_its_limit_with_a_note(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JTASK_RUN_LOG_LIMIT", "100")
    get_settings.cache_clear()

    @task
    def work() -> None:
        for _ in range(1000):
            log.info("x" * 10)

    jtask_worker(work)
    run = work.delay()
    run.result()
    *kept, note = messages_of(run.run_id)
    assert kept == ["x" * 10] * 10
    assert "JTASK_RUN_LOG_LIMIT" in note


def test_the_limit_is_one_for_all_attempts_of_a_run_and_noted_once(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JTASK_RUN_LOG_LIMIT", "50")
    get_settings.cache_clear()

    @task(retries=3)
    def work() -> None:
        for _ in range(3):
            log.info("attempt %02d", runtime.attempt)
        raise ValueError("again")

    jtask_worker(work)
    run = work.delay()
    run.wait()
    eventually(lambda: END_OF_ATTEMPT in {it.level for it in all_lines(run.run_id)})
    *kept, note = [it.message for it in all_lines(run.run_id) if it.level != END_OF_ATTEMPT]
    assert kept == ["attempt 01"] * 3 + ["attempt 02"] * 2
    assert "JTASK_RUN_LOG_LIMIT" in note


def test_an_attempt_that_logs_nothing_hands_on_what_those_before_have_written(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JTASK_RUN_LOG_LIMIT", "50")
    get_settings.cache_clear()

    @task(retries=2)
    def work() -> None:
        if runtime.attempt != 2:
            for _ in range(4):
                log.info("attempt %02d", runtime.attempt)
        if runtime.attempt < 3:
            raise ValueError("again")

    jtask_worker(work)
    run = work.delay()
    run.result()
    assert messages_of(run.run_id, 3)[:-1] == ["attempt 01"] * 4 + ["attempt 03"]


def test_what_a_lost_worker_has_written_counts_towards_the_limit(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JTASK_RUN_LOG_LIMIT", "50")
    monkeypatch.setenv("JTASK_LEASE", "1")
    get_settings.cache_clear()

    @task(queue="taken-over")
    def work() -> None:
        log.info("it lives on")  # and so has what is there be counted
        held: Any = current_run()
        eventually(lambda: held.notes["logs"].written > 40)
        for _ in range(5):
            log.info("and on")

    run = work.delay()
    lost = [LogLine(run.run_id, 1.0, 20, "x", "d" * 10, 1, "lost", n) for n in range(1, 4)]
    on_io(lambda broker: broker.logs.append(lost))
    lose_workers("taken-over", 1)
    jtask_worker(work)
    run.result()
    *kept, note = messages_of(run.run_id)[3:]
    assert kept == ["it lives on", "and on", "and on"]
    assert "JTASK_RUN_LOG_LIMIT" in note


def test_a_log_that_a_lost_worker_has_filled_is_not_noted_again(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JTASK_RUN_LOG_LIMIT", "50")
    monkeypatch.setenv("JTASK_LEASE", "1")
    get_settings.cache_clear()

    @task(queue="filled-up")
    def work() -> None:
        log.info("one")
        held: Any = current_run()
        eventually(lambda: held.notes["logs"].written > 50)
        log.info("two")

    run = work.delay()
    lost = LogLine(run.run_id, 1.0, 20, "x", "d" * 50, 1, "lost", 1)
    on_io(lambda broker: broker.logs.append([lost]))
    lose_workers("filled-up", 1)
    jtask_worker(work)
    run.result()
    assert messages_of(run.run_id) == [lost.message, "one"]


def test_what_does_not_fit_while_the_broker_is_away_is_counted_and_the_task_goes_on(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jtask.client.log_buffer._MOST_LINES", 100)
    monkeypatch.setattr("jtask.client.log_buffer._PAUSE", 0.01)
    logs = get_client().broker.logs
    append, is_away = logs.append, threading.Event()
    is_away.set()

    async def refuse(lines: Any) -> None:
        if is_away.is_set():
            raise BrokerUnavailable("away")
        await append(lines)

    monkeypatch.setattr(logs, "append", refuse)

    @task
    def work() -> None:
        for number in range(50_000):
            log.info("%d", number)

    jtask_worker(work)
    run = work.delay()
    run.result()  # although nobody takes its lines
    is_away.clear()

    def kept() -> list[str]:
        return [line.message for line in all_lines(run.run_id)]

    eventually(lambda: len(kept()) >= 100)
    assert kept()[:100] == [str(number) for number in range(100)]


def test_a_record_carries_its_run_for_every_handler_and_what_it_has_itself_stays(
    jtask_worker: StartWorker,
) -> None:
    records: list[logging.LogRecord] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    own = logging.getLogger("own")
    own.propagate = False
    handler = Collect()
    own.addHandler(handler)

    @task
    def work() -> None:
        own.warning("plain")
        own.warning("with extra", extra={"task": "mine", "attempt": "second"})

    try:
        jtask_worker(work)
        run = work.delay()
        run.result()
        own.warning("outside")
    finally:
        own.removeHandler(handler)
    plain, extra, outside = (vars(record) for record in records)
    named = (plain["run_id"], plain["task"], plain["attempt"])
    assert named == (run.run_id, work.name, 1)
    assert (extra["run_id"], extra["task"], extra["attempt"]) == (run.run_id, "mine", "second")
    assert "run_id" not in outside
    assert messages_of(run.run_id) == ["plain", "with extra"]


def test_get_run_logger_outside_a_run_says_what_to_do() -> None:
    with pytest.raises(NotInRun, match="inside a task's function"):
        jtask.get_run_logger()


def test_get_run_logger_takes_attributes_for_its_records(
    jtask_worker: StartWorker, caplog: pytest.LogCaptureFixture
) -> None:
    @task
    def work() -> None:
        get_run_logger(order=7).info("packed")

    jtask_worker(work)
    run = work.delay()
    run.result()
    (record,) = [it for it in caplog.records if it.getMessage() == "packed"]
    assert vars(record)["order"] == 7
    assert messages_of(run.run_id) == ["packed"]


def test_the_log_of_a_direct_call_in_a_connected_program_is_kept() -> None:
    ids: list[str] = []

    @task(retries=1)
    def work() -> None:
        ids.append(runtime.run_id)
        log.info("try %d", runtime.attempt)
        if runtime.attempt == 1:
            raise ValueError("again")

    get_client()
    work()
    assert messages_of(ids[0], 2) == ["try 1", "try 2"]


def test_a_thread_with_the_context_of_its_task_belongs_to_the_run(
    jtask_worker: StartWorker,
) -> None:
    @task
    def work() -> None:
        thread = threading.Thread(
            target=contextvars.copy_context().run, args=(log.info, "from a thread")
        )
        thread.start()
        thread.join()

    jtask_worker(work)
    run = work.delay()
    run.result()
    assert messages_of(run.run_id) == ["from a thread"]


def test_a_run_that_logs_nothing_costs_no_hook_call(jtask_worker: StartWorker) -> None:
    concerns: list[Any] = []

    @task
    def work() -> None:
        run = current_run()
        assert run is not None
        concerns.append((run.concerns, dict(run.notes)))

    jtask_worker(work)
    run = work.delay()
    run.result()
    assert concerns == [((), {})]
    hooks = hooks_of(work)
    facts = [getattr(hooks, name) for name in TaskHooks.__slots__ if name[0] != "_"]
    callers = [fact for fact in facts if isinstance(fact, HookCaller)]
    asked = {it.plugin for caller in callers for it in caller.implementations}
    assert "logs" not in asked
    assert all_lines(run.run_id) == []


def test_a_follower_gets_lines_while_the_run_executes_and_ends_with_it(
    jtask_worker: StartWorker,
) -> None:
    goes_on = threading.Event()

    @task
    def work() -> None:
        log.info("first")
        goes_on.wait(20)
        log.info("last")

    jtask_worker(work)
    run = work.delay()
    io, broker = get_client().io, get_client().broker

    async def make() -> LogReader:
        return LogReader(broker.logs, broker.results, run.run_id)

    reader = io.run(make())
    first = io.run(reader.follow())
    assert first is not None
    assert [line.message for line in first] == ["first"]
    goes_on.set()
    rest: list[str] = []
    while (page := io.run(reader.follow())) is not None:
        rest += [line.message for line in page]
    assert rest == ["last"]
    io.run(reader.close())


def test_a_follower_of_a_run_that_logs_nothing_ends_with_it(jtask_worker: StartWorker) -> None:
    @task
    def work() -> None:
        pass

    jtask_worker(work)
    run = work.delay()
    io, broker = get_client().io, get_client().broker

    async def follow() -> Any:
        reader = LogReader(broker.logs, broker.results, run.run_id)
        try:
            return await reader.follow()
        finally:
            await reader.close()

    assert io.run(follow()) is None


def test_a_record_that_cannot_be_formatted_fails_neither_task_nor_log(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)

    @task
    def work() -> None:
        logging.getLogger("quiet").info("%d", "no number")
        log.info("goes on")

    logging.getLogger("quiet").propagate = False
    jtask_worker(work)
    run = work.delay()
    run.result()
    assert messages_of(run.run_id) == ["goes on"]
