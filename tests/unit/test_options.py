"""Options that plugins declare, on `@task(...)` and on `.with_options(...)`."""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import entry_points
from typing import Any

import pytest

from jtask import task
from jtask.declaration.builtin_options import BuiltinOptions
from jtask.declaration.definition import Definition
from jtask.durations import HORIZON
from jtask.errors import ConfigurationError, TaskDefinitionError
from jtask.hooks import hookimpl
from jtask.options import Option, check_options, check_parameters
from jtask.plugins import get_plugins


def positive(value: object) -> object:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"must be a whole number from 0, got {value!r}")
    return value


class Budget:
    @hookimpl
    def jtask_options(self) -> list[Option]:
        return [Option("budget", 3, positive), Option("label")]


@pytest.fixture
def budget(jtask_plugin: Callable[[object], None]) -> None:
    jtask_plugin(Budget())


def test_an_option_is_checked_and_kept(budget: None) -> None:
    @task(budget=5)
    def work() -> None: ...

    assert work.options == {"budget": 5}


def test_an_option_without_the_one_that_it_belongs_to_is_refused(
    jtask_plugin: Callable[[object], None],
) -> None:
    class Paint:
        @hookimpl
        def jtask_options(self) -> list[Option]:
            return [
                Option("colour"),
                Option("paper"),
                Option("shade", 1, needs=("colour", "paper")),
            ]

    jtask_plugin(Paint())
    refused = pytest.raises(TaskDefinitionError, match=r"option 'shade': needs colour= or paper=$")
    with refused:
        task(shade=2)(lambda: None)
    for options in ({"shade": 1}, {"shade": None}, {"shade": 2, "paper": "A4"}):
        task(**options)(lambda: None)

    @task(shade=2, colour="red")
    def work() -> None: ...

    assert work.with_options(options={"colour": None}).options["shade"] == 2  # off for one call
    with refused:
        task(lambda: None).with_options(options={"shade": 2})


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ({"limit_key": "{tenant}"}, "needs limit="),
        ({"missed": "skip"}, "needs cron= or every="),
        ({"timezone": "UTC", "every": 60}, "needs cron="),
        ({"cache_expiration": 60}, "needs cache_policy= or cache_key_fn= or result_storage_key="),
        ({"on_conflict": "existing"}, "needs unique="),
        ({"debounce_key": "{tenant}"}, "needs debounce="),
    ],
)
def test_what_says_nothing_alone_names_what_it_belongs_to(
    options: dict[str, Any], needed: str
) -> None:
    with pytest.raises(TaskDefinitionError, match=f": {needed}$"):

        @task(**options)
        def work(tenant: str = "") -> None: ...


def test_a_default_is_there_when_hooks_ask(budget: None) -> None:
    @task(label="x")
    def work() -> None: ...

    _ = work.hooks
    assert work.options.items() >= {"budget": 3, "label": "x"}.items()


def test_a_refused_value_names_task_option_and_reason(budget: None) -> None:
    with pytest.raises(
        TaskDefinitionError,
        match=r"^task 'work', option 'budget': must be a whole number from 0, got -1$",
    ):

        @task(budget=-1)
        def work() -> None: ...


def test_an_unknown_option_suggests_the_nearest(budget: None) -> None:
    with pytest.raises(TaskDefinitionError, match="no option 'budgte': did you mean 'budget'"):

        @task(budgte=1)
        def work() -> None: ...


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("quue", "did you mean 'queue'?"),
        ("dealy", "did you mean 'delay'?"),
        ("budgt", "did you mean 'budget'?"),
        ("delay", "it belongs to a call: use .with_options(delay=...).delay(...)"),
        ("countdown", "it belongs to a call: use .apply_async(..., countdown=...)"),
        ("wait_for", "it belongs to a call: use .submit(..., wait_for=...), or .apply_async"),
        ("result_storage", "where results are kept is the setting JTASK_RESULTS_URL"),
        ("zzz", "no installed plugin declares it"),
    ],
)
def test_a_mistaken_option_gets_one_sentence_with_the_way_out(
    budget: None, option: str, hint: str
) -> None:
    options: dict[str, Any] = {option: 1}
    with pytest.raises(TaskDefinitionError) as refused:

        @task(**options)
        def work() -> None: ...

    assert str(refused.value) == f"task 'work': there is no option {option!r}: {hint}"


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("autoretry_for", "did you mean 'retry_on'?"),
        ("time_limit", "did you mean 'timeout_seconds'?"),
        ("soft_time_limit", "did you mean 'soft_timeout_seconds'?"),
        ("queue_name", "did you mean 'queue'?"),
        ("acks_late", "it is always so: leave it out"),
        (
            "rate_limit",
            "make a limit with a name, such as `jtask limits create api 100 --per minute`",
        ),
        ("bind", "jtask.runtime tells what self.request does, such as runtime.run_id"),
    ],
)
def test_an_option_of_another_library_gets_what_stands_in_its_place(option: str, hint: str) -> None:
    options: dict[str, Any] = {option: 1}
    with pytest.raises(TaskDefinitionError, match=re.escape(f"no option {option!r}: {hint}")):
        task(**options)(lambda: None)


def test_a_copy_cannot_have_another_key() -> None:
    @task
    def work() -> None: ...

    with pytest.raises(TaskDefinitionError, match="no option 'key': a copy keeps the key of its"):
        work.with_options(key="other")


def test_the_beginning_of_an_option_suggests_the_whole() -> None:
    with pytest.raises(TaskDefinitionError, match="did you mean 'timeout_seconds'"):
        task(timeout=3)(lambda: None)


def test_a_function_that_cannot_be_called_as_it_will_be_is_refused() -> None:
    check_parameters(lambda task, *rest: None, "task", "run", "state")
    check_parameters(print, "task")
    for function in (lambda: None, lambda a, b, c: None):
        with pytest.raises(ValueError, match=r"^<lambda>\(.*\) cannot be called with \(a, b\)$"):
            check_parameters(function, "a", "b")


def test_an_option_that_no_plugin_declares_is_refused() -> None:
    with pytest.raises(TaskDefinitionError, match="no installed plugin declares it"):
        check_options({"zzz": 1}, {}, "work", print)


def test_an_option_of_a_plugin_that_is_not_loaded_names_the_plugin() -> None:
    near = {"shine": Option("shine")}
    with pytest.raises(
        TaskDefinitionError,
        match=r"option 'shiny': the plugin 'polish' declares it and is not loaded: name it in J",
    ):
        check_options({"shiny": 1}, near, "work", print, {"shiny": "polish"}.get)


def test_a_check_may_change_the_value() -> None:
    declared = {"n": Option("n", check=lambda value: int(str(value)))}
    assert check_options({"n": "7"}, declared, "work", print) == {"n": 7}


def test_with_options_changes_one_option_and_keeps_the_rest(budget: None) -> None:
    @task(budget=5, label="a", tags=["x"], queue="q", priority=2)
    def work() -> None: ...

    copy = work.with_options(label="b", priority=7)
    assert copy.options == {"budget": 5, "label": "b"}
    assert (copy.key, copy.queue, copy.priority, copy.tags) == (work.key, "q", 7, {"x"})
    assert work.options == {"budget": 5, "label": "a"}
    assert work.priority == 2


def test_with_options_checks_what_it_is_given(budget: None) -> None:
    @task
    def work() -> None: ...

    with pytest.raises(TaskDefinitionError, match="'budget'"):
        work.with_options(budget=-1)
    with pytest.raises(TaskDefinitionError, match="tags must be a list or set"):
        work.with_options(tags="one")


def test_two_plugins_may_not_declare_one_option(budget: None) -> None:
    with pytest.raises(ConfigurationError, match="two plugins declare the option 'budget'"):
        get_plugins().add(Budget())
    assert set(get_plugins().options) >= {"budget", "label"}


NOW = 1_000_000.0


@pytest.mark.parametrize(
    ("said", "start"),
    [
        ({}, None),
        ({"delay": 5}, NOW + 5),
        ({"delay": timedelta(minutes=1)}, NOW + 60),
        ({"eta": 77.5}, 77.5),
        ({"eta": datetime(2020, 1, 1, tzinfo=UTC)}, 1577836800.0),
    ],
)
def test_a_start_is_an_instant(said: dict[str, Any], start: float | None) -> None:
    assert Definition(**said).not_before(NOW) == start


@pytest.mark.parametrize(
    ("expires", "end"),
    [
        (None, None),
        (5, NOW + 5),
        (timedelta(minutes=1), NOW + 60),
        (datetime(2020, 1, 1, tzinfo=UTC), 1577836800.0),
    ],
)
def test_an_expiry_is_an_instant(expires: Any, end: float | None) -> None:
    assert Definition(expires=expires).not_after(NOW) == end


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"priority": 10}, "priority must be a whole number from 0 to 9, got 10"),
        ({"priority": True}, "priority must be a whole number from 0 to 9, got True"),
        ({"priority": -1}, "got -1"),
        ({"serializer": "pickle"}, "no serializer 'pickle': use one of json, cloudpickle"),
        ({"delay": 1, "eta": 2.0}, "either delay or eta"),
        ({"queue": "a.b"}, "queue 'a.b' may hold"),
        ({"queue": 5}, "queue must be a string, got 5"),
        ({"name": 5}, "name must be a string, got 5"),
        ({"name": "a" * 1025}, "name must have at most 1024 characters, got 'aaa"),
        ({"version": "a" * 1025}, "version must have at most 1024 characters, got 'aaa"),
        ({"name": "\ud800"}, r"name must be text that UTF-8 can carry, got '\\ud800'"),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_one_sentence(
    said: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(TaskDefinitionError, match=sentence):
        Definition(**said)


def instants(definition: Definition) -> tuple[float | None, float | None]:
    return definition.not_before(NOW), definition.not_after(NOW)


BEYOND = [
    {"eta": 1e12},
    {"eta": 7_258_118_401},
    {"eta": datetime(2262, 4, 12, tzinfo=UTC)},
    {"eta": datetime.max.replace(tzinfo=UTC)},
    {"delay": 1e12},
    {"delay": 1e18},
    {"delay": timedelta.max},
    {"expires": 292 * 366 * 86_400},
    {"expires": timedelta(days=365 * 300)},
    {"expires": datetime(9999, 1, 1, tzinfo=UTC)},
]


@pytest.mark.parametrize("said", BEYOND, ids=str)
def test_an_instant_beyond_the_horizon_is_refused_where_it_is_given(said: dict[str, Any]) -> None:
    option = next(iter(said))
    with pytest.raises(TaskDefinitionError, match=f"{option} .* ends after the year 2199"):
        Definition(**said)


@pytest.mark.parametrize("option", ["delay", "expires"])
def test_a_time_that_leads_beyond_the_horizon_is_refused_at_the_call(option: str) -> None:
    definition = Definition(**{option: HORIZON})
    with pytest.raises(TaskDefinitionError, match=f"{option} .* ends after the year 2199"):
        instants(definition)


@pytest.mark.parametrize("option", ["eta", "delay", "expires"])
@pytest.mark.parametrize("value", [10**400, math.inf, math.nan, "5", True])
def test_what_is_no_finite_time_is_refused_where_it_is_given(option: str, value: object) -> None:
    with pytest.raises(TaskDefinitionError, match=f"^{option} must be"):
        task(lambda: None).with_options(**{option: value})  # type: ignore[arg-type] # pyright: ignore


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"countdown": "5"},
            "countdown must be a timedelta or a finite number of seconds, got '5'",
        ),
        ({"countdown": 1e12}, "countdown 1000000000000.0 ends after the year 2199"),
        ({"countdown": 5, "eta": 2.0}, "give either countdown or eta, not both"),
    ],
)
def test_a_wrong_countdown_is_refused_under_its_own_name(
    given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(TaskDefinitionError, match=f"^{sentence}"):
        task(lambda: None).apply_async(**given)


@pytest.mark.parametrize(
    "said", [{"eta": -1e18}, {"delay": -1e18}, {"eta": datetime(1, 1, 2, tzinfo=UTC)}], ids=str
)
def test_long_ago_is_now(said: dict[str, Any]) -> None:
    assert Definition(**said).not_before(NOW) == 0.0


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(TaskDefinitionError, match="has no time zone"):
        Definition(eta=datetime(2020, 1, 1))


def test_options_that_do_not_go_together_are_refused_at_the_definition(
    jtask_plugin: Callable[[object], None],
) -> None:
    def agree(options: Any) -> None:
        if options["low"] > options.get("high", 10):
            raise ValueError("low is above high")

    class Range:
        @hookimpl
        def jtask_options(self) -> list[Option]:
            return [Option("low", agree=agree), Option("high")]

    jtask_plugin(Range())
    with pytest.raises(TaskDefinitionError, match=r"^task 'f', option 'low': low is above high$"):

        @task(low=2, high=1)
        def f() -> None: ...


def test_options_in_a_mapping_are_like_keywords(budget: None) -> None:
    @task(options={"budget": 5})
    def spend() -> None: ...

    assert spend.options["budget"] == 5
    assert spend.with_options(options={"budget": 6}).options["budget"] == 6


def test_type_checkers_are_told_all_options_of_the_plugins_that_come_with_jtask() -> None:
    declared = {
        option.name
        for point in entry_points(group="jtask.plugins")
        if point.dist is not None and point.dist.name == "jtask"
        for option in getattr(point.load(), "jtask_options", tuple)()
    }
    assert set(BuiltinOptions.__annotations__) == declared
