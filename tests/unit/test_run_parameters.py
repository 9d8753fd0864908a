"""What people are shown of the parameters of a run."""

from typing import Any

import pytest

from jtask import task
from jtask.cli.run_parameters import RunParameters
from jtask.client import get_client
from jtask.client.dependencies import encode_call
from jtask.serialization import codecs_of
from jtask.wire.envelope import Envelope, decode_envelope

RUN = "018f6b1e-0000-7000-8000-0000000000aa"


@task
def sell(
    item: str, /, count: int = 1, *more: complex, token: str = "", **others: Any
) -> None: ...  # takes what is shown


def parameters(payload: bytes, serializer: str = "json") -> RunParameters:
    return RunParameters.of(Envelope(RUN, "k", "n", serializer, payload, 0.0))


def of_call(*args: Any, **kwargs: Any) -> RunParameters:
    return parameters(codecs_of(sell).arguments.encode(args, kwargs))


def test_each_parameter_has_a_line_of_json() -> None:
    said = of_call("tea", 2, size={"x": [1, None]})
    assert said.to_text().splitlines() == [
        'item      "tea"',
        "count     2",
        'others    {"size": {"x": [1, null]}}',
    ]
    assert said.to_json() == {"item": "tea", "count": 2, "others": {"size": {"x": [1, None]}}}


def test_what_is_said_about_the_parameters_is_none_of_them() -> None:
    assert [*of_call("tea", 2, 1j).values] == ["item", "count", "more"]


def test_secrets_are_masked_by_the_names_of_parameters_and_keys() -> None:
    said = of_call("tea", token="abc", user={"password": "abc", "url": "https://me:abc@there/"})
    assert "abc" not in said.to_text()
    assert "***" in said.to_text()
    assert said.values["others"]["user"]["url"] == "https://me:***@there/"


def test_long_values_are_cut() -> None:
    said = of_call("x" * 2000, 3)
    (first, _) = said.to_text().splitlines()
    assert first.endswith("xxx... (2002 characters)")
    assert len(first) < 600
    assert said.to_json() == {"item": first.removeprefix("item      "), "count": 3}


@pytest.mark.usefixtures("jtask_memory")
def test_the_value_of_another_run_is_named() -> None:
    run = get_client().handle(RUN)
    said = parameters(encode_call(sell, ("tea",), {"other": [run]}).payload)
    assert said.values["others"] == {"other": [f"(the value of run {RUN})"]}


@pytest.mark.parametrize(
    ("payload", "serializer", "text"),
    [
        (b"[1]", "json", "(3 bytes that cannot be read)"),
        (b"{", "json", "(1 bytes that cannot be read)"),
        (b'{"a":' + b"[" * 100_000, "json", "(100005 bytes that cannot be read)"),
        (b"abcd", "cloudpickle", "(4 bytes of cloudpickle)"),
    ],
)
def test_what_cannot_be_shown_is_said(payload: bytes, serializer: str, text: str) -> None:
    said = parameters(payload, serializer)
    assert (said.to_text(), said.to_json()) == (text, text)


def test_parameters_that_are_kept_apart_are_not_loaded() -> None:
    run = Envelope(RUN, "k", "n", "json", b"{}", 0.0).with_blob(b"x" * 9)
    assert RunParameters.of(run).to_text() == "(9 bytes, stored separately)"


def test_what_a_task_redacts_is_shown_nowhere_inside() -> None:
    payload = b'{"card":"4111","order":{"card":["4111"],"to":"Ada"},"list":[{"card":1}]}'
    run = Envelope(RUN, "k", "n", "json", payload, 0.0, redact=("card",))
    assert decode_envelope(run.encode()).redact == ("card",)
    hidden = "[redacted]"
    assert RunParameters.of(run).to_json() == {
        "card": hidden,
        "order": {"card": hidden, "to": "Ada"},
        "list": [{"card": hidden}],
    }
