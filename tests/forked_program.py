"""The program `jtask`, imported once and forked for each command.

Most of what a command costs is its imports. Where it is not what is tested but what a test needs,
to have a run or to know how one ended, only the first one pays for them.
"""

import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from programs import environment
from waiting import PATIENCE

_MODULES = (
    "jtask.cli.program",
    "jtask.client.client",
    "jtask.serialization.json_arguments",
    "jtask.tasks",
    "jtask_nats.opening",
    "uvloop",
)
_MOST = 1 << 20  # bytes of a request


class ForkedProgram:
    """The process that is forked; it starts with the first command.

    Commands come one after the other.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(
        self, arguments: tuple[str, ...], folder: Path, env: dict[str, str]
    ) -> "subprocess.CompletedProcess[str]":
        """Run one command to its end."""
        request = json.dumps({"arguments": arguments, "folder": str(folder), "env": env}).encode()
        channel = self._reach()
        with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
            socket.send_fds(channel, [request], [stdout.fileno(), stderr.fileno()])
            try:
                code = int(channel.recv(_MOST))
            except (TimeoutError, ValueError):
                self.close()
                stderr.seek(0)
                raise AssertionError(f"jtask {arguments} did not end: {stderr.read()}") from None
            for printed in (stdout, stderr):
                printed.seek(0)
            return subprocess.CompletedProcess(arguments, code, stdout.read(), stderr.read())

    def close(self) -> None:
        """End the process; it is started again if there are more commands."""
        if self._process is not None:
            self._channel.close()
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _reach(self) -> socket.socket:
        if self._process is None:
            self._channel, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._channel.settimeout(PATIENCE)
            with far:
                self._process = subprocess.Popen(
                    [sys.executable, __file__, str(far.fileno())],
                    env=environment(PYTHONDONTWRITEBYTECODE="1"),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[far.fileno()],
                    start_new_session=True,  # so that a command ends with it
                )
        return self._channel


def _be_forked(channel: socket.socket) -> None:
    """Execute commands, each in a child; return there, with all as the program finds it."""
    while True:
        request, printed, _, _ = socket.recv_fds(channel, _MOST, 2)
        if not request:
            sys.exit()
        child = os.fork()
        if not child:
            channel.close()
            _become(json.loads(request), printed)
            return
        for file in printed:
            os.close(file)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        channel.send(str(code).encode())


def _become(command: dict[str, Any], printed: list[int]) -> None:
    os.chdir(command["folder"])
    os.environ.clear()
    os.environ.update(command["env"])
    for file, number in zip(printed, (1, 2), strict=True):
        os.dup2(file, number)
        os.close(file)
    sys.path[0] = sysconfig.get_path("scripts")
    sys.argv = ["jtask", *command["arguments"]]


if __name__ == "__main__":
    for _name in _MODULES:
        importlib.import_module(_name)
    for _plugin in entry_points(group="jtask.plugins"):
        _plugin.load()
    gc.freeze()  # not to be walked, and copied by that, when a child ends
    _be_forked(socket.socket(fileno=int(sys.argv[1])))
    from jtask.cli.entry import start

    start()
