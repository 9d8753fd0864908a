"""One filter for the command line, URLs and programs; what of arguments can be looked for."""

import json

import pytest

from jtask.errors import FilterError
from jtask.run_arguments import REDACTED, ArgumentValue, is_whole, recorded, values_of
from jtask.run_filters import Condition, RunFilter


@pytest.mark.parametrize(
    "query",
    [
        "",
        "state=Failed&state=Crashed&task=mail&since=2h",
        "where=args.tenant%3D7&where=took%3E10s&text=a%26b",
        "tag=eu&tag=us&queue=slow&worker=host-1&parent=018f6b1e-0000-7000-8000-0000000000aa&until=2031-05-04",
    ],
)
def test_the_query_of_a_url_is_read_back_as_the_same_filter(query: str) -> None:
    wanted = RunFilter.from_query(query)
    assert RunFilter.from_query(wanted.to_query()) == wanted
    assert RunFilter.from_query(f"?page=3&{query}") == wanted


def test_a_state_is_meant_whatever_its_case() -> None:
    assert RunFilter(state=("failed", "TIMEDOUT")).state == ("Failed", "TimedOut")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("state=Faild", "did you mean Failed?"),
        ("parent=x", "parent 'x' is not a run id"),
        ("since=yesterday", "since: 'yesterday' is not a date or time"),
        ("where=tenant", "'tenant' is not a condition: use args.tenant=7"),
        ("where=eror=OSError", "did you mean 'error'?"),
        ("where=args.n>many", "'many' is not a number"),
        ("where=took>soon", "'soon' is not a length of time such as 10s"),
        ("where=attempt~1", "is a number and contains no text"),
    ],
)
def test_what_no_filter_can_mean_is_refused_with_the_way_out(query: str, said: str) -> None:
    with pytest.raises(FilterError) as refused:
        RunFilter.from_query([tuple(query.split("=", 1))])  # type: ignore[list-item]
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("since", "until"), [("1h", "2h"), ("2031-05-05", "2031-05-04"), ("2031-05-04", "2031-05-04")]
)
def test_a_time_that_ends_before_it_begins_is_refused(since: str, until: str) -> None:
    with pytest.raises(FilterError, match=f"since '{since}' is not before until '{until}'$"):
        RunFilter(since=since, until=until)


def test_a_condition_keeps_what_stands_behind_its_operator() -> None:
    assert Condition.parse("args.note=a=b>c") == Condition("args.note", "=", "a=b>c")
    assert Condition.parse("args.order.id >= 7") == Condition("args.order.id", ">=", "7")
    assert Condition.parse("args.note!~x") == Condition("args.note", "!~", "x")


def test_a_length_of_time_counts_back_from_now_until_it_is_fixed() -> None:
    wanted = RunFilter(since="2h")
    assert wanted.bounds(10_000.0) == (2_800.0, None)
    assert wanted.fixed(10_000.0).bounds(99_999.0) == (2_800.0, None)


def test_values_are_found_by_the_path_that_leads_to_them() -> None:
    arguments = {"n": 7, "who": {"name": "Ann", "ok": True}, "parts": [1, 2, 1], "=": ["n"]}
    assert values_of(json.dumps(arguments)) == [
        ArgumentValue("n", "7", 7.0),
        ArgumentValue("who.name", "Ann", None),
        ArgumentValue("who.ok", "true", None),
        ArgumentValue("parts", "1", 1.0),
        ArgumentValue("parts", "2", 2.0),
    ]


@pytest.mark.parametrize("arguments", ["", "[1]", '{"n": "cut o...', "[" * 100_000, '{"n": 1e999}'])
def test_arguments_that_are_no_object_or_odd_do_no_harm(arguments: str) -> None:
    assert all(value.path == "n" for value in values_of(arguments))


def test_what_is_redacted_is_not_recorded_wherever_it_stands() -> None:
    payload = b'{"who":{"card":"4711","name":"Ann"},"password":["a","b"],"all":[{"card":1}]}'
    text = recorded(payload, 1000, ["card", "password"])
    assert json.loads(text) == {
        "who": {"card": REDACTED, "name": "Ann"},
        "password": REDACTED,
        "all": [{"card": REDACTED}],
    }
    assert not is_whole(text)
    assert recorded(b"no JSON, secret", 1000, ["card"]) == ""


def test_of_long_arguments_the_beginning_is_recorded() -> None:
    payload = json.dumps({"note": "ä" * 100}, ensure_ascii=False).encode()
    text = recorded(payload, 20)
    assert text == '{"note": "äääää...'
    assert not is_whole(text)
    assert is_whole(recorded(payload, 1000))
    assert recorded(payload, 0) == ""
