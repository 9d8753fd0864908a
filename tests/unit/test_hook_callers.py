"""Each plugin is called for itself, and the log says which one fails, at a bounded rate."""

import logging
from typing import Any

import pytest

from jtask.errors import BrokerUnavailable, ConfigurationError
from jtask.hook_callers import HookFailures
from jtask.hooks import hookimpl
from jtask.plugins import Plugins, get_plugins

Failing = dict[str, Any]


class Rejected:
    """Notes the runs that a worker rejects, and fails if it is told to."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.reasons: list[str] = []
        self._error = error

    @hookimpl
    def jtask_rejected(self, reason: str) -> None:
        self.reasons.append(reason)
        if self._error is not None:
            raise self._error


@pytest.mark.parametrize("fails", range(3))
def test_a_failing_plugin_keeps_no_other_from_being_notified(
    fails: int, caplog: pytest.LogCaptureFixture
) -> None:
    plugins = Plugins([])
    notified = [Rejected(ValueError("no") if number == fails else None) for number in range(3)]
    for plugin in notified:
        plugins.add(plugin)
    caller = plugins.caller("jtask_rejected")
    assert caller is not None
    with caplog.at_level(logging.ERROR, "jtask"):
        caller.notify("for run 1", run_id="1", queue="q", reason="why")
    assert [plugin.reasons for plugin in notified] == [["why"]] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "plugin 'Rejected' failed in jtask_rejected for run 1: ValueError: no"
    ]


def test_answers_that_are_none_do_not_count_and_the_last_one_registered_answers_first() -> None:
    class Says:
        def __init__(self, answer: object) -> None:
            self.answer = answer

        @hookimpl
        def jtask_lookup(self, run: object) -> object:
            return self.answer

    plugins = Plugins([])
    for answer in (1, None, 3):
        plugins.add(Says(answer))
    caller = plugins.caller("jtask_lookup")
    assert caller is not None
    assert caller(run=None) == [3, 1]


def test_what_a_hook_raises_where_its_failure_counts_comes_out() -> None:
    plugins = Plugins([])
    plugins.add(Rejected(ValueError("no")))
    caller = plugins.caller("jtask_rejected")
    assert caller is not None
    with pytest.raises(ValueError, match="no"):
        caller(run_id="1", queue="q", reason="why")


def test_a_plugin_of_an_entry_point_is_called_by_its_name_there() -> None:
    caller = get_plugins().caller("jtask_settled")
    assert caller is not None
    assert "runlog" in {implementation.plugin for implementation in caller.implementations}


def test_a_hook_wrapper_is_refused_because_it_would_not_be_called() -> None:
    class Wrapper:
        @hookimpl(wrapper=True)
        def jtask_settled(self) -> Any:
            return (yield)

    plugins = Plugins([])
    with pytest.raises(ConfigurationError, match="jtask_settled is a hook wrapper, which jtask"):
        plugins.add(Wrapper())
    assert plugins.names == []


# --- the log of failures -------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def failures(clock: Clock, caplog: pytest.LogCaptureFixture) -> HookFailures:
    caplog.set_level(logging.ERROR, "jtask")
    return HookFailures(60.0, clock)


def raised(kind: type[Exception] = ValueError) -> Exception:
    """Return an exception that has been raised, always on the same line."""
    try:
        raise kind("no")
    except kind as error:
        return error


def fail(failures: HookFailures, **changes: Any) -> None:
    facts: Failing = {"plugin": "tenants", "hook": "jtask_admit", "error": raised()}
    failures.log(**(facts | changes), about="for run 7 of task 'x'", run_id="7")


def test_a_line_names_the_plugin_the_hook_and_the_run(
    failures: HookFailures, caplog: pytest.LogCaptureFixture
) -> None:
    fail(failures)
    [record] = caplog.records
    assert record.getMessage() == (
        "plugin 'tenants' failed in jtask_admit for run 7 of task 'x': ValueError: no"
    )
    assert (record.name, record.levelname) == ("jtask", "ERROR")
    fields = vars(record)
    assert [fields[name] for name in ("action", "plugin", "hook", "run_id")] == [
        "hook_failed",
        "tenants",
        "jtask_admit",
        "7",
    ]


def test_only_the_first_of_a_kind_has_its_traceback_and_later_ones_are_counted(
    failures: HookFailures, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        fail(failures)
    clock.now = 59.0
    fail(failures)
    assert len(caplog.records) == 1
    clock.now = 60.0
    fail(failures)
    first, second = caplog.records
    assert first.exc_info is not None
    assert second.exc_info is None
    assert second.getMessage().endswith("ValueError: no (and 5 more since the last such line)")


def test_what_the_broker_refuses_is_no_defect_of_the_plugin_and_has_no_traceback(
    failures: HookFailures, caplog: pytest.LogCaptureFixture
) -> None:
    fail(failures, error=raised(BrokerUnavailable))
    [record] = caplog.records
    assert record.exc_info is None
    assert record.getMessage().endswith("BrokerUnavailable: no")


def elsewhere() -> Exception:
    try:
        raise ValueError("no")
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    "changes",
    [
        {"plugin": "limits"},
        {"hook": "jtask_settled"},
        {"error": raised(KeyError)},
        {"error": elsewhere()},
        {"error": ValueError("never raised")},
    ],
    ids=["plugin", "hook", "type", "place", "no place"],
)
def test_another_plugin_hook_exception_or_place_is_another_kind(
    changes: Failing, failures: HookFailures, caplog: pytest.LogCaptureFixture
) -> None:
    fail(failures)
    fail(failures, **changes)
    assert len(caplog.records) == 2
    assert all(record.exc_info for record in caplog.records)


def test_another_message_from_the_same_place_is_the_same_kind(
    failures: HookFailures, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        try:
            raise ValueError(number)
        except ValueError as error:
            fail(failures, error=error)
    assert len(caplog.records) == 1


def test_a_plugin_that_is_removed_and_added_again_is_logged_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plugins, plugin = Plugins([]), Rejected(ValueError("no"))
    for _ in range(2):
        plugins.add(plugin)
        caller = plugins.caller("jtask_rejected")
        assert caller is not None
        caller.notify("for run 1", run_id="1", queue="q", reason="why")
        plugins.remove(plugin)
    assert [bool(record.exc_info) for record in caplog.records] == [True, True]


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
def test_nothing_that_a_plugin_raises_on_the_io_loop_gets_out(
    kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    plugins = Plugins([])
    notified = [Rejected(), Rejected(kind("no")), Rejected()]
    for plugin in notified:
        plugins.add(plugin)
    caller = plugins.caller("jtask_rejected")
    assert caller is not None
    facts = {"run_id": "1", "queue": "q", "reason": "why"}
    with caplog.at_level(logging.ERROR, "jtask"):
        assert caller.call_on_io("1", facts) == []
    assert [plugin.reasons for plugin in notified] == [["why"]] * 3
    assert [record.getMessage() for record in caplog.records] == [
        f"plugin 'Rejected' failed in jtask_rejected for run 1: {kind.__name__}: no"
    ]
