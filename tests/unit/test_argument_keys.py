"""Keys that options make of arguments reach nothing else, and have names that a broker takes."""

import pytest

from jtask.argument_keys import filled_in, storable


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{ordr}", "ordr"),
        ("{}", "index"),
        ("{order", "expected"),
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


@pytest.mark.parametrize("text", ["x" * 1000, "\ud800", "☃" * 300])
def test_what_a_broker_would_not_take_is_known_by_its_hash(text: str) -> None:
    assert storable("short", 100) == "short"
    assert len(storable(text, 100)) == 64
    assert storable(text, 100) != storable(text + "x", 100)
