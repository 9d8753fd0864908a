"""A user's folder with code, an embedded server of its own, and real processes."""

import atexit
import json
import os
import signal
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from forked_program import ForkedProgram
from programs import environment, output_of
from waiting import PATIENCE, eventually

from jtask_nats.server.embedded import server_status, stop_server

_program = ForkedProgram()
atexit.register(_program.close)

JTASK = str(Path(sysconfig.get_path("scripts")) / "jtask")


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that is dead but unreaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def freeze(pid: int) -> None:
    """Stop a process as SIGSTOP does, and wait until it is.

    The signal is only sent: a thread that runs just now goes on for a moment, and may still answer.
    """
    os.kill(pid, signal.SIGSTOP)
    threads = list(Path(f"/proc/{pid}/task").glob("*/stat"))
    eventually(lambda: {one.read_text().rpartition(") ")[2][0] for one in threads} == {"T"})


class Program:
    """A process that runs in the background, with what it says on stderr."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                command, cwd=folder, env=env, stdout=stderr, stderr=stderr
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text()

    def says(self, text: str, times: int = 1) -> None:
        """Wait until it has said something."""

        def said() -> bool:
            assert self._process.poll() is None or self.log.count(text) >= times, self.log
            return self.log.count(text) >= times

        eventually(said)

    def is_ready(self, workers: int = 1) -> None:
        """Wait until it and its like want runs."""
        self.says("runs at once of", workers)

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def answer(self) -> Any:
        """Wait for its end and return the JSON that it printed last."""
        assert self.wait() == 0, self.log
        return json.loads(self.log.splitlines()[-1])

    def wait(self) -> int:
        return self._process.wait(timeout=PATIENCE)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.send(number)
        return self.wait()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def children(self) -> list[int]:
        """The pids of its living child processes, itself excluded, servers left out."""
        listed = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [pid for pid in map(int, listed) if "nats-server" not in _command(pid)]


class Place:
    """A folder of a user's; everything started in it shares one embedded server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.env = environment(JTASK_HOME=str(self.home), JTASK_CONNECT_TIMEOUT="30")
        self.env |= {"MARKS": str(folder / "marks"), "PYTHONDONTWRITEBYTECODE": "1"}
        self._programs: list[Program] = []

    def write(self, name: str, code: str) -> None:
        """Write a module; `mark(text)` in it appends a line to the marks."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        # In one step: who watches the folder must not see half a file.
        draft = file.with_suffix(".draft")
        draft.write_text(_PROLOGUE + textwrap.dedent(code))
        draft.replace(file)

    def marks(self) -> list[str]:
        """What the tasks have marked so far."""
        file = self.folder / "marks"
        return file.read_text().split("\n")[:-1] if file.exists() else []

    def start(self, *command: str, **env: str) -> Program:
        """Start a command in the background."""
        log = self.folder / f"program-{len(self._programs)}.log"
        program = Program(list(command), self.folder, self.env | env, log)
        self._programs.append(program)
        return program

    def start_python(self, code: str, **env: str) -> Program:
        """Start a program of a user's in the background; `answer` waits for what it prints."""
        return self.start(sys.executable, "-c", "import json\n" + textwrap.dedent(code), **env)

    def serve(self, *arguments: str, **env: str) -> Program:
        """Start `jtask serve` in the background."""
        return self.start(JTASK, "serve", *arguments, **env)

    def jtask(self, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """Run one `jtask` command to its end."""
        return subprocess.run(
            [JTASK, *arguments],
            cwd=self.folder,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def enqueue(self, *arguments: str) -> str:
        """Enqueue one run and return its id."""
        done = self._need("enqueue", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def result(self, run_id: str) -> dict[str, Any]:
        """Wait for a run's end and return what `jtask result --json` prints."""
        done = self._need("result", run_id, "--json")
        assert done.stdout, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def ask(self, code: str) -> Any:
        """Run a program of a user's and return the JSON that it prints last."""
        program = "import json\n" + textwrap.dedent(code)
        printed = output_of(sys.executable, "-c", program, folder=self.folder, env=self.env)
        return json.loads(printed.splitlines()[-1])

    def kill_server(self) -> None:
        """End the embedded server as a crash would, once it is there again after the last time."""
        status = eventually(lambda: server_status(self.home))
        assert status is not None
        assert status.pid is not None
        os.kill(status.pid, signal.SIGKILL)

    def clear(self) -> None:
        """End every process that was started here, whoever's child it has become."""
        for program in self._programs:
            program.kill()
        for pid in _processes_with(f"JTASK_HOME={self.home}"):
            if "nats-server" not in _command(pid):
                _kill(pid)
        stop_server(self.home)

    def _need(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run one `jtask` command that is not what is tested."""
        if "PYTHONPATH" in self.env:  # which a Python reads when it starts
            return self.jtask(*arguments)
        return _program.run(arguments, self.folder, self.env)


_PROLOGUE = """
import os
def mark(text):
    with open(os.environ["MARKS"], "a") as file:
        file.write(f"{text}\\n")
"""


def _processes_with(variable: str) -> list[int]:
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if variable.encode() in environment:
            found.append(int(folder.name))
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "user"
    folder.mkdir()
    place = Place(folder)
    yield place
    place.clear()


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[[Callable[[], Any]], Any]:
    return eventually


@pytest.fixture(name="is_alive")
def is_alive_fixture() -> Callable[[int], bool]:
    return is_alive
