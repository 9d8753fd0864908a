"""What a task redacts is seen nowhere, whoever looks, and however it is called again."""

import re
from contextlib import closing

import httpx
from otlp_receiver import Receiver
from processes import JTASK, Place
from waiting import PATIENCE, eventually

SECRET = "4111-1111"
OTHER = "5500-0000"  # what somebody writes in its place
TASKS = """
from jtask import task

@task(queue="work", redact=["card"])
def pay(order: str, card: str, more: dict[str, str]) -> str:
    mark(card)
    if order == "wrong":
        raise ValueError(order)
    return order

@task(queue="unserved", redact=["card"])
def later(order: str, card: str) -> None: ...
"""
PAGES = (
    "/",
    "/runs",
    "/failures",
    "/dead-letters",
    "/audit",
    "/queues",
    "/api/runs",
    "/api/failures",
    "/api/dead-letters",
    "/runs?where=args.order%3Dwrong",
)
EVENTS = """
from jtask.client import get_client
client = get_client()
async def all_events():
    return [str(one) async for one in client.broker.events.read()]
print(json.dumps(client.io.run(all_events())))
"""


def call(place: Place) -> list[str]:
    found: list[str] = place.ask(
        f"""
        import tasks
        from jtask import close
        def call(order):
            return tasks.pay.delay(order, {SECRET!r}, {{"card": {SECRET!r}, "to": "Ada"}})
        runs = [call("right"), call("wrong")]
        for run in runs:
            run.wait()
        runs.append(tasks.later.delay("waits", {SECRET!r}))
        close()
        print(json.dumps([run.run_id for run in runs]))
        """
    )
    return found


def said_by_commands(place: Place, run_ids: list[str]) -> list[str]:
    commands = [["runs", "ls", "--json"], ["dead", "ls", "--json"], ["runs", "operations"]]
    commands += [["dead", "show", run_ids[1]], ["dead", "show", run_ids[1], "--json"]]
    for run_id in run_ids:
        commands += [["runs", "show", run_id], ["runs", "show", run_id, "--json"]]
        commands += [["trace", run_id], ["trace", run_id, "--json"], ["logs", run_id]]
    # All in one process: each would take a second to start.
    said: list[str] = place.ask(
        f"""
        from click.testing import CliRunner
        from jtask.cli.program import main
        print(json.dumps([CliRunner().invoke(main, one).output for one in {commands}]))
        """
    )
    return said


def test_what_a_task_redacts_is_shown_by_nothing(place: Place, receiver: Receiver) -> None:
    place.env |= receiver.env
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py:pay")
    console = place.start(JTASK, "console", "--port", "0")
    console.says("jtask console: ")
    address = re.search(r"jtask console: (\S+)", console.log)
    assert address is not None
    with closing(httpx.Client(base_url=address[1], timeout=PATIENCE)) as client:
        client.get("/api/counts")
        run_ids = call(place)
        eventually(lambda: "Failed" in client.get(f"/api/runs/{run_ids[1]}").text)
        arguments = f'{{"order":"right","card":"{OTHER}","more":{{"card":"{OTHER}"}}}}'
        answer = client.post("/api/runs/rerun", json={"runs": run_ids[:1], "arguments": arguments})
        assert answer.status_code in (200, 202), answer.text
        again = "/api/runs?where=args.card%3D%5Bredacted%5D&state=Completed"
        eventually(lambda: client.get(again).text.count('"run_id"') == 2)
        assert OTHER in place.marks()
        pages = [f"/runs/{run_id}" for run_id in run_ids]
        pages += [f"/api{page}" for page in pages] + [f"{page}/again" for page in pages]
        client.headers["accept"] = "text/html"
        texts = [client.get(page).text for page in (*PAGES, *pages)]
    receiver.wait_for("process work", 3)
    texts += [
        *said_by_commands(place, run_ids),
        "\n".join(place.ask(EVENTS)),
        worker.log,
        console.log,
        str(receiver.spans),
        str(receiver.lines),
    ]
    for secret in (SECRET, OTHER):
        for text in texts:
            assert secret not in text, text[max(0, text.index(secret) - 500) :][:1000]
    assert sum("[redacted]" in text for text in texts) >= 8
    (index,) = place.home.glob("index-*.sqlite")
    assert SECRET.encode() not in index.read_bytes()


def test_where_nothing_is_recorded_a_message_is_shown_without_it(place: Place) -> None:
    place.env |= {"JTASK_EVENT_ARGUMENTS": "0"}
    place.write("tasks.py", TASKS)
    run_id = place.ask(
        f"""
        import tasks
        from jtask import close
        run = tasks.later.delay("waits", {SECRET!r})
        close()
        print(json.dumps(run.run_id))
        """
    )
    shown = place.jtask("runs", "show", run_id).stdout
    assert 'card      "[redacted]"' in shown
    assert SECRET not in shown
