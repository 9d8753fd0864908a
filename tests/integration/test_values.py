"""What a run in the background gets and returns is what a direct call does, on each broker."""

import contextvars
import decimal
import functools
from contextvars import ContextVar
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from in_process import StartWorker, on_each_broker
from waiting import PATIENCE

from jtask import StateName, get_run, task
from jtask.errors import ResultError

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker
VALUE = {(1, 2): [{3}, Decimal("1.5"), b"\xff", date(2030, 1, 1), datetime(2030, 1, 1, tzinfo=UTC)]}


TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")


class Unknown:
    pass


def test_values_that_json_changes_come_back_without_an_annotation(
    jtask_worker: StartWorker,
) -> None:
    @task
    def echo(value):  # type: ignore[no-untyped-def]
        return value, type(value).__name__

    jtask_worker(echo)
    run = echo.delay(VALUE)
    assert run.result(PATIENCE) == echo(VALUE) == (VALUE, "dict")
    assert get_run(run.run_id).result(PATIENCE) == (VALUE, "dict")


def test_values_that_are_too_large_for_a_message_have_tags_too(jtask_worker: StartWorker) -> None:
    @task
    def echo(value):  # type: ignore[no-untyped-def]
        return value

    jtask_worker(echo)
    large = (b"\x00" * 1_000_000, {1})
    assert echo.delay(large).result(PATIENCE) == large


@pytest.mark.parametrize("kind", ["plain", "asynchronous"])
def test_a_result_that_cannot_be_stored_is_not_retried(
    kind: str, jtask_worker: StartWorker
) -> None:
    called: list[int] = []

    @task(retries=3)
    def plain() -> Any:
        called.append(1)
        return Unknown()

    @task(retries=3)
    async def asynchronous() -> Any:
        called.append(1)
        return Unknown()

    work: Any = {"plain": plain, "asynchronous": asynchronous}[kind]
    jtask_worker(work)
    run = work.delay()
    with pytest.raises(ResultError, match="Unknown"):
        run.result(PATIENCE)
    assert len(called) == 1
    assert run.info is not None
    assert run.info.state.name is StateName.FAILED
    assert run.info.attempt == 1
    assert run.info.state.message.startswith(f"the result of task '{kind}' (Unknown) cannot")


def test_a_decorator_between_task_and_function_gets_arguments_by_position(
    jtask_worker: StartWorker,
) -> None:
    def doubling(fn: Any) -> Any:
        @functools.wraps(fn)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return fn(args[0] * 2, **kwargs)

        return wrapper

    @task
    @doubling
    def add(a: int, b: int = 0) -> int:
        return a + b

    jtask_worker(add)
    assert add.delay(5).result(PATIENCE) == add(5) == 10
    assert add.delay(5, b=1).result(PATIENCE) == add(5, b=1) == 11


# --- context variables ---------------------------------------------------------------------------


def enter(tenant: str) -> tuple[str, int]:
    """Return what is there already, and leave something behind."""
    found = TENANT.get(), decimal.getcontext().prec
    TENANT.set(tenant)
    decimal.getcontext().prec = 3
    return found


@task
def plain_visit(tenant: str) -> tuple[str, int]:
    return enter(tenant)


@task
async def asynchronous_visit(tenant: str) -> tuple[str, int]:
    return enter(tenant)


@task(isolation="process")
def isolated_visit(tenant: str) -> tuple[str, int]:
    return enter(tenant)


VISITS = pytest.mark.parametrize("visit", [plain_visit, asynchronous_visit])


@VISITS
@pytest.mark.parametrize("uses_decimals", [False, True])
def test_a_run_sees_the_context_that_the_worker_began_with_and_none_of_other_runs(
    visit: Any, uses_decimals: bool, jtask_worker: StartWorker
) -> None:
    def begin() -> int:
        TENANT.set("the worker's")
        precision = decimal.getcontext().prec if uses_decimals else 28
        # On one slot, where each run begins when the one before ends.
        jtask_worker(visit, concurrency=1)
        return precision

    precision = contextvars.Context().run(begin)
    runs = visit.delay_many([(str(number),) for number in range(5)])
    assert [run.result(PATIENCE) for run in runs] == [("the worker's", precision)] * 5
    # Nor does the process that was there before.
    assert decimal.getcontext().prec == 28


def test_a_run_in_a_process_of_its_own_sees_nothing_of_the_run_before_it(
    jtask_worker: StartWorker,
) -> None:
    jtask_worker(isolated_visit, concurrency=1)
    runs = isolated_visit.delay_many([("a",), ("b",), ("c",)])
    assert [run.result(PATIENCE) for run in runs] == [("nobody", 28)] * 3
