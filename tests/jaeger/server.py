"""A real Jaeger on 127.0.0.1, built by build.sh, for tests that read traces back."""

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from free_ports import free_ports

BUILD = Path(__file__).parent / "build.sh"
_START_SECONDS = 30.0
_ASK_SECONDS = 5.0
_TRIES = 3  # at ports that somebody else may take between the choice and the start


class Jaeger:
    """A Jaeger v2 that keeps its traces in memory.

    Args:
        binary: What to start.
        folder: For its configuration and its log.
    """

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary = binary
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._otlp = self._query = 0

    @property
    def otlp_url(self) -> str:
        """Where an exporter sends to: the value of OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self._otlp}"

    @property
    def query_url(self) -> str:
        """Where the API and the web pages are."""
        return f"http://127.0.0.1:{self._query}"

    def start(self) -> None:
        """Start it, and wait until it takes spans and answers."""
        for _ in range(_TRIES):
            self._otlp, self._query, grpc = free_ports(3)
            # JSON is YAML too.
            config = self._folder / "jaeger.yaml"
            config.write_text(json.dumps(_config(self._otlp, self._query, grpc)))
            with (self._folder / "jaeger.log").open("wb") as log:
                self._process = subprocess.Popen(
                    [self._binary, "--config", config], stdout=log, stderr=log
                )
            if self._is_ready():
                return
            self.stop()
        raise AssertionError((self._folder / "jaeger.log").read_text())

    def stop(self) -> None:
        """End it; it keeps nothing, and would wait for exporters that stay connected."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, path: str) -> Any:
        """Return the JSON that the API has under a path; None when it knows nothing of that."""
        try:
            with urllib.request.urlopen(self.query_url + path, timeout=_ASK_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return None
                raise

    def _is_ready(self) -> bool:
        assert self._process is not None
        give_up = time.monotonic() + _START_SECONDS
        while time.monotonic() < give_up and self._process.poll() is None:
            # The API answers, and the port for spans is open.
            with contextlib.suppress(OSError):
                self.ask("/api/services")
                socket.create_connection(("127.0.0.1", self._otlp), timeout=1).close()
                return self._process.poll() is None
            time.sleep(0.02)
        return False


@contextlib.contextmanager
def running_jaeger(folder: Path) -> Iterator[Jaeger]:
    """Build Jaeger unless that is done, start one, and stop it at the end.

    Args:
        folder: For its files.
    """
    built = subprocess.run([BUILD], stdout=subprocess.PIPE, text=True, check=True, env=os.environ)
    jaeger = Jaeger(Path(built.stdout.strip()), folder)
    jaeger.start()
    try:
        yield jaeger
    finally:
        jaeger.stop()


def _config(otlp: int, query: int, grpc: int) -> dict[str, Any]:
    return {
        "service": {
            "extensions": ["jaeger_storage", "jaeger_query"],
            "pipelines": {
                "traces": {"receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"]}
            },
            # Its own metrics would want one more port.
            "telemetry": {"metrics": {"level": "none"}},
        },
        "extensions": {
            "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": 100_000}}}},
            "jaeger_query": {
                "storage": {"traces": "memory"},
                "http": {"endpoint": f"127.0.0.1:{query}"},
                "grpc": {"endpoint": f"127.0.0.1:{grpc}"},
            },
        },
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{otlp}"}}}},
        "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
    }
