"""What the demo runs on and takes down again: a temporary folder, a server, workers."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

from jtask.client import close_client
from jtask.client.opening import find_unshared
from jtask.errors import ConfigurationError, JTaskError
from jtask.settings import get_settings

_PROGRAM = (sys.executable, "-m", "jtask.cli")
_CONCURRENCY = 4
_LEASE_SECONDS = 2  # until another worker gets the killed one's runs, with somebody watching
_KEPT_SECONDS = 600  # on a broker that is not ours, what the demo leaves goes by itself
_STOP_SECONDS = 10.0  # for a worker to finish its runs, each of which takes milliseconds
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LOG_TAIL = 2000  # characters


class DemoEnvironment:
    """A context that leaves nothing behind, however it is left.

    Inside it this process and its workers use a namespace of their own, on the broker that
    JTASK_URL names or else on a server of their own.

    Attributes:
        folder: Temporary, for all files.
        journal: The folder where the workers note what they do.

    Raises:
        ConfigurationError: The broker cannot be shared by several processes.
    """

    def __init__(self) -> None:
        self._own_server = False
        self._workers: list[subprocess.Popen[bytes]] = []
        self._before: dict[str, str] = {}

    def __enter__(self) -> Self:
        url = get_settings().url
        if find_unshared(url) is not None:
            raise ConfigurationError(
                "the demo needs a broker that several processes can share: "
                "unset JTASK_URL, or set it to a server"
            )
        self._own_server = url.startswith("embedded:")
        self.folder = Path(tempfile.mkdtemp(prefix="jtask-demo-"))
        self.journal = self.folder / "journal"
        self.journal.mkdir()
        # The environment, for it reaches this process's settings, the workers and the server alike.
        self._before = dict(os.environ)
        os.environ.update(self._environment(url))
        get_settings.cache_clear()
        return self

    def __exit__(self, *_: object) -> None:
        # A second signal must not leave half of it behind.
        before = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
        try:
            self._stop_workers()
            # Before the server ends: a client that loses it would start it again.
            close_client()
            if self._own_server:
                self._stop_server()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._restore_environment()
            for number, handler in before.items():
                signal.signal(number, handler)

    def start_worker(self) -> int:
        """Start a worker process and return its pid."""
        target = "jtask_demo.tasks:analyse"
        # In a session of its own, so that Ctrl-C reaches the demo alone and it decides.
        worker = subprocess.Popen(
            [*_PROGRAM, "serve", target, f"--concurrency={_CONCURRENCY}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log(len(self._workers)).open("wb"),
            start_new_session=True,
        )
        self._workers.append(worker)
        return worker.pid

    def kill_worker(self, pid: int) -> None:
        """End a worker at once, as a crash would."""
        for worker in self._workers:
            if worker.pid == pid:
                worker.kill()
                worker.wait()

    def check_workers(self) -> None:
        """See to it that somebody works.

        Raises:
            JTaskError: All workers have ended, with what the last one said.
        """
        if any(worker.poll() is None for worker in self._workers):
            return
        said = self._log(len(self._workers) - 1).read_text(errors="replace")[-_LOG_TAIL:].strip()
        raise JTaskError(f"all workers exited; last output: {said or 'nothing'}")

    def _environment(self, url: str) -> dict[str, str]:
        home = {"JTASK_HOME": str(self.folder / "server")} if self._own_server else {}
        return home | {
            "JTASK_URL": url,
            "JTASK_RESULTS_URL": url,
            "JTASK_NAMESPACE": "jtask-demo",
            # What the user has set for their own programs must not change what is shown.
            "JTASK_LEASE": str(_LEASE_SECONDS),
            "JTASK_MAX_CRASHES": "3",
            "JTASK_SERIALIZER": "json",
            "JTASK_RESULT_TTL": str(_KEPT_SECONDS),
            "JTASK_EVENT_TTL": str(_KEPT_SECONDS),
        }

    def _restore_environment(self) -> None:
        os.environ.clear()
        os.environ.update(self._before)
        get_settings.cache_clear()

    def _log(self, number: int) -> Path:
        return self.folder / f"worker-{number}.log"

    def _stop_workers(self) -> None:
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(_STOP_SECONDS)
            worker.kill()
            worker.wait()

    def _stop_server(self) -> None:
        subprocess.run(
            [*_PROGRAM, "server", "stop"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=3 * _STOP_SECONDS,
            check=False,
        )
