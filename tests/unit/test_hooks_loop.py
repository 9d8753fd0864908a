"""What hooks return is awaited on one loop of the process's own, whoever the run belongs to."""

import asyncio
import contextlib
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from direct_calls import both, call_plain
from programs import environment
from waiting import PATIENCE, eventually

from jtask import runtime, task
from jtask.errors import RunCancelled
from jtask.execution.hooks_loop import HooksLoop, get_hooks_loop, on_this_loop
from jtask.hooks import hookimpl
from jtask.outcomes import CancelResult
from jtask.runtime import RunContext
from jtask.states import State, StateName

AddPlugin = Callable[[object], None]
StartWorker = Callable[..., Any]


class Loops:
    """Notes the loop and the thread of each awaitable that it returns."""

    def __init__(self) -> None:
        self.loops: set[asyncio.AbstractEventLoop] = set()
        self.threads: set[str] = set()

    async def _note(self) -> None:
        await asyncio.sleep(0)
        self.loops.add(asyncio.get_running_loop())
        self.threads.add(threading.current_thread().name)

    @hookimpl
    def jtask_lookup(self) -> Awaitable[None]:
        return self._note()

    @hookimpl
    def jtask_admit(self) -> Awaitable[None]:
        return self._note()

    @hookimpl
    def jtask_failed(self) -> Awaitable[None]:
        return self._note()

    @hookimpl
    def jtask_state(self) -> Awaitable[None]:
        return self._note()

    @hookimpl
    def jtask_settled(self) -> Awaitable[None]:
        return self._note()


def test_one_loop_serves_direct_calls_and_workers_plain_and_asynchronous(
    jtask_plugin: AddPlugin, jtask_worker: StartWorker
) -> None:
    plugin = Loops()
    jtask_plugin(plugin)

    @task
    def plain(fails: bool) -> None:
        assert not fails

    @task
    async def slow(fails: bool) -> None:
        assert not fails

    jtask_worker(plain, slow)
    for fails in (False, True):
        expected = pytest.raises(AssertionError) if fails else contextlib.nullcontext()
        with expected:
            plain(fails)
        with expected:
            asyncio.run(slow(fails))
        for work in (plain, slow):
            with expected:
                work.delay(fails).result(PATIENCE)
    assert plugin.threads == {"jtask-hooks"}
    assert plugin.loops == {get_hooks_loop().loop}


def test_synchronous_hooks_start_no_loop() -> None:
    code = """
import asyncio, threading
from jtask import task
from jtask.hooks import hookimpl
from jtask.plugins import get_plugins

class Plugin:
    @hookimpl
    def jtask_settled(self, run): ...

get_plugins().add(Plugin())

@task
def plain(): ...

@task
async def slow(): ...

plain()
asyncio.run(slow())
print([thread.name for thread in threading.enumerate()])
"""
    assert _program(code) == "['MainThread']\n"


def test_a_hook_may_return_any_awaitable(jtask_plugin: AddPlugin) -> None:
    class Later:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            called.append(threading.current_thread().name)

    called: list[str] = []

    class Plugin:
        @hookimpl
        def jtask_settled(self) -> Awaitable[None]:
            return Later()

    jtask_plugin(Plugin())
    call_plain(lambda: None)
    assert called == ["jtask-hooks"]


# --- futures of the run's own loop ---------------------------------------------------------------


class OnTheRunsLoop:
    def __init__(self, error: BaseException | None = None) -> None:
        self.loops: list[Any] = []
        self._error = error

    async def _note(self) -> None:
        await asyncio.sleep(0)
        self.loops.append(asyncio.get_running_loop())
        if self._error is not None:
            raise self._error

    @hookimpl
    def jtask_settled(self, run: RunContext) -> Awaitable[None]:
        return on_this_loop(self._note())


def test_a_future_of_the_runs_loop_is_awaited_there(jtask_plugin: AddPlugin) -> None:
    plugin = OnTheRunsLoop()
    jtask_plugin(plugin)

    @task
    async def work() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert plugin.loops == [asyncio.run(work())]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_what_is_no_exception_comes_out_of_a_call_and_not_of_the_loop(
    error: BaseException, jtask_plugin: AddPlugin
) -> None:
    jtask_plugin(OnTheRunsLoop(error))

    @task
    async def work() -> None: ...

    async def main() -> str:
        try:
            await work()
        except type(error):
            return "caught where it was called"
        return "lost"

    assert asyncio.run(main()) == "caught where it was called"


def test_a_cancelled_call_cancels_what_it_awaits_on_its_own_loop(jtask_plugin: AddPlugin) -> None:
    ended: list[str] = []

    class Waits:
        @hookimpl
        def jtask_settled(self) -> Awaitable[None]:
            return on_this_loop(self._wait())

        async def _wait(self) -> None:
            try:
                begun.set()
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")

    jtask_plugin(Waits())

    @task
    async def work() -> None: ...

    async def main() -> None:
        nonlocal begun
        begun = asyncio.Event()
        call = asyncio.ensure_future(work())
        await begun.wait()
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()

    begun = asyncio.Event()
    asyncio.run(main())
    assert ended == ["cancelled"]


# --- failures ------------------------------------------------------------------------------------


class Raises:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    @hookimpl
    async def jtask_settled(self) -> None:
        raise self._error


@both
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_what_is_no_exception_ends_the_call_and_not_the_loop(
    error: BaseException, call: Any, jtask_plugin: AddPlugin
) -> None:
    jtask_plugin(Raises(error))
    with pytest.raises(type(error)):
        call(lambda: 7)
    assert get_hooks_loop().run(_name_of_thread()) == "jtask-hooks"


@both
def test_a_hook_that_cancels_itself_has_failed_and_the_run_goes_on(
    call: Any, jtask_plugin: AddPlugin, caplog: pytest.LogCaptureFixture
) -> None:
    jtask_plugin(Raises(asyncio.CancelledError()))
    with caplog.at_level(logging.ERROR, "jtask"):
        assert call(lambda: 7) == 7
    assert "RuntimeError: what the hook returned was cancelled" in caplog.text


# --- cancellation --------------------------------------------------------------------------------


class Holds:
    """Holds a run in one hook until it is cancelled; notes states and the end."""

    def __init__(self, hook: str, state: StateName | None = None) -> None:
        self.begun = threading.Event()
        self.cancelled = threading.Event()
        self.states: list[StateName] = []
        self.settled = 0
        self._hook, self._state = hook, state

    async def _hold(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()

    def _answer(self, hook: str) -> Awaitable[None] | None:
        return self._hold() if hook == self._hook else None

    @hookimpl
    def jtask_lookup(self) -> Awaitable[None] | None:
        return self._answer("jtask_lookup")

    @hookimpl
    def jtask_admit(self) -> Awaitable[None] | None:
        return self._answer("jtask_admit")

    @hookimpl
    def jtask_failed(self) -> Awaitable[None] | None:
        return self._answer("jtask_failed")

    @hookimpl
    def jtask_state(self, state: State) -> Awaitable[None] | None:
        self.states.append(state.name)
        return self._answer("jtask_state") if state.name is self._state else None

    @hookimpl
    def jtask_settled(self) -> None:
        self.settled += 1


@task
def plain() -> None:
    raise ValueError("no")


@task(retries=3, retry_delay_seconds=600)
async def slow() -> None:
    raise ValueError("no")


@task(retries=3, retry_delay_seconds=600)
def plain_again() -> None:
    raise ValueError("no")


HELD = [
    ("jtask_lookup", None, plain),
    ("jtask_admit", None, plain),
    ("jtask_admit", None, slow),
    ("jtask_failed", None, plain),
    ("jtask_failed", None, slow),
    ("jtask_state", StateName.PENDING, slow),
    ("jtask_state", StateName.RUNNING, plain),
    ("jtask_state", StateName.AWAITING_RETRY, plain_again),
    ("jtask_state", StateName.AWAITING_RETRY, slow),
]
LOOKED_UP = [("jtask_lookup", None), ("jtask_state", StateName.PENDING)]


@pytest.mark.parametrize(("hook", "state", "work"), HELD)
def test_a_run_that_is_cancelled_while_its_hook_is_awaited_ends_and_the_hook_with_it(
    hook: str,
    state: StateName | None,
    work: Any,
    jtask_plugin: AddPlugin,
    jtask_worker: StartWorker,
) -> None:
    plugin = Holds(hook, state)
    jtask_plugin(plugin)
    jtask_worker(work)
    run = work.delay()
    assert plugin.begun.wait(PATIENCE)
    # What is looked up has not taken a slot.
    is_looked_up = (hook, state) in LOOKED_UP
    expected = CancelResult.NEVER_STARTS if is_looked_up else CancelResult.INTERRUPTED
    assert run.cancel("not today").result is expected
    with pytest.raises(RunCancelled, match="not today"):
        run.result(PATIENCE)
    assert plugin.cancelled.wait(PATIENCE)
    assert plugin.states[-1] is StateName.CANCELLED
    assert plugin.settled == 1


@pytest.mark.parametrize("work", [plain, slow])
def test_a_worker_that_stops_takes_a_run_out_of_its_hook_and_hands_it_back(
    work: Any, jtask_plugin: AddPlugin, jtask_worker: StartWorker
) -> None:
    plugin = Holds("jtask_admit")
    jtask_plugin(plugin)
    worker = jtask_worker(work)
    run = work.delay()
    assert plugin.begun.wait(PATIENCE)
    assert worker.stop(timeout=0) == 1
    assert plugin.cancelled.wait(PATIENCE)
    assert plugin.settled == 0
    assert not run.done()


def test_the_end_of_a_cancelled_plain_run_is_awaited_to_its_end(
    jtask_plugin: AddPlugin, jtask_worker: StartWorker
) -> None:
    ends: list[str] = []

    class Ends:
        @hookimpl
        async def jtask_settled(self, outcome: Any) -> None:
            await asyncio.sleep(0)
            ends.append(outcome.state.message)

    jtask_plugin(Ends())
    begun = threading.Event()

    @task
    def patient() -> None:
        begun.set()
        eventually(lambda: runtime.cancelled)
        raise RunCancelled

    jtask_worker(patient)
    run = patient.delay()
    assert begun.wait(PATIENCE)
    assert run.cancel("enough").result is not CancelResult.NEVER_STARTS
    with pytest.raises(RunCancelled):
        run.result(PATIENCE)
    assert ends == ["enough"]


def test_a_call_that_is_cancelled_before_its_hook_is_awaited_leaves_no_coroutine_behind(
    jtask_plugin: AddPlugin,
) -> None:
    """A forgotten coroutine warns, and a warning is an error here."""
    release = threading.Event()

    async def block() -> None:
        release.wait(PATIENCE)

    class Plugin:
        @hookimpl
        async def jtask_settled(self) -> None: ...

    jtask_plugin(Plugin())

    @task
    async def work() -> None: ...

    async def main() -> None:
        blocked = get_hooks_loop().submit(block())
        call = asyncio.ensure_future(work())
        await asyncio.sleep(0.01)
        call.cancel()
        await asyncio.wait([call])
        release.set()
        await asyncio.wrap_future(blocked)
        assert call.cancelled()

    asyncio.run(main())
    get_hooks_loop().run(_name_of_thread())


# --- jtask inside of hooks -----------------------------------------------------------------------


def test_an_asynchronous_hook_may_enqueue_and_wait_while_it_blocks_its_loop(
    jtask_plugin: AddPlugin, jtask_worker: StartWorker
) -> None:
    values: list[int] = []

    @task
    def double(number: int) -> int:
        return 2 * number

    @task
    def work() -> None: ...

    class Plugin:
        @hookimpl
        def jtask_applies(self, task: Any) -> bool:
            return task is work

        @hookimpl
        async def jtask_settled(self) -> None:
            await asyncio.sleep(0)
            values.append(double.delay(4).result(PATIENCE))
            values.append(await double.delay(5))

    jtask_plugin(Plugin())
    jtask_worker(double, work)
    work.delay().result(PATIENCE)
    assert values == [8, 10]


def test_an_asynchronous_hook_may_call_asynchronous_tasks_that_have_such_hooks(
    jtask_plugin: AddPlugin,
) -> None:
    values: list[int] = []

    @task
    async def inner() -> int:
        return 7

    @task
    def work() -> None: ...

    class Plugin:
        @hookimpl
        async def jtask_settled(self, run: RunContext) -> None:
            if run.task is work:
                values.append(await inner())

    jtask_plugin(Plugin())
    work()
    assert values == [7]


def test_a_plain_call_that_would_wait_for_its_own_loop_says_so(
    jtask_plugin: AddPlugin, caplog: pytest.LogCaptureFixture
) -> None:
    values: list[int] = []

    @task
    def inner() -> int:
        return 7

    @task
    def work() -> None: ...

    class Plugin:
        @hookimpl
        async def jtask_settled(self, run: RunContext) -> None:
            if run.task is work:
                values.append(inner())
                values.append(await asyncio.to_thread(inner))

    jtask_plugin(Plugin())
    with caplog.at_level(logging.ERROR, "jtask"):
        work()
    assert values == [7, 7]
    [record] = caplog.records
    assert "of task 'inner': RuntimeError: task 'inner' was called on the loop of the hooks" in (
        record.getMessage()
    )


# --- the life of the loop ------------------------------------------------------------------------


async def _name_of_thread() -> str:
    return threading.current_thread().name


def _program(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        env=environment(JTASK_URL="memory://hooks"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_blocking_call_on_the_loop_itself_is_refused() -> None:
    hooks = get_hooks_loop()

    async def wait_for_itself() -> Any:
        return hooks.run(_name_of_thread())

    with pytest.raises(RuntimeError, match="in jtask's own hooks thread"):
        hooks.run(wait_for_itself())


def test_a_stopped_loop_cancels_what_is_awaited_and_is_gone() -> None:
    hooks, begun, cancelled = HooksLoop("short-lived"), threading.Event(), threading.Event()

    async def wait() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    waiting = hooks.submit(wait())
    assert begun.wait(PATIENCE)
    hooks.stop()
    assert cancelled.is_set()
    assert waiting.cancelled()
    assert "short-lived" not in {thread.name for thread in threading.enumerate()}
    assert hooks.loop.is_closed()
    hooks.stop()


def test_a_process_ends_quietly_while_a_hook_is_awaited() -> None:
    code = """
import asyncio, threading
from jtask import task
from jtask.hooks import hookimpl
from jtask.plugins import get_plugins

begun = threading.Event()

class Plugin:
    @hookimpl
    async def jtask_settled(self, run):
        begun.set()
        try:
            await asyncio.sleep(600)
        finally:
            print("cancelled", flush=True)

get_plugins().add(Plugin())

@task
def plain(): ...

threading.Thread(target=plain, daemon=True).start()
begun.wait(20)
"""
    begun = time.monotonic()
    assert _program(code) == "cancelled\n"
    assert time.monotonic() - begun < PATIENCE
