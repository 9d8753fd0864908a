"""Room for a number of runs: who waits gives it to others, and gets it back first."""

import threading

from jtask.task_runners.places import HeldPlace, Places

PATIENCE = 20.0


def test_what_finds_no_place_gets_the_next_one_in_order() -> None:
    places = Places[str](2)
    assert [places.enter(name) for name in "abcd"] == [True, True, False, False]
    assert places.leave() == "c"
    assert places.leave() == "d"
    assert places.leave() is None
    assert places.enter("e")


def test_a_place_that_is_given_back_starts_what_waits() -> None:
    places, started = Places[str](1), list[str]()
    places.enter("a")
    held = HeldPlace(places, started.append)
    places.enter("b")
    held.give_back()
    assert started == ["b"]
    assert places.leave() is None
    held.take()
    assert not places.enter("c")


def test_several_waits_of_one_run_give_its_place_back_once() -> None:
    places, started = Places[str](1), list[str]()
    places.enter("a")
    held = HeldPlace(places, started.append)
    for name in "bc":
        places.enter(name)
    held.give_back()
    held.give_back()
    held.take()
    assert started == ["b"]


def test_who_returns_comes_before_those_that_have_not_begun() -> None:
    places = Places[str](1)
    places.enter("a")
    places.enter("b")
    back = threading.Thread(target=places.enter_again)
    back.start()
    while not places._returning:
        back.join(0.005)
    assert places.leave() is None
    back.join(PATIENCE)
    assert not back.is_alive()
    assert places.leave() == "b"
