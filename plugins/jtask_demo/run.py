"""The demo itself: enqueue, work, kill, collect."""

import asyncio
import os
import platform
import signal
import time
from collections.abc import AsyncIterator, Callable

from jtask.runs import Run
from jtask_demo import report
from jtask_demo.analysis import ModuleFacts
from jtask_demo.environment import DemoEnvironment
from jtask_demo.library import Module
from jtask_demo.progress import Progress
from jtask_demo.report import Report
from jtask_demo.tasks import analyse, read_journal

_KILL_AFTER = 0.4  # of the runs have ended: both workers are busy then, and have enough left to do
_CHECK_SECONDS = 0.5  # between two looks whether the workers live
ModuleRun = Run[ModuleFacts]


async def run_demo(
    environment: DemoEnvironment, modules: list[Module], workers: int, progress: Progress
) -> Report:
    """Measure modules in the background and kill a worker in the middle.

    Args:
        environment: Where it runs.
        modules: What to measure, one run each.
        workers: How many processes, at least two.
        progress: Shows how it goes.

    Returns:
        Report: What was measured, and what the kill did.

    Raises:
        JTaskError: The workers do not work.
    """
    journal = str(environment.journal)
    clock = time.perf_counter()
    runs = await analyse.adelay_many([(m.name, str(m.path), journal) for m in modules])
    enqueue_seconds = time.perf_counter() - clock
    progress.say(f"{len(runs)} runs are stored; starting {workers} workers")
    pids = [environment.start_worker() for _ in range(workers)]
    victim, held = await _work(environment, runs, pids, progress)
    notes = read_journal(environment.journal)
    facts, failed = await _results(modules, runs)
    return Report(
        python=platform.python_version(),
        workers=workers,
        runs=len(runs),
        lost=sum(not run.done() for run in runs),
        enqueue_seconds=enqueue_seconds,
        seconds=_duration(runs),
        library=report.library(facts),
        crash=None if victim is None else report.crash(notes, victim, held),
        failed=failed,
    )


async def _work(
    environment: DemoEnvironment, runs: list[ModuleRun], pids: list[int], progress: Progress
) -> tuple[int | None, int]:
    """Wait for all ends, and kill a worker on the way; return its pid and what it was doing."""
    # Tried at each end until it succeeds: at that moment all workers may be between two runs.
    victim, held, ended = None, 0, 0
    async for _ in _ends(runs, environment.check_workers):
        ended += 1
        progress.advance(ended, len(runs))
        if victim is None and ended >= _KILL_AFTER * len(runs):
            victim, held = _kill_one(environment, pids)
            if victim is not None:
                progress.say(f"killed worker {victim} (SIGKILL) while it executed {held} runs")
    return victim, held


def _kill_one(environment: DemoEnvironment, pids: list[int]) -> tuple[int | None, int]:
    """Kill a worker that is executing something; None when there is none at the moment."""
    for pid in pids:
        # Frozen first, so that what it does is known when it dies: its journal does not move on
        # between being read and the kill.
        os.kill(pid, signal.SIGSTOP)
        held = len(report.executing(read_journal(environment.journal), pid))
        if held:
            environment.kill_worker(pid)
            return pid, held
        os.kill(pid, signal.SIGCONT)
    return None, 0


async def _ends(runs: list[ModuleRun], check: Callable[[], None]) -> AsyncIterator[ModuleRun]:
    """Yield runs as they end; call the check from time to time."""
    ended: asyncio.Queue[ModuleRun] = asyncio.Queue()

    async def wait_for(run: ModuleRun) -> None:
        await run.wait_async()
        ended.put_nowait(run)

    waits = [asyncio.create_task(wait_for(run)) for run in runs]
    try:
        for _ in runs:
            while True:
                check()
                try:
                    run = await asyncio.wait_for(ended.get(), _CHECK_SECONDS)
                    break
                except TimeoutError:
                    continue
            yield run
    finally:
        for wait in waits:
            wait.cancel()


async def _results(
    modules: list[Module], runs: list[ModuleRun]
) -> tuple[list[ModuleFacts], list[tuple[str, str]]]:
    facts: list[ModuleFacts] = []
    failed: list[tuple[str, str]] = []
    for module, run in zip(modules, runs, strict=True):
        try:
            facts.append(await run.result_async())
        except Exception as error:  # whatever the task raised
            failed.append((module.name, f"{type(error).__name__}: {error}"))
    return facts, failed


def _duration(runs: list[ModuleRun]) -> float:
    begins = [run.start_time for run in runs if run.start_time is not None]
    ends = [run.end_time for run in runs if run.end_time is not None]
    return max(ends) - min(begins) if begins and ends else 0.0
