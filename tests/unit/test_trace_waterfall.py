"""How a run over time is drawn."""

import pytest

from jtask.cli.trace.rows import Row, rows_of
from jtask.cli.trace.timeline import Phase, PhaseKind
from jtask.cli.trace.tree import build_tree, select
from jtask.cli.trace.waterfall import Pen, draw, moment
from jtask.contract import Event
from jtask.ids import RunIds, created_at

IDS = RunIds()
RUN = IDS.new()
BEGUN = created_at(RUN)


def event(state: str, at: float, attempt: int = 1, worker: str = "host-1", **more: object) -> Event:
    found = Event(RUN, state, BEGUN + at, "order-0123456789ab", attempt, worker)
    return found._replace(**more)


RETRIED = [
    event("Scheduled", 0, worker=""),
    event("Pending", 1),
    event("Running", 2),
    event("AwaitingRetry", 4, detail="ValueError: the till is closed", until=BEGUN + 6),
    event("Retrying", 6, 2, "host-2"),
    event("Completed", 10, 2, "host-2"),
]

DRAWING = """\
RUN                 STATE      WAITED  TOOK   W  0            5.0 s   10.0 s
order               Completed  4.0 s   6.0 s  A  ··▒▒▒██████╌╌╌╌╌███████████
├ queued                       1.0 s             ···
├ waits for a slot             1.0 s          B    ▒▒▒
├ attempt 1         Failed             2.0 s  B       ██████
│   ValueError: the till is closed
├ waits to retry               2.0 s                       ╌╌╌╌╌╌
└ attempt 2         Completed          4.0 s  A                  ███████████

█ executes  · queued  ▒ waits for a slot  ░ parked  ╌ waits for its time
A  host-2
B  host-1"""


def lines_of(events: list[Event], pen: Pen, end: float = 10) -> list[str]:
    tree = build_tree(RUN, events, BEGUN + end)
    rows = rows_of(tree, select(tree, 10, 10))
    parts = draw(rows, BEGUN, BEGUN + end, pen)
    return ["".join(text for text, _ in line) for line in parts]


def test_a_retried_run_is_a_bar_and_a_line_for_each_attempt_and_wait() -> None:
    assert "\n".join(lines_of(RETRIED, Pen(76))) == DRAWING


def test_bars_are_as_long_as_the_phases() -> None:
    (bar,) = [line for line in lines_of(RETRIED, Pen(100)) if line.startswith("order")]
    drawn = bar.split("A  ")[1]
    width = len(drawn)
    for glyph, seconds in {"·": 1, "▒": 1, "╌": 2, "█": 6}.items():
        assert drawn.count(glyph) == pytest.approx(width * seconds / 10, abs=1.5), glyph


def test_attempts_and_waits_are_told_in_the_order_of_time() -> None:
    lines = lines_of(RETRIED, Pen(100))
    starts = [line.split("   ")[0] if "│" not in line else line for line in lines[1:]]
    assert starts[:7] == [
        "order",
        "├ queued",
        "├ waits for a slot",
        "├ attempt 1",
        "│   ValueError: the till is closed",
        "├ waits to retry",
        "└ attempt 2",
    ]
    assert "Failed" in lines[4]
    assert lines[-2:] == ["A  host-2", "B  host-1"]


def test_a_run_that_just_executes_has_one_line() -> None:
    events = [*RETRIED[:3], event("Completed", 4)]
    lines = lines_of(events, Pen(100))
    assert lines[1].startswith("order")
    assert lines[2] == ""


def test_a_failed_run_says_its_id_and_why() -> None:
    lines = lines_of([*RETRIED[:3], event("Failed", 4, detail="ValueError: no")], Pen(100))
    assert lines[2].strip() == f"{RUN}  ValueError: no"


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_lines_are_as_wide_as_the_terminal(width: int) -> None:
    lines = lines_of(RETRIED, Pen(width))
    # In a very narrow one the bars keep ten characters, and the columns what they need.
    assert max(map(len, lines[:-4])) <= max(width, 62)
    if width >= 80:
        assert len(lines[1]) == width


def test_the_shortest_attempt_is_seen() -> None:
    events = [*RETRIED[:2], event("Running", 5), event("Completed", 5.000001)]
    (bar,) = [line for line in lines_of(events, Pen(80)) if line.startswith("order")]
    assert "█" in bar


def test_what_still_executes_is_drawn_up_to_now() -> None:
    lines = lines_of(RETRIED[:3], Pen(100))
    assert len(lines[1]) == 100
    assert lines[1].endswith("█")


def test_a_terminal_without_unicode_gets_ascii() -> None:
    assert all(line.isascii() for line in lines_of(RETRIED, Pen(100, is_plain=True)))


def test_text_of_others_cannot_act_on_the_terminal() -> None:
    evil = "\x1b[2J\u202egone\nand more"
    events = [event(e.state, e.at - BEGUN, task=evil, detail=evil) for e in RETRIED]
    events = [one._replace(worker=evil) for one in events]
    for line in lines_of(events, Pen(100)):
        assert not {"\x1b", "\u202e", "\n"} & set(line)


def test_phases_beyond_the_picture_are_kept_inside() -> None:
    phase = Phase(PhaseKind.EXECUTING, BEGUN - 50, BEGUN + 50)
    row = Row("", "", "order", "Running", None, None, "", (phase,))
    for line in draw([row], BEGUN, BEGUN + 10, Pen(80)):
        assert len("".join(text for text, _ in line)) <= 80


def test_of_a_hundred_attempts_the_first_and_the_last_are_shown() -> None:
    events = [event("Scheduled", 0, worker="")]
    for attempt in range(1, 101):
        events.append(event("Running" if attempt == 1 else "Retrying", attempt, attempt))
        events.append(event("AwaitingRetry", attempt + 0.5, attempt, until=BEGUN + attempt + 1))
    lines = lines_of(events, Pen(100), end=110)
    assert len(lines) < 30
    assert any("more" in line for line in lines)
    assert any("attempt 100" in line for line in lines)


def test_colours_tell_how_attempts_ended() -> None:
    tree = build_tree(RUN, RETRIED, BEGUN + 10)
    parts = [
        part
        for line in draw(rows_of(tree, select(tree, 1, 1)), BEGUN, BEGUN + 10, Pen(80))
        for part in line
    ]
    colours = {colour for text, colour in parts if "█" in text and text.strip("█") == ""}
    assert colours == {"red", "green"}


def test_an_instant_has_milliseconds() -> None:
    assert moment(BEGUN).endswith(f".{round(BEGUN * 1000) % 1000:03d}")
