"""What a run in the background gets and returns is what a direct call does, on each broker."""

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
