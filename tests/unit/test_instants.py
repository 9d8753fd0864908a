"""Instants on the command line."""

import time
from datetime import UTC, datetime

import click
import pytest

from jtask.cli.instants import INSTANT, PAST


@pytest.mark.parametrize("kind", [INSTANT, PAST])
def test_an_instant_is_iso_8601_and_local_unless_it_names_a_zone(kind: click.ParamType) -> None:
    zoned = datetime(2031, 5, 4, 18, 30, tzinfo=UTC).timestamp()
    assert kind.convert("2031-05-04T18:30Z", None, None) == zoned
    assert kind.convert("2031-05-04T20:30+02:00", None, None) == zoned
    local = datetime(2031, 5, 4).timestamp()
    assert kind.convert("2031-05-04", None, None) == local
    assert kind.convert(12.5, None, None) == 12.5


def test_a_length_of_time_means_so_long_ago_where_that_makes_sense() -> None:
    before = time.time()
    assert before - 7200 <= PAST.convert("2h", None, None) <= time.time() - 7200
    with pytest.raises(click.BadParameter, match="'2h' is not a date or time"):
        INSTANT.convert("2h", None, None)


@pytest.mark.parametrize("kind", [INSTANT, PAST])
def test_what_is_no_instant_is_refused(kind: click.ParamType) -> None:
    with pytest.raises(click.BadParameter, match="use 2031-05-04T18:30"):
        kind.convert("soon", None, None)
