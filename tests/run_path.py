"""Print the files that one background run passes: `python tests/run_path.py`.

It enqueues a run on an embedded server of its own, executes it in a worker of this process and
waits for the result, with a profiler in every thread.
"""

import os
import sys
import tempfile
import threading
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
SOURCES = tuple(str(ROOT / folder) for folder in ("core", "brokers", "plugins"))


class Call(NamedTuple):
    """A function of jtask that was called, and in which thread."""

    thread: str
    file: str


class Recorder:
    """Note each call of one of jtask's functions, in all threads that are started from now on."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.is_on = False
        threading.setprofile(self._profile)

    def start(self) -> None:
        """Begin."""
        sys.setprofile(self._profile)
        self.is_on = True

    def stop(self) -> None:
        """End."""
        self.is_on = False
        sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, argument: object) -> None:
        file = frame.f_code.co_filename
        if self.is_on and event == "call" and file.startswith(SOURCES):
            name = threading.current_thread().name
            self.calls.append(Call(name, str(Path(file).relative_to(ROOT))))


def describe(title: str, calls: Iterable[Call]) -> None:
    """Print the files of some calls in the order in which they are first entered."""
    files = [call.file for call in calls]
    changes = sum(one != other for one, other in pairwise(files))
    print(f"{title}: {len(set(files))} files, {changes} changes from one to another")
    for file in dict.fromkeys(files):
        print(f"  {file}")


def main() -> None:
    """Execute one run and print its way."""
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(JTASK_HOME=home, JTASK_URL="embedded://")
        recorder = Recorder()
        _run(recorder)
        from jtask_nats.server.embedded import stop_server

        stop_server()


def _run(recorder: Recorder) -> None:
    from jtask import task
    from jtask.client import close_client
    from jtask.testing import run_worker

    @task
    def add(a: int, b: int) -> int:
        return a + b

    with run_worker(add):
        # The first ones connect, make streams, build codecs.
        for _ in range(3):
            add.delay(1, 2).result(timeout=30)
        recorder.start()
        run = add.delay(1, 2)
        sent = len(recorder.calls)
        run.result(timeout=30)
        recorder.stop()
    close_client()
    caller = threading.current_thread().name
    out = [call for call in recorder.calls[:sent] if call.thread == caller]
    back = [call for call in recorder.calls if call.thread != caller]
    describe("from .delay() to the socket", out)
    describe("from the socket through the worker to the outcome and its waiter", back)


if __name__ == "__main__":
    main()
