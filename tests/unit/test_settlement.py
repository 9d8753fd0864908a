"""When what nobody here serves comes back."""

import pytest

from jtask.worker.settlement import unknown_task_seconds


@pytest.mark.parametrize(
    ("age", "pause"),
    [(-60.0, 10.0), (0.0, 10.0), (9.0, 10.0), (60.0, 60.0), (299.0, 299.0), (1e9, 300.0)],
)
def test_the_longer_a_run_has_waited_the_longer_it_is_put_back(age: float, pause: float) -> None:
    assert unknown_task_seconds(age) == pause


def test_twenty_thousand_runs_that_nobody_serves_come_back_seldom() -> None:
    deliveries, age = 0, 0.0
    while age < 86_400:
        age += unknown_task_seconds(age)
        deliveries += 1
    # A day of them; every ten seconds that would be 8,640.
    assert deliveries < 300
