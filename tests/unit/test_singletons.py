"""What a process has one of is one, whichever threads need it first."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from waiting import PATIENCE

from jtask.ids import get_run_ids
from jtask.plugins import get_plugins
from jtask.settings import get_settings
from jtask.singletons import Singleton


def test_threads_that_need_it_first_at_one_moment_get_the_same() -> None:
    all_make_it = threading.Barrier(2, timeout=PATIENCE)

    @Singleton
    def one() -> object:
        all_make_it.wait()
        return object()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(one), pool.submit(one)
        assert first.result(PATIENCE) is second.result(PATIENCE) is one()


def test_what_is_being_made_while_it_is_cleared_is_not_kept() -> None:
    values = iter(("old", "new"))

    @Singleton
    def one() -> str:
        value = next(values)
        if value == "old":
            one.cache_clear()
        return value

    assert [one(), one(), one()] == ["old", "new", "new"]


def test_what_cannot_be_made_is_tried_again_and_its_error_has_no_other_context() -> None:
    errors = [ValueError("not yet")]

    @Singleton
    def one() -> str:
        if errors:
            raise errors.pop()
        return "made"

    with pytest.raises(ValueError, match="not yet") as raised:
        one()
    assert raised.value.__context__ is None
    assert one() == "made"


@pytest.mark.parametrize("one", [get_run_ids, get_settings, get_plugins])
def test_ids_settings_and_plugins_are_such(one: object) -> None:
    assert isinstance(one, Singleton)
