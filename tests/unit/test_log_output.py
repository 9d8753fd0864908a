"""How a worker's log looks, and when a worker shows one at all."""

import io
import json
import logging
import sys
import types
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from jtask import task
from jtask.runtime import RunContext, executing
from jtask.settings import get_settings
from jtask.worker.log_output import JsonLines, TextLines, add_run, log_to_stderr


@task(name="resize")
def resize() -> None: ...


def record(name: str, message: str, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.INFO, __file__, 1, message, (), None)
    vars(made).update(fields)
    add_run(made)
    return made


def in_a_run(name: str, attempt: int = 1, **fields: Any) -> logging.LogRecord:
    with executing(RunContext("the-id", resize, 0.0, attempt)):
        return record(name, "half done", **fields)


@contextmanager
def bare_logging() -> Generator[io.StringIO]:
    """A process in which nobody has set up logging; what it says."""
    root, stderr, said = logging.getLogger(), sys.stderr, io.StringIO()
    handlers, level = root.handlers[:], root.level
    root.handlers[:], sys.stderr = [], said
    try:
        yield said
    finally:
        root.handlers[:], sys.stderr = handlers, stderr
        root.setLevel(level)


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (record("jtask.worker", "hello"), " INFO hello"),
        (record("shop.orders", "hello"), " INFO shop.orders: hello"),
        (in_a_run("shop.orders"), " INFO [resize the-id] shop.orders: half done"),
        (in_a_run("jtask.task.resize", 2), " INFO [resize the-id attempt 2] half done"),
        # It names its run itself.
        (in_a_run("jtask.task.resize", run_id="the-id"), " INFO half done"),
    ],
)
def test_a_line_says_when_how_bad_in_which_run_and_who(made: logging.LogRecord, line: str) -> None:
    text = TextLines().format(made)
    assert text.endswith(line)
    assert text[:4].isdigit()


def test_a_worker_among_several_is_named_in_each_line() -> None:
    assert TextLines("host-1").format(record("jtask.worker", "x")).endswith(" INFO host-1 x")


def test_json_has_the_run_and_all_extra_fields_on_one_line() -> None:
    text = JsonLines("host-1").format(in_a_run("shop.orders", order={1}, note="two\nlines"))
    assert "\n" not in text
    found = json.loads(text)
    assert found.pop("time").endswith("+00:00")
    assert found == {
        "level": "INFO",
        "logger": "shop.orders",
        "message": "half done",
        "worker": "host-1",
        "run_id": "the-id",
        "task": "resize",
        "attempt": 1,
        "order": "{1}",
        "note": "two\nlines",
    }


def test_json_has_the_traceback() -> None:
    made = record("shop", "failed")
    try:
        raise ValueError("no luck")
    except ValueError:
        made.exc_info = sys.exc_info()
    assert json.loads(JsonLines("w").format(made))["traceback"].endswith("ValueError: no luck")


def test_users_own_loggers_are_shown_and_nothing_twice() -> None:
    with bare_logging() as said:
        log_to_stderr()
        logging.getLogger("shop.orders").info("from a user's module")
        logging.warning("from the root")
        logging.getLogger("jtask.worker").info("from jtask")
    lines = said.getvalue().splitlines()
    assert [line.partition("INFO ")[2] for line in (lines[0], lines[2])] == [
        "shop.orders: from a user's module",
        "from jtask",
    ]
    assert len(lines) == 3


def test_a_program_with_logging_of_its_own_is_left_alone() -> None:
    own = logging.StreamHandler(io.StringIO())
    with bare_logging() as said:
        logging.getLogger().addHandler(own)
        log_to_stderr()
        assert logging.getLogger().handlers == [own]
    assert said.getvalue() == ""


def test_a_setting_makes_it_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JTASK_LOG_FORMAT", "json")
    get_settings.cache_clear()
    with bare_logging() as said:
        log_to_stderr()
        logging.getLogger("shop").info("hello")
    assert json.loads(said.getvalue())["message"] == "hello"


def test_a_record_names_the_span_of_its_context_where_opentelemetry_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A stand-in with what is used of it: what counts is that jtask does not import the real one.
    class Span:
        trace_id, span_id, is_valid = 0xABC, 0xDEF, True

        def get_span_context(self) -> "Span":
            return self

    loaded = types.ModuleType("opentelemetry.trace")
    vars(loaded)["get_current_span"] = Span
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", loaded)
    made = in_a_run("shop.orders", trace_id="mine")
    assert (vars(made)["trace_id"], vars(made)["span_id"]) == ("mine", "0000000000000def")
    told = json.loads(JsonLines("w").format(in_a_run("shop.orders")))
    assert told["trace_id"] == "00000000000000000000000000000abc"
    Span.is_valid = False
    assert "trace_id" not in vars(in_a_run("shop.orders"))
    assert "span_id" not in vars(record("shop.orders", "outside"))
