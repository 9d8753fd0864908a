"""Which numbers a worker can be started with."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from jtask import task
from jtask.errors import ConfigurationError
from jtask.task_worker import aserve, serve
from jtask.testing import start_worker

PATIENCE = 30.0


@task
def add(a: int, b: int) -> int:
    return a + b


def serve_in_a_loop(**numbers: Any) -> None:
    asyncio.run(asyncio.wait_for(aserve(add, **numbers), PATIENCE))


def serve_here(**numbers: Any) -> None:
    serve(add, **numbers)


def start(**numbers: Any) -> None:
    start_worker(add, **numbers)


WRONG: list[tuple[str, Any, str]] = [
    ("concurrency", 0, "concurrency must be a whole number of at least 1, got 0"),
    ("concurrency", 2.5, "concurrency must be a whole number of at least 1, got 2.5"),
    ("concurrency", "4", "concurrency must be a whole number of at least 1, got '4'"),
    ("prefetch", -1, "prefetch must be a whole number of at least 0, got -1"),
]
WRONG_ENDS: list[tuple[str, Any, str]] = [
    ("shutdown_timeout", -1.0, "shutdown_timeout must be .* 0 or more, got -1.0"),
    ("shutdown_timeout", math.nan, "shutdown_timeout must be .* 0 or more, got nan"),
]


@pytest.mark.parametrize("begin", [serve_here, serve_in_a_loop])
@pytest.mark.parametrize(("name", "value", "said"), WRONG + WRONG_ENDS)
def test_a_worker_is_not_started_with_numbers_with_which_none_works(
    begin: Callable[..., None], name: str, value: Any, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        begin(**{name: value})


@pytest.mark.parametrize(("name", "value", "said"), WRONG)
def test_nor_is_one_in_a_test(name: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        start(**{name: value})


def test_a_supervisor_needs_a_worker_to_supervise() -> None:
    with pytest.raises(ConfigurationError, match="processes must be a whole number of at least 1"):
        serve(add, processes=0)
