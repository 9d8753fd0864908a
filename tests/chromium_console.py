"""`jtask console` as a process, and its pages in Debian's Chromium."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_ports
from nats_servers import NatsServer, StartNats
from programs import environment
from waiting import PATIENCE

from jtask.client import close_client
from jtask.settings import get_settings

playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MILLISECONDS = PATIENCE * 1000
OpenTab = Callable[..., Any]
# Of five seconds, Playwright's default, a busy machine needs all.
playwright.expect.set_options(timeout=MILLISECONDS)


@pytest.fixture
def server(
    start_nats: StartNats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[NatsServer]:
    server = start_nats()
    monkeypatch.setenv("JTASK_URL", server.url)
    monkeypatch.setenv("JTASK_HOME", str(tmp_path))
    close_client()
    get_settings.cache_clear()
    yield server
    close_client()
    get_settings.cache_clear()


@pytest.fixture
def jtask_broker(server: NatsServer) -> str:
    return server.url


class ConsoleProcess:
    """`jtask console`, that keeps its port over restarts."""

    def __init__(self, url: str, home: Path, **variables: str) -> None:
        (self.port,) = free_ports()
        self._variables = {"JTASK_URL": url, "JTASK_HOME": str(home), **variables}
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = (sys.executable, "-m", "jtask.cli", "console", "--port", str(self.port))
        self.process = subprocess.Popen(
            command, env=environment(**self._variables), stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert b"jtask console:" in self.process.stdout.readline()

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def restart(self) -> None:
        self.kill()
        self.start()

    def end(self, number: int) -> None:
        """Send it a signal, and wait for its end."""
        self.process.send_signal(number)
        self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def memory(self) -> int:
        """What it has in memory, in MiB."""
        [line] = [
            line
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
            if line.startswith("VmRSS")
        ]
        return int(line.split()[1]) // 1024


@pytest.fixture
def variables() -> dict[str, str]:
    """The settings of the console."""
    return {}


@pytest.fixture
def console(
    server: NatsServer, tmp_path: Path, variables: dict[str, str]
) -> Iterator[ConsoleProcess]:
    console = ConsoleProcess(server.url, tmp_path, **variables)
    console.start()
    yield console
    console.kill()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_tab(chromium: Any, console: ConsoleProcess) -> Iterator[OpenTab]:
    """Open pages; none of them may complain of anything."""
    complaints: list[str] = []
    contexts: list[Any] = []

    def open_one(path: str, prepare: Callable[[Any], object] | None = None, **options: Any) -> Any:
        context = chromium.new_context(base_url=console.url, **options)
        contexts.append(context)
        context.set_default_timeout(MILLISECONDS)
        tab = context.new_page()
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("console", lambda said: complaints.append(said.text))
        if prepare is not None:
            prepare(tab)
        tab.goto(path)
        light_says(tab, "live")
        return tab

    yield open_one
    for context in contexts:
        context.close()
    # A connection that was lost is told of; a policy that was broken would be, too.
    assert [one for one in complaints if not _is_about_a_lost_connection(one)] == []


def _is_about_a_lost_connection(complaint: str) -> bool:
    lost = ("net::ERR", "htmx:sse:error", "htmx:error", "Failed to load resource")
    return any(one in complaint for one in lost)


def light_says(tab: Any, text: str) -> None:
    playwright.expect(tab.locator("[data-live-text]")).to_have_text(text)
