"""How many runs of a queue end: figures, and the line that is drawn of them."""

from typing import Any

import pytest
from in_process import StartWorker
from parcels import parcel
from served_console import ServedConsole
from waiting import PATIENCE, eventually

from jtask_console.charts import sparkline
from jtask_console.pages.queue_rates import MINUTES, rate_of


def test_the_rate_is_that_of_the_last_minutes_however_far_the_last_one_is() -> None:
    steady = dict.fromkeys(range(MINUTES), 60) | {MINUTES: 30}
    assert rate_of(steady, into=30).per_minute == pytest.approx(60)
    assert rate_of({MINUTES: 9}, into=30).per_minute == pytest.approx(2)
    assert rate_of({MINUTES - 5: 1000}, into=59).per_minute == 0


def test_a_minute_that_is_not_over_is_not_drawn() -> None:
    rate = rate_of({0: 3, MINUTES - 1: 5, MINUTES: 7}, into=10)
    assert len(rate.minutes) == MINUTES
    assert (rate.minutes[0], rate.minutes[-1]) == (3, 5)


def test_a_line_reaches_the_top_where_most_runs_ended() -> None:
    assert sparkline([0, 4, 2]) == "0,15.0 1,0.5 2,7.8"
    assert sparkline([0, 0]) == "0,15.0 1,15.0"


def test_a_queue_tells_how_many_of_its_runs_end(
    console: ServedConsole, jtask_worker: StartWorker
) -> None:
    jtask_worker(parcel)
    parcel.delay("Ada").result(PATIENCE)

    def rate() -> Any:
        queues = console.client.get("/api/queues").json()["queues"]
        return sum(one["ended_per_minute"] for one in queues if one["name"] == "parcels")

    eventually(lambda: rate() > 0)
    assert 'class="spark"' in console.page("/queues")
