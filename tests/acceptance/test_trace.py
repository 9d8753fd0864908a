"""`jtask trace` shows what happened to a run and to the runs below it."""

import json
import os
import pty
import re
import subprocess
from typing import Any

from processes import JTASK

TASKS = """
import os, time
from jtask import task

def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.01)

@task(queue="charges", limit=1)
def charge(number: int) -> int:
    wait_for("go-on")
    return number

@task(queue="orders", retries=1, retry_delay_seconds=0.2)
def order() -> None:
    if not os.path.exists("tried"):
        open("tried", "w").close()
        raise ValueError("the till is closed")
    charge.delay(1)
    charge.delay(2)
    mark("enqueued")
"""


def lines_of(place: Any, run_id: str, *options: str, **env: str) -> list[str]:
    done = place.jtask("trace", run_id, *options, **env)
    assert done.returncode == 0, done.stderr
    return list(done.stdout.splitlines())


def test_a_retried_run_with_a_nested_run_that_waits_for_a_limit_is_drawn(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py")
    worker.is_ready()
    run_id = place.enqueue("tasks.py:order")
    eventually(lambda: place.marks() == ["enqueued"])
    eventually(lambda: any("parked" in line for line in lines_of(place, run_id)))

    going = lines_of(place, run_id)
    assert going[0].startswith(f"run {run_id}: 3 runs from ")
    assert "not over yet" in going[0]
    executing = [line for line in going if re.match(r"[├└] charge +Running", line)]
    assert len(executing) == 1
    assert executing[0].endswith("█")

    (place.folder / "go-on").touch()
    place.result(run_id)
    eventually(lambda: "not over yet" not in lines_of(place, run_id)[0])
    over = lines_of(place, run_id, COLUMNS="100")
    assert max(map(len, over)) <= 100
    starts = [re.split(r" {2,}", line.strip("│├└ "))[0] for line in over[2:]]
    told = [start for start in starts if start not in ("queued", "waits for a slot")]
    assert told[:3] == ["RUN", "order", "attempt 1"]
    assert told[3].startswith("ValueError: the till is closed")
    assert told[4:6] == ["waits to retry", "attempt 2"]
    assert told[6:8] == ["charge", "charge"]
    assert told[8:11] == ["parked", "the limit of task 'charge' is 1", "attempt 1"]
    assert not any("\x1b" in line for line in over)
    # On a line of its own: in that of the run it is less than a cell where the whole took long.
    (waits,) = [line for line in over if "waits to retry" in line]
    assert waits.endswith("╌")

    spans = spans_of(json.loads("\n".join(lines_of(place, run_id, "--json"))))
    names = sorted(span["name"] for span in spans if span["kind"] != 1)
    assert names == [
        *["process charges"] * 2,
        *["process orders"] * 2,
        *["publish charges"] * 2,
        "publish orders",
    ]
    assert {span["traceId"] for span in spans} == {run_id.replace("-", "")}
    known = {span["spanId"] for span in spans}
    roots = [span for span in spans if "parentSpanId" not in span]
    assert [span["name"] for span in roots] == ["publish orders"]
    assert all(span.get("parentSpanId", roots[0]["spanId"]) in known for span in spans)
    assert worker.stop() == 0


def spans_of(written: Any) -> list[Any]:
    scopes = [scope for one in written["resourceSpans"] for scope in one["scopeSpans"]]
    return [span for scope in scopes for span in scope["spans"]]


def test_a_terminal_without_colours_or_unicode_is_obeyed(place: Any) -> None:
    place.write("tasks.py", TASKS)
    run_id = place.enqueue("tasks.py:charge", "1")
    plain = lines_of(place, run_id, PYTHONIOENCODING="ascii")
    assert all(line.isascii() for line in plain)
    assert any(line.startswith("charge") for line in plain)


def test_a_terminal_gets_colours_unless_it_has_none_or_nobody_wants_them(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py")
    worker.is_ready()
    (place.folder / "go-on").touch()
    run_id = place.enqueue("tasks.py:charge", "1")
    eventually(lambda: any("█" in line for line in lines_of(place, run_id)))
    for terminal, no_color, is_coloured in (
        ("xterm", "", True),
        ("xterm", "1", False),
        ("dumb", "", False),
    ):
        command = [JTASK, "trace", run_id]
        shown = on_terminal(place, command, TERM=terminal, NO_COLOR=no_color)
        assert "█" in shown
        assert ("\x1b" in shown) is is_coloured
    assert worker.stop() == 0


def on_terminal(place: Any, command: list[str], **env: str) -> str:
    """Return what a command writes to a terminal."""
    ours, its = pty.openpty()
    with subprocess.Popen(
        command, cwd=place.folder, env=place.env | env, stdin=its, stdout=its, stderr=its
    ) as program:
        os.close(its)
        written = b""
        # Read to the end first: a terminal that is full would block the command.
        try:
            while part := os.read(ours, 65536):
                written += part
        except OSError:  # Linux's end of a terminal that nobody has open any more
            pass
        assert program.wait() == 0
    os.close(ours)
    return written.decode()


def test_a_run_of_which_nothing_is_known_is_told_in_one_sentence(place: Any) -> None:
    done = place.jtask("trace", "01a22807-5ea5-70d4-90fa-74eb4dc31e28")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: no event of run 01a22807-5ea5-70d4-90fa-74eb4dc31e28 is")
    assert len(done.stderr.splitlines()) == 1
    assert place.jtask("trace", "nonsense").returncode == 1
