"""Runs that wait for others: `b.delay(a.delay(1))`, on each broker."""

import dataclasses
from datetime import UTC, datetime

import pytest
from in_process import StartWorker, events_of, on_each_broker  # noqa: F401 - a fixture

from jtask import task
from jtask.annotations import allow_failure
from jtask.errors import RunNotReady
from jtask.states import StateName

WAIT = 30.0


@pytest.fixture(name="jtask_broker")
def _broker(on_each_broker: str) -> str:  # noqa: F811
    return on_each_broker


@dataclasses.dataclass
class Order:
    number: int
    at: datetime


@task(queue="deps")
def double(x: int) -> int:
    return 2 * x


@task(queue="deps")
def order(number: int) -> Order:
    return Order(number, datetime(2026, 1, 1, tzinfo=UTC))


@task(queue="deps")
def describe(one: Order, others: list[Order], **more: object) -> str:
    return f"{type(one).__name__} {one.number} {one.at.year} {[o.number for o in others]} {more}"


@task(queue="deps")
def total(xs: list[int]) -> int:
    return sum(xs)


@task(queue="deps")
def shape(value):  # type: ignore[no-untyped-def]
    return repr(value)


@task(queue="deps")
def fail(x: int) -> int:
    raise ValueError(f"no {x}")


TASKS = (double, order, describe, total, shape, fail)


def test_a_run_takes_the_value_of_another(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS)
    assert double.delay(double.delay(21)).result(WAIT) == 84


def test_a_run_that_is_sent_first_waits_for_one_that_is_over_later(
    jtask_worker: StartWorker,
) -> None:
    first = double.delay(1)
    second = double.delay(first)
    third = total.delay([first, second, 3])
    jtask_worker(*TASKS)
    assert third.result(WAIT) == 2 + 4 + 3


def test_values_come_as_their_annotations_say(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS)
    run = describe.delay(
        order.delay(1), [order.delay(2), Order(3, datetime.now(UTC))], note=double.delay(5)
    )
    assert run.result(WAIT) == "Order 1 2026 [2, 3] {'note': 10}"


def test_a_run_without_annotations_gets_what_get_run_would_give(
    jtask_worker: StartWorker,
) -> None:
    jtask_worker(*TASKS)
    run = shape.delay({"t": (order.delay(1), double.delay(1)), "s": {1, 2}})
    assert run.result(WAIT) == (
        "{'t': ({'number': 1, 'at': '2026-01-01T00:00:00Z'}, 2), 's': {1, 2}}"
    )


def test_what_waits_for_a_run_that_failed_is_not_ready_and_so_on(
    jtask_worker: StartWorker,
) -> None:
    jtask_worker(*TASKS)
    first = fail.delay(1)
    second = double.delay(first)
    third = double.delay(second)
    with pytest.raises(RunNotReady, match=second.run_id):
        third.result(WAIT)
    assert second.state.name is StateName.NOT_READY
    assert first.run_id in second.state.message
    assert "no 1" in second.state.message


def test_a_failure_that_is_allowed_is_the_value(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS)
    run = shape.delay([allow_failure(fail.delay(1)), double.delay(1)])
    assert run.result(WAIT) == "[ValueError('no 1'), 2]"


def test_the_record_says_which_run_went_into_which_input(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS)
    first, second, third = double.delay(1), double.delay(2), double.delay(3)
    run = total.apply_async(([first, second],), wait_for=[third])
    assert run.result(WAIT) == 6
    info = run.info
    assert info is not None
    assert info.needs is not None
    assert info.needs.arguments == {"xs": (first.run_id, second.run_id)}
    assert info.needs.wait_for == (third.run_id,)
