"""Keys, what becomes of them, and the options that make them: decisions without a broker."""

import asyncio
import time
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from jtask import task
from jtask.contract import Message, OutcomeRecord
from jtask.errors import NotUnique, TaskDefinitionError
from jtask.ids import RunIds, created_at
from jtask.runtime import EnqueueRequest
from jtask.settings import get_settings
from jtask_memory import MemoryBroker, Storage
from jtask_once.applying import HEADER, concerns, may_have_keys
from jtask_once.calls import claim_for
from jtask_once.debouncing import BurstClaim
from jtask_once.keys import Key, Kind, key_of, read_header, write_header
from jtask_once.reservations import Reservation
from jtask_once.standing import PATIENCE, Standing, Verdict, judge, standing_of

IDS = RunIds()


def work(order: Any, note: str = "") -> None: ...


def request(*args: Any, shared: Any = None, **options: Any) -> EnqueueRequest:
    """Return a call of a task with these options."""
    made = task(key="work", **options)(work) if options else task(key="work")(work)
    concerns(made)
    made.hooks  # noqa: B018 - fills in what the options' defaults are
    return EnqueueRequest(
        IDS.new(), made, args, {}, "q", None, None, (), shared={} if shared is None else shared
    )


def name_of(wanted: Any, *args: Any, kind: Kind = Kind.UNIQUE) -> str | None:
    key = key_of(kind, wanted, request(*args))
    return None if key is None else key.name


# --- keys --------------------------------------------------------------------------------------


def test_a_key_belongs_to_its_kind_and_its_task() -> None:
    assert name_of("order-{order}", 17) == "unique:work:order-17"
    assert name_of("{order}", 17, kind=Kind.IDEMPOTENCY) == "idempotency_key:work:17"


def test_a_template_knows_defaults_forms_and_attributes() -> None:
    assert name_of("{order.name}-{note}", SimpleNamespace(name="x")) == "unique:work:x-"
    assert name_of("{order:%Y-%m}", date(2031, 5, 4)) == "unique:work:2031-05"


def test_all_arguments_make_one_key_however_they_are_written() -> None:
    assert name_of(True, 17) == name_of(True, 17, "")
    assert name_of(True, 17) != name_of(True, 18)
    assert name_of(True, 17) != name_of(True, "17")


def test_a_function_gets_the_call_and_its_arguments() -> None:
    def key(call: EnqueueRequest, parameters: dict[str, Any]) -> str:
        assert call.task.name == "work"
        return f"{parameters['order']}{parameters['note']!r}"

    assert name_of(key, 17) == "unique:work:17''"
    assert name_of(lambda call, parameters: None, 17) is None


def test_what_is_no_text_is_no_key() -> None:
    with pytest.raises(TypeError, match="a key is a text, got 17"):
        name_of(lambda call, parameters: 17, 17)
    with pytest.raises(ValueError, match="at least one character"):
        name_of("{order}", "")


@pytest.mark.parametrize("text", ["x" * 1000, "\ud800", "☃" * 300])
def test_a_key_of_any_length_and_characters_has_a_name_that_a_broker_takes(text: str) -> None:
    name = name_of("{order}", text)
    assert name is not None
    assert len(name) <= 200
    assert name.encode()
    assert name != name_of("{order}", text + "x")


def test_a_header_says_for_which_run_which_keys_were_claimed() -> None:
    keys = {Kind.UNIQUE: Key(Kind.UNIQUE, "unique:work:1", "the key '1'")}
    found = ("a-run", [Key(Kind.UNIQUE, "unique:work:1")])
    assert read_header(write_header("a-run", keys)) == found
    assert read_header(write_header("a-run", {})) == ("", [])


@pytest.mark.parametrize(
    "header",
    ["", "[]", "nonsense", '{"unique": 3}', '{"unique": "debounce_key:work"}', '{"unique": "x"}'],
)
def test_a_header_that_cannot_be_read_names_no_keys(header: str) -> None:
    assert read_header(header)[1] == []


# --- who has a key -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "sealed", "standing", "waited", "verdict"),
    [
        (Kind.UNIQUE, False, Standing.ALIVE, 99.0, Verdict.HELD),
        (Kind.UNIQUE, True, Standing.ALIVE, 99.0, Verdict.HELD),
        (Kind.UNIQUE, True, Standing.ENDED, 0.0, Verdict.FREE),
        (Kind.IDEMPOTENCY, True, Standing.ENDED, 0.0, Verdict.HELD),
        (Kind.IDEMPOTENCY, False, Standing.ALIVE, 0.0, Verdict.HELD),
        (Kind.UNIQUE, False, Standing.NOWHERE, 0.0, Verdict.UNSETTLED),
        (Kind.UNIQUE, False, Standing.NOWHERE, PATIENCE, Verdict.FREE),
        (Kind.IDEMPOTENCY, False, Standing.NOWHERE, PATIENCE, Verdict.FREE),
        (Kind.UNIQUE, True, Standing.NOWHERE, 0.0, Verdict.UNSETTLED),
        (Kind.UNIQUE, True, Standing.NOWHERE, 0.5, Verdict.FREE),
    ],
)
def test_what_becomes_of_a_key(
    kind: Kind, sealed: bool, standing: Standing, waited: float, verdict: Verdict
) -> None:
    held = Reservation(IDS.new(), time.time(), sealed)
    assert judge(kind, held, standing, waited, time.time()) is verdict


def test_a_run_so_old_that_its_outcome_may_be_gone_is_not_waited_for() -> None:
    held = Reservation(IDS.new(), 0.0)
    later = created_at(held.run_id) + get_settings().result_ttl + 1
    assert judge(Kind.IDEMPOTENCY, held, Standing.NOWHERE, 0.0, later) is Verdict.FREE


def test_a_record_is_read_as_it_was_written() -> None:
    for reservation in (
        Reservation(IDS.new(), 12.5),
        Reservation(IDS.new(), 12.5, is_sealed=True),
        Reservation(IDS.new(), 12.5, queue="mails", priority=3),
    ):
        assert Reservation.decode(reservation.encode()) == reservation


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"run_id": "*"}', b'{"run_id": 3, "at": 1}', b"\xff"]
)
def test_a_record_that_names_no_run_says_nothing(body: bytes) -> None:
    assert Reservation.decode(body) is None


def test_a_run_that_has_ended_is_over_although_it_is_still_on_its_queue() -> None:
    async def main() -> list[Standing]:
        broker = MemoryBroker("memory://once", Storage(), asyncio.get_running_loop())
        waiting, ended, gone = IDS.new(), IDS.new(), IDS.new()
        await broker.runs.enqueue([Message(run_id, "q", b"") for run_id in (waiting, ended)])
        await broker.results.put(OutcomeRecord(ended, b""))
        found = [await standing_of(broker, run_id) for run_id in (waiting, ended, gone)]
        await broker.close()
        return found

    assert asyncio.run(main()) == [Standing.ALIVE, Standing.ENDED, Standing.NOWHERE]


# --- calls -------------------------------------------------------------------------------------


def test_a_call_without_a_key_claims_nothing() -> None:
    call = request(17, unique=lambda call, parameters: None)
    assert claim_for(call) is None
    # A worker that has the task would claim one for it otherwise.
    assert call.headers == {HEADER: "{}"}


def test_a_call_of_a_copy_that_is_told_not_to_be_unique_says_so() -> None:
    call = request(17, unique=True)
    copy = call.task.copied(call.task.definition, {**call.task.options, "unique": None}, {})
    assert concerns(copy)
    other = EnqueueRequest(IDS.new(), copy, (17,), {}, "q", None, None, ())
    assert claim_for(other) is None
    assert other.headers == {HEADER: "{}"}


def test_a_debounced_call_needs_no_header() -> None:
    call = request(17, debounce=5)
    assert isinstance(claim_for(call), BurstClaim)
    assert call.headers == {}


def test_two_runs_of_one_call_with_one_key_refuse_the_call() -> None:
    shared: dict[str, Any] = {}
    assert claim_for(request(17, shared=shared, unique=True)) is not None
    with pytest.raises(NotUnique, match="two runs of one call have the same arguments"):
        claim_for(request(17, shared=shared, unique=True))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"unique": "{order.id}"}, "its unique makes no key: AttributeError"),
        (
            {"idempotency_key": lambda call, parameters: 1 // 0},
            "its idempotency_key makes no key: ZeroDivisionError",
        ),
        (
            {"debounce": 1, "debounce_key": lambda call, parameters: 3},
            "its debounce_key makes no key: TypeError: a key is a text, got 3",
        ),
        ({"unique": True}, "makes no key: TypeError.*give unique= a template or a function"),
    ],
)
def test_a_key_that_cannot_be_made_is_one_sentence_at_the_call(
    options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(TaskDefinitionError, match=f"task 'work': .*{sentence}"):
        claim_for(request(object(), **options))


def test_a_direct_call_has_no_keys() -> None:
    @task(unique=True)
    def direct(order: int) -> Any:
        from jtask.runtime import current_run

        run = current_run()
        assert run is not None
        assert not may_have_keys(run)
        return direct(order - 1) if order else "done"

    assert direct(2) == "done"


# --- options -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"idempotency_key": 17}, "must be a text or a function of the call and its arguments"),
        ({"idempotency_key": lambda: ""}, r"cannot be called with \(context, parameters\)"),
        ({"unique": 1.5}, "must be a text or a function"),
        ({"unique": True, "on_conflict": "ignore"}, "must be 'raise' or 'existing'"),
        ({"on_conflict": "existing"}, "needs unique="),
        ({"debounce": 0.5}, "of at least 1 s and at most 100 years, got 0.5"),
        ({"debounce": 1e30}, "of at least 1 s and at most 100 years, got 1e\\+30"),
        ({"debounce": "soon"}, "must be a timedelta, or seconds"),
        ({"debounce": 5, "unique": True}, "does not go with unique="),
        ({"debounce": 5, "idempotency_key": "x"}, "does not go with idempotency_key="),
        ({"debounce_key": "{order}"}, "needs debounce="),
    ],
)
def test_an_option_that_will_not_do_is_refused_where_it_is_given(
    options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(TaskDefinitionError, match=sentence):
        task(**options)(work)


def test_options_are_kept_as_plugins_need_them() -> None:
    made = task(debounce=timedelta(minutes=1), unique=False)(work)
    assert (made.options["debounce"], made.options["unique"]) == (60.0, None)
    copy = task(unique=True, on_conflict="existing")(work).with_options(unique=None)
    assert copy.options["unique"] is None


def test_a_task_without_these_options_is_none_of_the_plugins_business() -> None:
    assert not concerns(task(work))
    assert concerns(task(unique="x")(work).with_options(unique=False))
