"""Tasks that have one key and are not the same are refused where a worker would mix them up."""

import functools
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jtask import Task, task
from jtask.errors import TaskKeyConflict
from jtask.worker.targets import load_targets

pytestmark = pytest.mark.usefixtures("jtask_memory")


def factory() -> tuple[Any, Any]:
    def make(factor: int) -> Any:
        def multiply(number: int) -> int:
            return number * factor

        return task(multiply)

    return make(2), make(3)


def lambdas() -> tuple[Any, Any]:
    return task(lambda n: n * 2), task(lambda n: n * 3)


def partials() -> tuple[Any, Any]:
    return task(functools.partial(pow, 2)), task(functools.partial(pow, 3))


def loop() -> tuple[Any, Any]:
    made: list[Any] = []
    for factor in (2, 3):

        @task
        def multiply(number: int, factor: int = factor) -> int:
            return number * factor

        made.append(multiply)
    return made[0], made[1]


class Multiply:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, number: int) -> int:
        return number * self.factor

    def method(self, number: int) -> int:
        return number * self.factor


def objects() -> tuple[Any, Any]:
    return task(Multiply(2)), task(Multiply(3))


def methods() -> tuple[Any, Any]:
    return task(Multiply(2).method), task(Multiply(3).method)


def identity(number: int) -> int:
    return number


def undecorated(fn: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any) -> Any:
        return fn(*args)

    return wrapper


def wrappers() -> tuple[Any, Any]:
    return task(undecorated(abs)), task(undecorated(int))


def parametrised_wrappers() -> tuple[Any, Any]:
    def times(count: int) -> Any:
        def decorate(fn: Any) -> Any:
            @functools.wraps(fn)
            def wrapper(*args: Any) -> Any:
                return fn(*args) * count

            return wrapper

        return decorate

    return task(times(2)(identity)), task(times(3)(identity))


PAIRS = [
    factory,
    lambdas,
    partials,
    loop,
    objects,
    methods,
    wrappers,
    parametrised_wrappers,
]


@pytest.mark.parametrize("make", PAIRS)
def test_two_tasks_with_one_key_are_refused_by_delay_and_by_a_worker(
    make: Callable[[], tuple[Any, Any]], jtask_worker: Callable[..., Any]
) -> None:
    pair = make()
    assert pair[0].key == pair[1].key
    for one in pair:
        for refuse in (
            lambda one=one: one.delay(5),
            lambda one=one: one.with_options(tags=["x"]).delay(5),
            lambda one=one: one.delay_many([(5,)]),
            lambda one=one: jtask_worker(one),
        ):
            with pytest.raises(TaskKeyConflict, match="another name= or key=") as caught:
                refuse()
            assert repr(one.key) in str(caught.value)


def test_tasks_with_keys_of_their_own_are_told_apart(jtask_worker: Callable[..., Any]) -> None:
    def make(factor: int) -> "Task[[int], int]":
        @task(name=f"multiply by {factor}")
        def multiply(number: int) -> int:
            return number * factor

        return multiply

    double, triple = make(2), make(3)
    jtask_worker(double, triple)
    assert (double.delay(10).result(10), triple.delay(10).result(10)) == (20, 30)


@pytest.mark.parametrize("make", PAIRS)
def test_a_task_that_nobody_uses_any_more_is_no_rival(
    make: Callable[[], tuple[Any, Any]], jtask_worker: Callable[..., Any]
) -> None:
    only = make()[1]
    jtask_worker(only)
    only.delay(5).result(10)


def test_one_function_in_two_tasks_is_one_task(jtask_worker: Callable[..., Any]) -> None:
    def define() -> "Task[[], int]":
        @task
        def same() -> int:
            return 1

        return same

    first, second = define(), define()
    jtask_worker(first)
    assert (first.delay().result(10), second.delay().result(10)) == (1, 1)


def test_a_task_that_delays_itself_is_no_rival_of_its_twin() -> None:
    def define() -> "Task[[], Any]":
        @task
        def again() -> Any:
            return again.delay()

        return again

    first, second = define(), define()
    first.delay()
    second.delay()


def test_a_function_that_is_defined_anew_is_not_two() -> None:
    made: list[Any] = []
    for value in (1, 2):
        names: dict[str, Any] = {"task": task, "__name__": "notebook"}
        exec(compile(f"@task\ndef f(): return {value}", "<cell>", "exec"), names)
        made.append(names["f"])
    for one in made:
        one.delay()


def test_partials_of_two_functions_have_two_keys() -> None:
    assert task(functools.partial(abs)).key != task(functools.partial(round)).key


def test_two_tasks_of_one_name_in_a_file_are_not_served(tmp_path: Path) -> None:
    (tmp_path / "twins.py").write_text(
        textwrap.dedent("""
            from jtask import task

            @task
            def work(): return 1

            first = work

            @task
            def work(): return 2
        """)
    )
    code = textwrap.dedent("""
        from jtask.errors import TaskKeyConflict
        from jtask.worker.targets import load_targets
        try:
            load_targets(["twins.py"])
        except TaskKeyConflict as error:
            print(error)
    """)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "twins.work" in done.stdout


def test_a_target_that_is_named_twice_is_served_once(tmp_path: Path) -> None:
    file = tmp_path / "named_twice.py"
    file.write_text("from jtask import task\n@task\ndef work(): ...\nalso = work\n")
    assert len(load_targets([str(file), f"{file}:work"])) == 1
