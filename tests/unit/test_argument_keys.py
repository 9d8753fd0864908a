"""Keys that options make of arguments reach nothing else, and have names that a broker takes."""

import pytest

from jtask import task
from jtask.argument_keys import filled_in, storable
from jtask.errors import TaskDefinitionError


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{ordr}", "ordr"),
        ("{}", "has no name"),
        ("{0}", "has no name"),
        ("{order", "is no template: expected .* write {{ for a brace"),
        ("{order.__class__}", "private"),
        ("{order[_x]}", "private"),
        ("{order:>99999999}", "makes no key"),
        ("{order:{note}}", "makes no key"),
    ],
)
def test_a_template_from_outside_reaches_nothing_but_the_arguments(
    template: str, reason: str
) -> None:
    with pytest.raises((ValueError, LookupError), match=reason):
        filled_in(template, {"order": 17, "note": "x"})


@pytest.mark.parametrize(
    "option",
    [
        "task_run_name",
        "result_storage_key",
        "idempotency_key",
        "unique",
        "debounce_key",
        "fair_key",
        "limit_key",
    ],
)
@pytest.mark.parametrize("template", ["{order", "{}", "{order.__class__}", "{order:>99999999}"])
def test_a_template_that_can_never_be_filled_in_is_refused_at_the_definition(
    option: str, template: str
) -> None:
    with pytest.raises(TaskDefinitionError, match=f"option '{option}': "):
        task(options={option: template, "limit": 1, "debounce": 1})(lambda order: None)


@pytest.mark.parametrize("text", ["x" * 1000, "\ud800", "☃" * 300])
def test_what_a_broker_would_not_take_is_known_by_its_hash(text: str) -> None:
    assert storable("short", 100) == "short"
    assert len(storable(text, 100)) == 64
    assert storable(text, 100) != storable(text + "x", 100)
