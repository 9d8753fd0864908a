"""Open pages in a real browser, while what is behind them comes and goes."""

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from chromium_console import (
    ConsoleProcess,
    OpenTab,
    chromium,
    console,
    jtask_broker,
    light_says,
    open_tab,
    server,
    variables,
)
from nats_servers import NatsServer, start_nats
from parcels import slow
from waiting import PATIENCE

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]
__all__ = ["chromium", "console", "jtask_broker", "open_tab", "server", "start_nats", "variables"]


def test_an_open_page_goes_on_with_the_next_console_and_the_next_server(
    open_tab: OpenTab, console: ConsoleProcess, server: NatsServer
) -> None:
    tab = open_tab("/runs")
    console.kill()
    missed = slow.delay()
    console.start()
    playwright.expect(tab.locator(f"#run-{missed.run_id}")).to_be_visible()
    server.kill()
    server.start()
    later = slow.delay()
    playwright.expect(tab.locator(f"#run-{later.run_id}")).to_be_visible()


@pytest.mark.parametrize(
    "answer",
    [
        lambda route: route.abort("connectionreset"),
        lambda route: route.fulfill(status=503),
        lambda route: route.fulfill(content_type="text/html", body="<p>Who are you?</p>"),
    ],
    ids=["none", "unavailable", "of another server"],
)
def test_a_page_whose_first_connection_fails_becomes_live_by_itself(
    answer: Callable[[Any], object], open_tab: OpenTab
) -> None:
    refused: list[Any] = []

    def refuse_twice(route: Any) -> None:
        refused.append(route)
        answer(route) if len(refused) < 3 else route.continue_()

    tab = open_tab("/runs", lambda tab: tab.route("**/live/**", refuse_twice))
    assert len(refused) >= 3
    run = slow.delay()
    playwright.expect(tab.locator(f"#run-{run.run_id}")).to_be_visible()


def test_a_connection_that_the_extension_gives_up_is_made_anew(
    open_tab: OpenTab, console: ConsoleProcess
) -> None:
    tab = open_tab("/runs")
    give_up = "document.addEventListener('htmx:sse:before:connection', %s, {once: true})"
    tab.evaluate(give_up % "(event) => { event.preventDefault(); window.hasGivenUp = true; }")
    console.restart()
    tab.wait_for_function("window.hasGivenUp")
    run = slow.delay()
    playwright.expect(tab.locator(f"#run-{run.run_id}")).to_be_visible()


def test_a_page_whose_scripts_come_slowly_becomes_live(open_tab: OpenTab) -> None:
    def hold_back(route: Any) -> None:
        time.sleep(0.5)  # in which a browser comes to whatever does not wait for it
        route.continue_()

    open_tab("/runs", lambda tab: tab.route("**/hx-sse.min.js", hold_back))


def test_a_page_that_opens_while_the_console_restarts_becomes_live_by_itself(
    open_tab: OpenTab, console: ConsoleProcess
) -> None:
    restarted: list[threading.Thread] = []

    def restart_first(route: Any) -> None:
        if not restarted:
            restarted.append(threading.Thread(target=console.start))
            console.kill()
            restarted[0].start()
        route.continue_()

    tab = open_tab("/runs", lambda tab: tab.route("**/live/**", restart_first))
    restarted[0].join(PATIENCE)
    run = slow.delay()
    playwright.expect(tab.locator(f"#run-{run.run_id}")).to_be_visible()


def test_the_light_says_that_the_broker_does_not_answer(
    open_tab: OpenTab, server: NatsServer
) -> None:
    tab = open_tab("/runs")
    server.kill()
    light_says(tab, "out of date")
    server.start()
    light_says(tab, "live")


def test_the_light_says_that_the_console_is_silent(
    open_tab: OpenTab, console: ConsoleProcess
) -> None:
    tab = open_tab("/runs", lambda tab: tab.clock.install())
    console.process.send_signal(signal.SIGSTOP)
    light_says(tab, "live")
    tab.clock.fast_forward(60_000)
    light_says(tab, "reconnecting")
    console.process.send_signal(signal.SIGCONT)
    light_says(tab, "live")


@pytest.mark.parametrize("variables", [{"JTASK_CONSOLE_TOKEN": "open-sesame"}])
def test_the_light_says_that_a_session_is_over(open_tab: OpenTab, console: ConsoleProcess) -> None:
    def log_in(tab: Any) -> None:
        tab.goto("/login")
        tab.get_by_label("Token").fill("open-sesame")
        tab.keyboard.press("Enter")
        tab.wait_for_url("**/")

    tab = open_tab("/runs", log_in)
    tab.context.clear_cookies()
    console.restart()
    light_says(tab, "logged out")
    log_in(tab.context.new_page())
    light_says(tab, "live")


def test_a_tab_in_the_background_is_left_alone_and_catches_up(
    open_tab: OpenTab, console: ConsoleProcess
) -> None:
    tab = open_tab("/runs")
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    hide += "document.dispatchEvent(new Event('visibilitychange'))"
    tab.evaluate(hide % "true")
    run = slow.delay()
    other = open_tab("/runs")
    playwright.expect(other.locator(f"#run-{run.run_id}")).to_be_visible()
    assert tab.locator(f"#run-{run.run_id}").count() == 0
    tab.evaluate(hide % "false")
    playwright.expect(tab.locator(f"#run-{run.run_id}")).to_be_visible()


def test_a_signal_ends_the_console_although_a_page_is_open(
    open_tab: OpenTab, console: ConsoleProcess
) -> None:
    open_tab("/runs")
    console.end(signal.SIGTERM)
    assert console.process.returncode in (0, -signal.SIGTERM)
    console.start()
