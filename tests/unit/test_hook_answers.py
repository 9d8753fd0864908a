"""An answer that a hook cannot take is a failure of its plugin, and not one of the run."""

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from direct_calls import both

from jtask import task
from jtask.errors import ConfigurationError
from jtask.hooks import hookimpl
from jtask.plugins import Plugins
from jtask.testing import run_worker

AddPlugin = Callable[[object], None]


def answering(hook: str, answer: object) -> object:
    @hookimpl
    def implementation(_self: object, run: object) -> object:
        return answer

    return type("Answering", (), {hook: implementation})()


def body() -> int:
    return 7


def failing() -> None:
    raise ValueError("boom")


@both
@pytest.mark.parametrize("answer", [True, False, 5])
@pytest.mark.parametrize(
    ("hook", "kinds"),
    [
        ("jtask_admit", "Retry, Park"),
        ("jtask_lookup", "Outcome"),
        ("jtask_completed", "RollBack, PutOff"),
    ],
)
def test_a_run_goes_on_without_an_answer_that_is_none(
    call: Any,
    hook: str,
    kinds: str,
    answer: object,
    jtask_plugin: AddPlugin,
    caplog: pytest.LogCaptureFixture,
) -> None:
    jtask_plugin(answering(hook, answer))
    with caplog.at_level(logging.ERROR):
        assert call(body) == 7
    assert f"failed in {hook} for run" in caplog.text
    assert f"TypeError: the hook must return {kinds} or None, got {answer}" in caplog.text


@both
def test_a_run_fails_as_it_would_where_a_plugin_answers_something_else_than_a_retry(
    call: Any, jtask_plugin: AddPlugin, caplog: pytest.LogCaptureFixture
) -> None:
    jtask_plugin(answering("jtask_failed", True))
    with pytest.raises(ValueError, match="boom"):
        call(failing)
    assert "the hook must return Retry or None, got True" in caplog.text


@both
def test_a_name_of_a_run_that_is_no_text_says_so(call: Any, jtask_plugin: AddPlugin) -> None:
    jtask_plugin(answering("jtask_run_name", 5))
    with pytest.raises(TypeError, match="the hook must return str or None, got 5"):
        call(body)


@both
@pytest.mark.parametrize(
    ("hook", "answer", "sentence"),
    [
        ("jtask_around", iter(()), "jtask_around must return a context manager, as of @context"),
        ("jtask_invoke", 5, "jtask_invoke must return a function or None, got 5"),
    ],
)
def test_what_cannot_stand_around_or_in_place_of_a_function_is_named_by_its_hook(
    call: Any, hook: str, answer: object, sentence: str, jtask_plugin: AddPlugin
) -> None:
    jtask_plugin(answering(hook, answer))
    with pytest.raises(TypeError, match=re.escape(sentence)):
        call(body)


@pytest.mark.usefixtures("jtask_memory")
def test_a_worker_executes_runs_whatever_a_plugin_answers(
    jtask_plugin: AddPlugin, caplog: pytest.LogCaptureFixture
) -> None:
    for hook in ("jtask_admit", "jtask_lookup", "jtask_resolve"):
        jtask_plugin(answering(hook, True))

    @task
    def work(value: int) -> int:
        return value

    with run_worker(work):
        assert work.delay(work.delay(7).as_value).result(30) == 7
    for hook in ("jtask_admit", "jtask_lookup", "jtask_resolve"):
        assert f"failed in {hook} for run" in caplog.text


@pytest.mark.usefixtures("jtask_memory")
def test_what_is_no_claim_is_refused_where_the_run_is_delayed(jtask_plugin: AddPlugin) -> None:
    class Careless:
        @hookimpl
        def jtask_enqueue(self) -> bool:
            return True

    jtask_plugin(Careless())
    with pytest.raises(TypeError, match="jtask_enqueue must return a Claim or None, got True"):
        task(body).delay()


def test_what_is_no_option_keeps_its_plugin_from_being_loaded() -> None:
    class Careless:
        @hookimpl
        def jtask_options(self) -> str:
            return "pace"

    with pytest.raises(ConfigurationError, match="jtask_options must give Options, got 'p'"):
        Plugins([]).add(Careless())
