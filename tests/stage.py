"""Attempts of real workers that end when a test says so: for models of plugins on a real server.

The stage is a folder. An attempt that executes holds the lock of a file in it; the kernel frees
that when its process dies. So everybody can see who executes, killed workers left out.
"""

import asyncio
import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from waiting import eventually

from jtask import Run, runtime

TESTS = Path(__file__).parent


class Stage:
    """Who executes, and when they end.

    Args:
        folder: Where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def perform(self, label: str, check: Callable[[], str | None]) -> None:
        """Execute until the test says how it ends; in a task.

        Args:
            label: What acts here, without a dot.
            check: Called before it counts as acting, one attempt at a time; says what is wrong.

        Raises:
            ValueError: The test wants it to fail.
        """
        with self._locked(self.folder / f"{label}.{runtime.run_id}.acting", check):
            cue = self.folder / f"{runtime.run_id}.cue"
            while not (cue.exists() or (self.folder / "released").exists()):
                await asyncio.sleep(0.01)
            fails = cue.exists() and cue.read_text() == "fail"
            cue.unlink(missing_ok=True)
        if fails:
            raise ValueError("boom")

    def acting(self) -> list[tuple[str, str]]:
        """Return the label and the run of each attempt that executes."""
        return [
            (name[0], name[1])
            for file in self.folder.glob("*.acting")
            if _is_locked(file) and (name := file.name.split("."))
        ]

    def end(self, run_id: str, *, succeeds: bool) -> None:
        """Let an attempt end, and wait until it has."""
        draft = self.folder / f"{run_id}.draft"
        draft.write_text("succeed" if succeeds else "fail")
        cue = draft.rename(draft.with_suffix(".cue"))
        eventually(lambda: not cue.exists())

    def release(self) -> None:
        """Let all attempts succeed from now on."""
        (self.folder / "released").touch()

    def problems(self) -> list[str]:
        """Return what the checks have found."""
        file = self.folder / "problems"
        return file.read_text().splitlines() if file.exists() else []

    @contextlib.contextmanager
    def _locked(self, file: Path, check: Callable[[], str | None]) -> Iterator[None]:
        with file.open("a") as acting:
            with (self.folder / "turn").open("a") as turn:
                fcntl.flock(turn, fcntl.LOCK_EX)
                if (problem := check()) is not None:
                    with (self.folder / "problems").open("a") as problems:
                        problems.write(f"{problem}\n")
                fcntl.flock(acting, fcntl.LOCK_EX)
            yield


def _is_locked(file: Path) -> bool:
    with file.open("r") as other:
        try:
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class Workers:
    """Processes that serve a module of this folder, two of them at any time.

    Args:
        module: Its name.
        stage: Where its tasks act.
    """

    def __init__(self, module: str, stage: Stage) -> None:
        self._command = [sys.executable, "-m", "jtask.cli", "serve", module, "-c", "100"]
        self._stage = stage
        self._living: list[subprocess.Popen[bytes]] = []
        for _ in range(2):
            self._start()

    def kill(self, number: int) -> None:
        """End one as a crash would, and start another one."""
        _kill(self._living.pop(number))
        self._start()

    def close(self) -> None:
        """End all."""
        for one in self._living:
            _kill(one)

    def _start(self) -> None:
        env = os.environ | {"STAGE": str(self._stage.folder), "PYTHONPATH": str(TESTS)}
        with (self._stage.folder / "workers.log").open("ab") as log:
            self._living.append(
                subprocess.Popen(self._command, cwd=TESTS, env=env, stdout=log, stderr=log)
            )


def is_over(run: Run[Any]) -> bool:
    """Tell whether a run has ended; asks, where that is not known here."""
    return run.done() or run.state.is_final()


def stage_of_worker() -> Stage:
    """Return the stage of the worker that this is."""
    return Stage(Path(os.environ["STAGE"]))


def _kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
