"""What the pages show, and that they change by themselves."""

import threading

import pytest
from in_process import StartWorker
from served_console import ServedConsole, StartConsole
from waiting import PATIENCE, eventually

from jtask import get_run_logger, task
from jtask.ids import created_at
from jtask_console.live import liveness, stream
from jtask_index import searching
from jtask_index.reader import IndexReader
from jtask_queues.operations import pause_queue

go_on = threading.Event()


@task(queue="letters", tags=["post"])
def letter(to: str) -> dict[str, str]:
    return {"sent": to}


@task(queue="letters")
def lost(to: str) -> None:
    raise LookupError(f"nobody is called {to}")


@task(queue="letters")
def slow() -> str:
    get_run_logger().warning("it has begun")
    go_on.wait(PATIENCE)
    get_run_logger().warning("it goes on <now>")
    return "done"


@pytest.fixture(autouse=True)
def _not_yet() -> None:
    go_on.clear()


def test_a_run_is_found_with_its_arguments_result_and_timeline(
    console: ServedConsole, jtask_worker: StartWorker
) -> None:
    jtask_worker(letter)
    run = letter.delay("Ada <ada@example.com>")
    run.result(PATIENCE)
    # Of its end the page knows by the stored outcome, of its attempts by the events, which follow.
    eventually(lambda: console.shows(f"/runs/{run.run_id}", "attempt 1"))
    page = console.page(f"/runs/{run.run_id}")
    assert "Completed" in page
    assert "Ada &lt;ada@example.com&gt;" in page
    assert "&#34;sent&#34;" in page
    assert 'href="/runs?tag=post"' in page
    # The list is the index's, which may still be behind what is asked of the log for a page.
    eventually(lambda: console.shows("/runs", run.run_id))


def test_a_failure_shows_its_error_and_traceback(
    console: ServedConsole, jtask_worker: StartWorker
) -> None:
    jtask_worker(lost)
    run = lost.delay("Bob")
    with pytest.raises(LookupError):
        run.result(PATIENCE)
    eventually(lambda: console.shows(f"/runs/{run.run_id}", "Traceback"))
    assert "LookupError: nobody is called Bob" in console.page(f"/runs/{run.run_id}")
    eventually(lambda: console.shows("/failures", "LookupError"))
    eventually(lambda: console.shows("/dead-letters", "nobody is called Bob"))
    assert "LookupError" in console.page("/")


def test_the_filter_is_in_the_address(console: ServedConsole, jtask_worker: StartWorker) -> None:
    jtask_worker(letter, lost)
    sent, failed = letter.delay("Ada"), lost.delay("Bob")
    sent.result(PATIENCE)
    failed.wait(PATIENCE)
    eventually(lambda: console.shows("/runs?state=Failed", failed.run_id))
    for query, found, other in (
        ("state=Failed", failed, sent),
        ("where=args.to%3DAda", sent, failed),
        ("text=Bob", failed, sent),
        ("task=letter", sent, failed),
        ("tag=post", sent, failed),
    ):
        page = console.page(f"/runs?{query}")
        assert found.run_id in page, query
        assert other.run_id not in page, query


def test_a_filter_that_is_none_says_what_one_looks_like(console: ServedConsole) -> None:
    page = console.page("/runs?state=Faild")
    assert "did you mean Failed?" in page


def test_pages_of_runs_follow_each_other_without_a_gap(
    console: ServedConsole, jtask_worker: StartWorker
) -> None:
    runs = [letter.delay(str(n)) for n in range(60)]
    eventually(lambda: console.shows("/runs", 'rel="next"'))
    eventually(lambda: console.shows("/runs", "<b>60</b>"))
    first = console.page("/runs")
    after = runs[10].run_id
    second = console.page(f"/runs?after={after}")
    assert [f'id="run-{run.run_id}"' in first for run in runs] == [False] * 10 + [True] * 50
    assert [f'id="run-{run.run_id}"' in second for run in runs] == [True] * 10 + [False] * 50


def test_a_search_that_is_not_finished_leads_on(
    console: ServedConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "LONGEST", -1.0)
    runs = [letter.delay(str(n)) for n in range(60)]
    eventually(lambda: console.shows("/runs", "<b>60</b>"))
    page = console.page("/runs?text=nobody")
    assert "None found yet" in page
    assert "Searched back to" in page
    found = console.client.get("/api/runs?text=nobody").json()
    assert found["runs"] == []
    assert found["after"] == runs[9].run_id
    assert found["reached"] == created_at(found["after"])
    assert f'after={found["after"]}" rel="next">Search on' in page
    last = console.page(f"/runs?text=nobody&after={found['after']}")
    assert "No such runs" in last
    assert "Searched back to" not in last


def test_an_open_page_shows_a_run_appear_and_end(
    console: ServedConsole, jtask_worker: StartWorker
) -> None:
    jtask_worker(slow)
    with console.open_page("/runs") as page:
        run = slow.delay()
        page.until_it_says(run.run_id)
        page.until_it_says("Running")
        go_on.set()
        page.until_it_says("Completed")


def test_an_open_run_shows_its_log_line_by_line(
    console: ServedConsole, jtask_worker: StartWorker
) -> None:
    jtask_worker(slow)
    run = slow.delay()
    eventually(lambda: console.shows(f"/runs/{run.run_id}", "Running"))
    with console.open_page(f"/runs/{run.run_id}") as page:
        eventually(lambda: console.shows(f"/runs/{run.run_id}", "it has begun"))
        go_on.set()
        page.until_it_says("it goes on &lt;now&gt;")
        page.until_it_says("Completed")


def test_a_browser_that_comes_back_is_sent_what_it_has_missed_and_no_more(
    console: ServedConsole, jtask_worker: StartWorker
) -> None:
    with console.open_page("/runs") as page:
        first = letter.delay("Ada")
        page.until_it_says(first.run_id)
        seen = page.last_id
    missed = letter.delay("Bob")
    eventually(lambda: console.shows("/runs", missed.run_id))
    with console.open_page("/runs", seen) as page:
        assert missed.run_id in page.next_event()
    with console.open_page("/runs", page.last_id) as page:
        later = letter.delay("Eve")
        # Nothing was missed: the first thing that comes is new.
        assert later.run_id in page.next_event()


def test_a_browser_has_to_come_back_and_say_who_it_is(
    console: ServedConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_LIFETIME", 0.5)
    with console.open_page("/runs") as page, pytest.raises(AssertionError, match="ended"):
        page.until_it_says("never")


def test_an_open_page_is_told_that_the_index_is_behind_until_it_is_not(
    console: ServedConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "_CHECK", 0.1)
    letter.delay("Ada")
    with monkeypatch.context() as patch, console.open_page("/runs") as page:
        patch.setattr(IndexReader, "position", lambda _: None)
        page.until_it_says("the index of runs is behind")
        patch.undo()
        # Without anything new.
        eventually(lambda: not console.app.feed.liveness.trouble)


def test_queues_show_what_waits_and_what_is_paused(
    console: ServedConsole, jtask_worker: StartWorker
) -> None:
    letter.delay("Ada")
    with console.open_page("/queues") as page:
        eventually(lambda: console.shows("/queues", "no worker serves it"))
        pause_queue("letters")
        page.until_it_says("paused")


def test_workers_show_what_they_execute(console: ServedConsole, jtask_worker: StartWorker) -> None:
    jtask_worker(slow)
    run = slow.delay()
    eventually(lambda: console.shows("/workers", run.run_id))
    go_on.set()


@pytest.mark.parametrize(
    "path", ["/", "/runs", "/failures", "/queues", "/workers", "/schedules", "/limits", "/audit"]
)
def test_a_page_is_there_before_there_is_anything_to_show(
    path: str, console: ServedConsole
) -> None:
    assert "<h1>" in console.page(path)


def test_what_is_no_run_is_not_found(console: ServedConsole) -> None:
    for run_id in ("nonsense", "01920000-0000-7000-8000-000000000000"):
        answer = console.client.get(f"/runs/{run_id}")
        assert answer.status_code == 404
        assert run_id in answer.text


def test_a_page_asks_for_nothing_that_is_elsewhere(console: ServedConsole) -> None:
    page = console.page("/")
    assert "http://" not in page.replace(console.url, "").replace("nats://", "")
    assert "https://" not in page
    assert " style=" not in page
    assert "<script>" not in page


def test_a_browser_keeps_scripts_and_asks_whether_they_are_the_same(console: ServedConsole) -> None:
    script = console.client.get("/static/console.js")
    assert script.headers["Cache-Control"] == "no-cache"
    seen = {"If-None-Match": script.headers["ETag"]}
    assert console.client.get("/static/console.js", headers=seen).status_code == 304
    assert console.client.get("/").headers["Cache-Control"] == "no-store"


def test_the_console_ends_although_pages_are_open(start_console: StartConsole) -> None:
    console = start_console()
    with console.open_page("/runs") as page:
        console.app.release()
        with pytest.raises(AssertionError, match="ended"):
            page.until_it_says("never")
