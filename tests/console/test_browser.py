"""The console in a real browser: Debian's Chromium."""

import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from in_process import StartWorker, on_io
from nats_servers import NatsServer, StartNats, start_nats
from programs import environment
from waiting import PATIENCE, eventually

from jtask import task
from jtask.client import close_client, get_client
from jtask.contract import Broker, Event
from jtask.ids import RunIds
from jtask.settings import get_settings
from jtask_dead_letters.operations import list_letters

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]
__all__ = ["start_nats"]

CHROMIUM = "/usr/bin/chromium"
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
PAGES = ("/", "/runs", "/failures", "/queues", "/workers", "/schedules", "/limits")
PAGES = (*PAGES, "/dead-letters", "/audit")
go_on = threading.Event()
is_wrong = threading.Event()
calls: Counter[str] = Counter()


@task(queue="parcels")
def parcel(to: str, weight: int = 1) -> str:
    calls[to] += 1
    if is_wrong.is_set():
        raise ConnectionError("the road is closed")
    return to


@task(queue="slow")
def slow() -> None:
    go_on.wait(PATIENCE)


@pytest.fixture(autouse=True)
def _as_at_first() -> None:
    go_on.clear()
    is_wrong.clear()
    calls.clear()


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

    def __init__(self, url: str, home: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._variables = {"JTASK_URL": url, "JTASK_HOME": str(home)}
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
def console(server: NatsServer, tmp_path: Path) -> Iterator[ConsoleProcess]:
    console = ConsoleProcess(server.url, tmp_path)
    console.start()
    yield console
    console.kill()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


OpenTab = Callable[..., Any]


@pytest.fixture
def open_tab(chromium: Any, console: ConsoleProcess) -> Iterator[OpenTab]:
    """Open pages; none of them may complain of anything."""
    complaints: list[str] = []
    contexts: list[Any] = []

    def open_one(path: str, **options: Any) -> Any:
        context = chromium.new_context(base_url=console.url, **options)
        contexts.append(context)
        context.set_default_timeout(MILLISECONDS)
        tab = context.new_page()
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("console", lambda said: complaints.append(said.text))
        tab.goto(path)
        tab.locator("#live[data-state=on]").wait_for()
        return tab

    yield open_one
    for context in contexts:
        context.close()
    # A connection that was lost is told of; a policy that was broken would be, too.
    assert [one for one in complaints if not _is_about_a_lost_connection(one)] == []


def _is_about_a_lost_connection(complaint: str) -> bool:
    return "net::ERR" in complaint or "htmx:sse:error" in complaint


def shown(tab: Any, text: str) -> Any:
    return playwright.expect(tab.locator("main")).to_contain_text(text, timeout=MILLISECONDS)


def test_a_run_appears_changes_and_ends_and_the_page_asks_for_nothing(
    open_tab: OpenTab, jtask_worker: StartWorker
) -> None:
    jtask_worker(slow)
    tab = open_tab("/runs")
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    run = slow.delay()
    row = tab.locator(f"#run-{run.run_id}")
    playwright.expect(row).to_contain_text("Running", timeout=MILLISECONDS)
    go_on.set()
    playwright.expect(row).to_contain_text("Completed", timeout=MILLISECONDS)
    assert asked == []


def test_runs_are_filtered_cancelled_and_run_again(
    open_tab: OpenTab, jtask_worker: StartWorker
) -> None:
    jtask_worker(parcel)
    for name in ("Ada", "Bob", "Ada"):
        parcel.delay(name).result(PATIENCE)
    waiting = slow.delay()
    tab = open_tab("/runs")
    playwright.expect(tab.locator("tr[data-row]")).to_have_count(4, timeout=MILLISECONDS)
    tab.get_by_label("Condition").fill("args.to=Ada")
    tab.keyboard.press("Enter")
    playwright.expect(tab.locator("tr[data-row]")).to_have_count(2)
    assert "where=args.to%3DAda" in tab.url
    assert "text=" not in tab.url
    tab.goto(f"/runs/{waiting.run_id}")
    tab.get_by_role("button", name="Cancel").click()
    tab.get_by_role("button", name="Keep").click()
    assert not waiting.state.is_final()
    tab.get_by_role("button", name="Cancel").click()
    tab.locator("#ask [data-yes]").click()
    shown(tab, "Cancelled")
    assert waiting.state.is_cancelled()
    tab.goto("/runs?where=args.to%3DBob")
    tab.locator("a.main").click()
    tab.get_by_role("link", name="Run again").click()
    tab.get_by_label("Arguments").fill('{"to": "Eve", "weight": 2}')
    tab.get_by_role("button", name="Run again").click()
    eventually(lambda: calls["Eve"] == 1)


def test_a_thousand_dead_letters_are_replayed_by_one_click(
    open_tab: OpenTab, jtask_worker: StartWorker
) -> None:
    jtask_worker(parcel, concurrency=20)
    is_wrong.set()
    parcel.delay_many([(str(n),) for n in range(1000)])
    eventually(lambda: len(list_letters()) == 1000)
    is_wrong.clear()
    tab = open_tab("/dead-letters")
    tab.get_by_role("button", name="Replay").click()
    playwright.expect(tab.locator("#ask-text")).to_contain_text("Replay 1\u202f000 dead letters")
    tab.locator("#ask [data-yes]").click()
    tab.wait_for_url("**/audit")
    shown(tab, "1\u202f000")
    eventually(lambda: sum(calls.values()) == 2000)
    assert set(calls.values()) == {2}
    assert list_letters() == []


def test_an_open_page_goes_on_with_the_next_console_and_the_next_server(
    open_tab: OpenTab, console: ConsoleProcess, server: NatsServer
) -> None:
    tab = open_tab("/runs")
    console.kill()
    missed = slow.delay()
    console.start()
    playwright.expect(tab.locator(f"#run-{missed.run_id}")).to_be_visible(timeout=MILLISECONDS)
    server.kill()
    server.start()
    later = slow.delay()
    playwright.expect(tab.locator(f"#run-{later.run_id}")).to_be_visible(timeout=MILLISECONDS)


def test_a_page_under_a_flood_stays_as_small_as_it_was(
    open_tab: OpenTab, console: ConsoleProcess
) -> None:
    tab = open_tab("/runs")
    ids, client = RunIds(), get_client()

    def flood(seconds: int) -> str:
        """Write 10,000 events a second, of runs that end; return the last run."""
        last = ""
        for _ in range(seconds * 10):
            pause = threading.Event()
            new = ids.new_many(250)
            last = new[-1]

            async def send(broker: Broker, new: list[str] = new) -> None:
                for state in ("Scheduled", "Pending", "Running", "Completed"):
                    broker.events.append(
                        [Event(one, state, 1.9e9, "flood", queue="flood") for one in new]
                    )

            on_io(send)
            pause.wait(0.1)
        return last

    def size() -> tuple[int, int]:
        return tab.evaluate(
            "[document.querySelectorAll('*').length, performance.memory.usedJSHeapSize]"
        )

    assert client.broker is not None
    last = flood(2)
    playwright.expect(tab.locator(f"#run-{last}")).to_be_visible(timeout=MILLISECONDS)
    elements, _ = size()
    memory = console.memory
    last = flood(15)
    playwright.expect(tab.locator(f"#run-{last}")).to_be_visible(timeout=MILLISECONDS)
    assert size()[0] <= elements + 50
    assert size()[1] < 64 << 20
    print(f"console: {memory} MiB after 20,000 events, {console.memory} MiB after 170,000")
    assert console.memory < memory + 100


def test_a_tab_in_the_background_is_left_alone_and_catches_up(
    open_tab: OpenTab, console: ConsoleProcess
) -> None:
    tab = open_tab("/runs")
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    hide += "document.dispatchEvent(new Event('visibilitychange'))"
    tab.evaluate(hide % "true")
    run = slow.delay()
    other = open_tab("/runs")
    playwright.expect(other.locator(f"#run-{run.run_id}")).to_be_visible(timeout=MILLISECONDS)
    assert tab.locator(f"#run-{run.run_id}").count() == 0
    tab.evaluate(hide % "false")
    playwright.expect(tab.locator(f"#run-{run.run_id}")).to_be_visible(timeout=MILLISECONDS)


def test_keys_move_open_and_explain(open_tab: OpenTab) -> None:
    runs = [slow.delay() for _ in range(3)]
    tab = open_tab("/runs")
    playwright.expect(tab.locator("tr[data-row]")).to_have_count(3, timeout=MILLISECONDS)
    for key in ("j", "j", "j", "k", "x"):
        tab.keyboard.press(key)
    playwright.expect(tab.locator("#selection")).to_contain_text("1 selected")
    tab.keyboard.press("?")
    assert tab.locator("#keys").is_visible()
    tab.keyboard.press("Escape")
    tab.keyboard.press("/")
    assert tab.evaluate("document.activeElement.name") == "text"
    tab.keyboard.press("Escape")
    tab.keyboard.press("j")
    tab.keyboard.press("Enter")
    tab.wait_for_url(f"**/runs/{runs[2].run_id}")
    tab.keyboard.press("g")
    tab.keyboard.press("q")
    tab.wait_for_url("**/queues")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_hinders_anybody(scheme: str, open_tab: OpenTab, jtask_worker: StartWorker) -> None:
    jtask_worker(parcel)
    ok = parcel.delay("Ada", 3)
    ok.result(PATIENCE)
    is_wrong.set()
    wrong = parcel.delay("Bob")
    wrong.wait(PATIENCE)
    slow.delay()
    tab = open_tab("/runs", color_scheme=scheme)
    playwright.expect(tab.locator("tr[data-row]")).to_have_count(3, timeout=MILLISECONDS)
    for path in (*PAGES, f"/runs/{ok.run_id}", f"/runs/{wrong.run_id}", f"/runs/{ok.run_id}/again"):
        tab.goto(path)
        found = axe.Axe().run(tab).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert serious == [], f"{path}: {[(one['id'], one['nodes'][0]['html']) for one in serious]}"


@pytest.mark.parametrize("width", [400, 2000])
def test_nothing_is_cut_off(width: int, open_tab: OpenTab, jtask_worker: StartWorker) -> None:
    jtask_worker(parcel)
    run = parcel.delay("a-name-that-is-much-too-long-" * 5)
    run.result(PATIENCE)
    tab = open_tab("/runs", viewport={"width": width, "height": 800})
    playwright.expect(tab.locator("tr[data-row]")).to_have_count(1, timeout=MILLISECONDS)
    for path in (*PAGES, f"/runs/{run.run_id}"):
        tab.goto(path)
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= width, path


def test_a_signal_ends_the_console_although_a_page_is_open(
    open_tab: OpenTab, console: ConsoleProcess
) -> None:
    open_tab("/runs")
    console.end(signal.SIGTERM)
    assert console.process.returncode in (0, -signal.SIGTERM)
    console.start()
