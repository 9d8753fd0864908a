"""Which runs are below a run, and which of very many get a line."""

import random
import time

from jtask.cli.trace.descendants import Descendants
from jtask.cli.trace.rows import rows_of
from jtask.cli.trace.tree import Selection, TracedRun, build_tree, select
from jtask.cli.trace.waterfall import Pen, draw
from jtask.contract import Event
from jtask.ids import RunIds, created_at

IDS = RunIds()


def life(run_id: str, parent: str = "", end: str = "Completed", task: str = "work") -> list[Event]:
    """The events of a run that begins when its id says, and takes three seconds."""
    at = created_at(run_id)
    events = [
        Event(run_id, "Scheduled", at, task, parent=parent, queue="work"),
        Event(run_id, "Pending", at + 1, task, 1, "host-1"),
        Event(run_id, "Running", at + 2, task, 1, "host-1"),
    ]
    return [*events, Event(run_id, end, at + 3, task, 1, "host-1")] if end else events


def family(*counts: int) -> tuple[str, list[Event]]:
    """A run with so many children, each of which has so many in turn, and so on."""
    root = IDS.new()
    level, events = [root], life(root, task="root")
    for count in counts:
        below = [(IDS.new(), parent) for parent in level for _ in range(count)]
        for run_id, parent in below:
            events += life(run_id, parent)
        level = [run_id for run_id, _ in below]
    return root, events


def drawn(tree: TracedRun, selection: Selection, width: int = 100) -> list[str]:
    runs = [run.timeline for run in tree.with_descendants()]
    begin, end = min(run.begin for run in runs), max(run.end for run in runs)
    lines = draw(rows_of(tree, selection), begin, end, Pen(width))
    return ["".join(text for text, _ in line) for line in lines]


def test_descendants_are_found_whatever_the_order_of_the_events() -> None:
    root, events = family(3, 2, 2)
    strangers = [one for _ in range(50) for one in life(IDS.new(), parent=IDS.new())]
    mixed = [*events, *strangers]
    random.Random(7).shuffle(mixed)
    below = Descendants(root)
    for event in mixed:
        below.add(event)
    assert below.run_ids == {event.run_id for event in events}
    assert below.until is not None


def test_nobody_stops_reading_while_a_run_of_the_tree_is_not_over() -> None:
    root, child = IDS.new(), IDS.new()
    below = Descendants(root)
    for event in life(root):
        assert below.until is None
        below.add(event)
    over = created_at(root) + 3
    # Clocks differ: not at once.
    assert below.until is not None
    assert below.until > over + 30
    for event in life(child, root, end=""):
        below.add(event)
    assert below.until is None


def test_a_run_may_be_three_thousand_levels_deep() -> None:
    ids = IDS.new_many(3_000)
    events = [e for above, one in zip(["", *ids], ids, strict=False) for e in life(one, above)]
    below = Descendants(ids[0])
    # The deepest first: all join at once.
    for event in reversed(events):
        below.add(event)
    assert len(below.run_ids) == 3_000
    tree = build_tree(ids[0], events, time.time())
    assert sum(1 for _ in tree.with_descendants()) == 3_000
    assert len(drawn(tree, select(tree, 3_000, 10))) > 3_000


def test_children_are_in_the_order_of_time_below_their_parent() -> None:
    root, events = family(2, 1)
    tree = build_tree(root, reversed(events), time.time())
    first, second = tree.children
    assert first.run_id < second.run_id
    assert [len(first.children), len(second.children)] == [1, 1]


def test_events_that_name_each_other_as_parents_are_no_circle() -> None:
    one, two = IDS.new_many(2)
    tree = build_tree(one, [*life(one, two), *life(two, one)], time.time())
    assert [run.run_id for run in tree.with_descendants()] == [one, two]


def test_of_a_thousand_runs_in_four_levels_a_few_are_shown_and_all_are_counted() -> None:
    root, events = family(10, 10, 10)
    tree = build_tree(root, events, time.time())
    lines = drawn(tree, select(tree, limit=30, per_run=5))
    rows = [line for line in lines if "work" in line]
    more = [int(line.split("+ ")[1].split()[0]) for line in lines if "+ " in line]
    assert len(rows) == 30
    assert len(rows) + sum(more) == 10 + 100 + 1000
    assert len(lines) < 150
    assert all(len(line) <= 100 for line in lines)


def test_a_limit_of_nothing_leaves_the_run_and_a_count() -> None:
    root, events = family(3)
    tree = build_tree(root, events, time.time())
    lines = drawn(tree, select(tree, limit=0, per_run=10))
    assert any("+ 3 more runs" in line for line in lines)
    assert any("3 Completed" in line for line in lines)


def test_runs_that_failed_or_still_execute_are_shown_before_others() -> None:
    root, events = family(20)
    failed, going = IDS.new(), IDS.new()
    events += life(failed, root, "Failed", "broken") + life(going, root, "", "going")
    tree = build_tree(root, events, time.time())
    chosen = select(tree, limit=5, per_run=5).children[root]
    assert [run.timeline.summary.task for run in chosen[-2:]] == ["broken", "going"]
    assert [run.run_id for run in chosen] == sorted(run.run_id for run in chosen)
