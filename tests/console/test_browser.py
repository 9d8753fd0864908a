"""The console in a real browser: what people see and do."""

import threading
from typing import Any

import pytest
from chromium_console import (
    ConsoleProcess,
    OpenTab,
    chromium,
    console,
    jtask_broker,
    open_tab,
    server,
    variables,
)
from in_process import StartWorker, on_io
from nats_servers import start_nats
from parcels import calls, go_on, is_wrong, parcel, slow
from waiting import PATIENCE, eventually

from jtask.client import get_client
from jtask.contract import Broker, Event
from jtask.ids import RunIds
from jtask_dead_letters.operations import list_letters

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]
__all__ = ["chromium", "console", "jtask_broker", "open_tab", "server", "start_nats", "variables"]

PAGES = ("/", "/runs", "/failures", "/queues", "/workers", "/schedules", "/limits")
PAGES = (*PAGES, "/dead-letters", "/audit")


def shown(tab: Any, text: str) -> Any:
    return playwright.expect(tab.locator("main")).to_contain_text(text)


def agree(tab: Any) -> None:
    """Say yes, and wait for the page after it: which one depends on how long the action takes."""
    tab.locator("#ask [data-yes]").click()
    playwright.expect(tab.locator("p.said")).to_be_visible()


def test_a_run_appears_changes_and_ends_and_the_page_asks_for_nothing(
    open_tab: OpenTab, jtask_worker: StartWorker
) -> None:
    jtask_worker(slow)
    tab = open_tab("/runs")
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    run = slow.delay()
    row = tab.locator(f"#run-{run.run_id}")
    playwright.expect(row).to_contain_text("Running")
    go_on.set()
    playwright.expect(row).to_contain_text("Completed")
    assert asked == []


def test_runs_are_filtered_cancelled_and_run_again(
    open_tab: OpenTab, jtask_worker: StartWorker
) -> None:
    jtask_worker(parcel)
    for name in ("Ada", "Bob", "Ada"):
        parcel.delay(name).result(PATIENCE)
    waiting = slow.delay()
    tab = open_tab("/runs")
    playwright.expect(tab.locator("tr[data-row]")).to_have_count(4)
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
    agree(tab)
    tab.goto(f"/runs/{waiting.run_id}")
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
    agree(tab)
    tab.goto("/audit")
    shown(tab, "1\u202f000")
    eventually(lambda: sum(calls.values()) == 2000)
    assert set(calls.values()) == {2}
    # Each goes once its run is queued again, which may execute sooner.
    eventually(lambda: list_letters() == [])


def test_times_are_never_shown_as_the_server_wrote_them(
    open_tab: OpenTab, jtask_worker: StartWorker
) -> None:
    jtask_worker(parcel)
    is_wrong.set()
    # As many as the page has room for: what comes next changes texts and adds no rows.
    for n in range(8):
        parcel.delay(str(n)).wait(PATIENCE)
    tab = open_tab("/")
    playwright.expect(tab.locator("#failed time")).to_have_count(8)
    tab.evaluate(
        """() => {
            window.raw = new Set();
            const look = () => {
                for (const one of document.querySelectorAll("time"))
                    if (one.textContent.includes("UTC")) window.raw.add(one.outerHTML);
                requestAnimationFrame(look);
            };
            look();
        }"""
    )
    for n in range(8):
        run = parcel.delay(str(n))
        link = tab.locator(f"#failed a[href$='{run.run_id}']")
        playwright.expect(link).to_be_visible()
    assert tab.evaluate("[...window.raw]") == []


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
    playwright.expect(tab.locator(f"#run-{last}")).to_be_visible()
    elements, _ = size()
    memory = console.memory
    last = flood(15)
    playwright.expect(tab.locator(f"#run-{last}")).to_be_visible()
    assert size()[0] <= elements + 50
    assert size()[1] < 64 << 20
    print(f"console: {memory} MiB after 20,000 events, {console.memory} MiB after 170,000")
    assert console.memory < memory + 100


def test_keys_move_open_and_explain(open_tab: OpenTab) -> None:
    runs = [slow.delay() for _ in range(3)]
    tab = open_tab("/runs")
    playwright.expect(tab.locator("tr[data-row]")).to_have_count(3)
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
    playwright.expect(tab.locator("tr[data-row]")).to_have_count(3)
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
    playwright.expect(tab.locator("tr[data-row]")).to_have_count(1)
    for path in (*PAGES, f"/runs/{run.run_id}"):
        tab.goto(path)
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= width, path
