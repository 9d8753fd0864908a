"""A task is its function: called directly it gives, raises and shows what the function does."""

import asyncio
import copy
import functools
import importlib
import inspect
import pickle
import subprocess
import sys
import threading
import traceback
import uuid
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, cast

import pytest
from programs import environment

import jtask
import jtask.retries
from jtask import AsyncTask, SyncTask, Task, runtime, tags, task
from jtask.errors import RunNotFound, TargetError, TaskDefinitionError
from jtask.ids import is_run_id


@task
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


class Counter:
    @task
    def count(self) -> int:
        return 1


@task
async def slow_add(a: int, b: int = 1) -> int:
    await asyncio.sleep(0)
    return a + b


def test_a_direct_call_gives_the_value() -> None:
    assert add(2, b=3) == 5
    assert add(2) == 3


def test_a_direct_call_of_a_coroutine_function_is_awaited() -> None:
    assert asyncio.run(slow_add(2, b=3)) == 5


def test_a_coroutine_that_nobody_awaits_is_named_as_its_task() -> None:
    with pytest.warns(RuntimeWarning, match="coroutine 'slow_add' was never awaited"):
        slow_add(1)


def test_a_direct_call_passes_objects_through_untouched() -> None:
    @task
    def same(value: int) -> str:
        return value  # type: ignore[return-value]

    thing: Any = object()
    assert same(thing) is thing


def test_an_exception_comes_out_as_it_went_in_and_shows_the_line() -> None:
    error = ValueError("no")

    @task
    def fail() -> None:
        raise error  # the line

    with pytest.raises(ValueError, match=r"^no$") as caught:
        fail()
    assert caught.value is error
    assert error.__cause__ is None
    frames = traceback.extract_tb(error.__traceback__)
    assert frames[-1].line == "raise error  # the line"
    assert frames[-1].filename == __file__


def test_an_exception_of_a_coroutine_comes_out_as_it_went_in() -> None:
    error = KeyError("no")

    @task
    async def fail() -> None:
        await asyncio.sleep(0)
        raise error

    with pytest.raises(KeyError) as caught:
        asyncio.run(fail())
    assert caught.value is error
    assert traceback.extract_tb(error.__traceback__)[-1].line == "raise error"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_base_exception_of_a_direct_call_comes_out_too(kind: type[BaseException]) -> None:
    @task
    def stop() -> None:
        raise kind

    with pytest.raises(kind):
        stop()


def test_a_stop_iteration_comes_out_as_itself() -> None:
    @task
    def stop() -> None:
        raise StopIteration(3)

    with pytest.raises(StopIteration) as caught:
        stop()
    assert caught.value.value == 3


def test_a_cancelled_direct_call_is_cancelled() -> None:
    @task
    async def wait() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        calling = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling

    asyncio.run(main())


def test_a_plain_task_may_be_called_in_a_running_loop() -> None:
    async def main() -> int:
        return add(1) + await slow_add(1)

    assert asyncio.run(main()) == 4


def test_wrong_arguments_of_a_direct_call_are_pythons_own_error() -> None:
    with pytest.raises(TypeError, match=r"add\(\) missing 1 required positional argument: 'a'"):
        add()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_an_argument_may_be_called_self(jtask_memory: str) -> None:
    @task
    def plain(**facts: int) -> dict[str, int]:
        return facts

    @task
    async def slow(**facts: int) -> dict[str, int]:
        return facts

    @task
    def each(self: int) -> Generator[int]:
        yield self

    @task
    async def slow_each(self: int) -> AsyncGenerator[int]:
        yield self

    async def delayed() -> str:
        return (await plain.adelay(self=1)).run_id

    async def items() -> list[int]:
        return [item async for item in slow_each(self=1)]

    assert plain(self=1) == plain.submit(self=1).result() == {"self": 1}
    assert plain.map(self=[1]).result() == [{"self": 1}]
    assert asyncio.run(slow(self=1)) == {"self": 1}
    assert list(each(self=1)) == each.submit(self=1).result() == asyncio.run(items()) == [1]
    assert is_run_id(plain.delay(self=1).run_id)
    assert is_run_id(asyncio.run(delayed()))


def test_a_task_looks_like_its_function() -> None:
    assert add.__name__ == "add"
    assert add.__doc__ == "Add two numbers."
    assert add.description == "Add two numbers."
    assert inspect.signature(add) == inspect.signature(add.fn)
    assert add.fn(1, 2) == 3
    assert repr(add) == f"<task 'add' key={add.key!r}>"
    assert isinstance(add, SyncTask)
    assert isinstance(slow_add, AsyncTask)
    assert (add.is_async, slow_add.is_async) == (False, True)


def test_what_the_decorator_is_told_is_kept() -> None:
    @task(name="Hello", description="d", tags=["x", "y"], version="2", queue="q", priority=3)
    def work() -> None:
        """Not this."""

    assert (work.name, work.description, work.version) == ("Hello", "d", "2")
    assert (work.tags, work.queue, work.priority) == ({"x", "y"}, "q", 3)


def test_a_task_has_a_queue_of_its_own_named_by_its_key() -> None:
    assert add.queue == add.key


# --- methods -----------------------------------------------------------------------------------


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    @task
    def sell(self, what: str) -> str:
        return f"{self.name} sells {what}"

    @task
    async def buy(self, what: str) -> str:
        return f"{self.name} buys {what}"

    @staticmethod
    @task
    def outer_static(x: int) -> int:
        return x + 1

    @task
    @staticmethod
    def inner_static(x: int) -> int:
        return x + 2

    @task
    @classmethod
    def kind(cls, x: int) -> str:
        return f"{cls.__name__} {x}"


class Market(Shop):
    pass


def test_a_method_gets_its_object() -> None:
    assert Shop("Ann").sell("tea") == "Ann sells tea"
    assert asyncio.run(Shop("Ann").buy("tea")) == "Ann buys tea"
    assert Shop.sell(Shop("Bob"), "tea") == "Bob sells tea"


def test_a_method_has_one_key_on_the_class_and_on_objects() -> None:
    assert Shop("Ann").sell.key == Shop.sell.key == Market("Eve").sell.key
    assert Shop.sell.key != Shop.buy.key


def test_a_method_is_made_ready_once_for_all_objects() -> None:
    assert Shop("Ann").sell.codecs is Shop("Bob").sell.codecs is Shop.sell.codecs
    assert Shop("Ann").sell.hooks is Shop.sell.hooks


def test_two_objects_do_not_share_a_bound_task() -> None:
    ann, bob = Shop("Ann"), Shop("Bob")
    sell = ann.sell
    assert bob.sell("tea") == "Bob sells tea"
    assert sell("tea") == "Ann sells tea"


@pytest.mark.parametrize("shop", [Shop, Shop("Ann")])
def test_static_methods_work_in_both_decorator_orders(shop: Any) -> None:
    assert shop.outer_static(1) == 2
    assert shop.inner_static(1) == 3


@pytest.mark.parametrize("kind", [Shop, Market])
def test_a_class_method_gets_the_class_it_is_called_on(kind: type[Shop]) -> None:
    for shop in (kind, kind("Ann")):
        assert shop.kind(1) == f"{kind.__name__} 1"
        assert shop.kind.bound == (kind,)


ABOVE_CLASSMETHOD = "is a class method: put @task above @classmethod, not below it"


def test_a_task_below_classmethod_is_refused_where_it_is_defined() -> None:
    with pytest.raises(TaskDefinitionError, match=f"^task 'open' {ABOVE_CLASSMETHOD}"):

        class Office:
            @classmethod
            @task
            def open(cls, hour: int) -> None: ...


class Warehouse:
    @classmethod
    @task
    def stock(own, item: str) -> None:  # the class is not called `cls`
        ...


def test_a_task_below_classmethod_is_refused_at_its_first_use_whatever_the_class_is_called() -> (
    None
):
    with pytest.raises(TaskDefinitionError, match=f"^task 'stock' {ABOVE_CLASSMETHOD}"):
        _ = vars(Warehouse)["stock"].__func__.codecs


def test_a_function_that_is_no_method_may_take_something_called_cls() -> None:
    @task
    def describe(cls: str) -> str:
        return cls

    assert describe("first") == "first"


def test_a_callable_object_can_be_a_task() -> None:
    class Adder:
        def __call__(self, x: int) -> int:
            return x + 1

    class SlowAdder:
        async def __call__(self, x: int) -> int:
            return x + 2

    plain, slow = task(Adder()), task(SlowAdder())
    assert plain(1) == 2
    assert asyncio.run(slow(1)) == 3
    assert plain.name == "Adder"
    assert slow.is_async


def test_a_partial_can_be_a_task() -> None:
    plus_ten = task(name="plus-ten")(functools.partial(add.fn, 10))
    assert plus_ten(5) == 15


# --- what cannot be a task -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wait_for", "return_state"])
def test_reserved_parameter_names_are_refused(name: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def work({name}): ...", namespace)
    with pytest.raises(TaskDefinitionError, match=f"'{name}' is reserved: rename it"):
        task(namespace["work"])


@pytest.mark.parametrize("thing", [3, "text", None.__class__, Shop])
def test_what_is_no_function_is_refused(thing: Any) -> None:
    with pytest.raises(TaskDefinitionError, match="needs a function"):
        task()(thing)


@pytest.mark.parametrize("decorator", [task, task(name="twice"), jtask.flow])
def test_a_task_is_not_made_a_task_again(decorator: Any) -> None:
    with pytest.raises(TaskDefinitionError, match=r"'add' is a task already.*add\.with_options"):
        decorator(add)


def test_an_option_that_was_not_given_by_name_is_told_how() -> None:
    positional: Any = task
    with pytest.raises(TaskDefinitionError, match=r"got 'fetch'; give options by name.*name="):
        positional("fetch")


def test_tags_must_be_several_texts() -> None:
    with pytest.raises(TaskDefinitionError, match="got the string 'one'"):
        task(tags="one")
    with pytest.raises(TaskDefinitionError, match="tags must be strings, got 1"):
        task(tags=[1])  # type: ignore[list-item]


# --- what the run knows of itself ----------------------------------------------------------------


@pytest.mark.parametrize("module", ["pickle", "cloudpickle"])
def test_a_task_is_pickled_by_the_name_that_its_function_has(module: str) -> None:
    pickler: Any = importlib.import_module(module)
    for one in (add, slow_add, Counter.count):
        assert pickle.loads(pickler.dumps(one)) is one
        assert copy.deepcopy(one) is one


def test_a_copy_of_a_task_is_not_pickled_as_the_task() -> None:
    changed = add.with_options(name="other")
    assert copy.deepcopy(changed).name == "other"
    assert copy.deepcopy(task(functools.partial(add.fn, 1)))(2) == 3


@task
def facts() -> dict[str, Any]:
    names = ("run_id", "task_name", "attempt", "tags", "parent_id", "queue", "parameters")
    return {name: getattr(runtime, name) for name in names}


def test_runtime_tells_of_the_run_inside_and_nothing_outside() -> None:
    found = facts()
    assert is_run_id(found.pop("run_id"))
    assert found == {
        "task_name": "facts",
        "attempt": 1,
        "tags": (),
        "parent_id": None,
        "queue": None,
        "parameters": {},
    }
    assert runtime.run_id is None
    assert runtime.parameters is None
    assert runtime.current_run() is None


def test_runtime_refuses_a_name_that_no_run_has() -> None:
    with pytest.raises(AttributeError, match="no 'colour'"):
        _ = runtime.colour


def test_parameters_include_defaults() -> None:
    @task
    def work(a: int, b: int = 2, *rest: int, **more: int) -> Any:
        return runtime.parameters

    assert work(1, c=3) == {"a": 1, "b": 2, "rest": (), "more": {"c": 3}}


def test_a_nested_run_knows_its_parent_and_gives_the_place_back() -> None:
    @task
    def outer() -> tuple[Any, Any, Any, Any]:
        before = runtime.run_id
        inner = facts()
        return before, inner["parent_id"], inner["run_id"], runtime.run_id

    before, parent, inner, after = outer()
    assert before == parent == after
    assert inner != before


def test_concurrent_coroutines_each_know_their_own_run() -> None:
    @task
    async def own() -> tuple[Any, Any]:
        first = runtime.run_id
        await asyncio.sleep(0)
        return first, runtime.run_id

    async def main() -> list[tuple[Any, Any]]:
        return await asyncio.gather(*(own() for _ in range(5)))

    found = asyncio.run(main())
    assert all(first == second for first, second in found)
    assert len({first for first, _ in found}) == 5


def test_tags_of_the_task_and_of_the_surroundings_are_joined() -> None:
    @task(tags=["own"])
    def work() -> Any:
        return runtime.tags

    assert work() == ("own",)
    with tags("a", "b"), tags("b", "c") as inner:
        assert inner == ("a", "b", "c")
        assert work() == ("own", "a", "b", "c")
    assert work() == ("own",)


def test_tags_do_not_leak_into_other_threads() -> None:
    found: list[Any] = []
    with tags("here"):
        thread = threading.Thread(target=lambda: found.append(facts()["tags"]))
        thread.start()
        thread.join()
    assert found == [()]


# --- what a mere decorator costs -----------------------------------------------------------------

HEAVY = ("pydantic", "pydantic_core", "pydantic_settings", "nats", "click", "uvloop")
HEAVY += ("opentelemetry", "cloudpickle", "jtask_nats", "jtask_memory", "rich")


def loaded_by(code: str) -> list[str]:
    check = f"{code}\nimport sys\nprint(*(m for m in {HEAVY} + ('asyncio',) if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", check],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_jtask_loads_nothing_heavy() -> None:
    assert loaded_by("import jtask") == []


def test_defining_a_task_loads_nothing_heavy() -> None:
    code = "from jtask import task\n@task(tags=['x'], queue='q')\ndef f(a: int) -> int: return a"
    assert loaded_by(code) == []


def test_no_broker_is_contacted_by_a_direct_call() -> None:
    code = "from jtask import task\n@task\ndef f(a: int) -> int: return a\nassert f(1) == 1"
    assert not {"nats", "jtask_memory", "uvloop"} & set(loaded_by(code))


def takes_any(found: Callable[..., Any]) -> None:
    assert isinstance(found, Task)


def test_a_task_passes_for_a_function() -> None:
    takes_any(add)
    assert list(map(add, [1, 2])) == [2, 3]


@pytest.mark.parametrize(
    "call",
    [
        lambda: add.apply_async("12"),
        lambda: add.apply_async(1),  # type: ignore[arg-type]
        lambda: add.delay_many([1, 2]),  # type: ignore[list-item]
        lambda: add.delay_many(["12"]),
    ],
)
def test_arguments_that_are_no_tuple_are_refused_and_not_taken_apart(
    jtask_memory: str, call: Callable[[], object]
) -> None:
    with pytest.raises(TaskDefinitionError, match="must be a tuple"):
        call()


def test_keyword_arguments_that_are_no_dict_are_refused() -> None:
    with pytest.raises(TaskDefinitionError, match=r"kwargs must be a dict.*got 5"):
        add.apply_async((1,), cast("Any", 5))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: add.apply_async((), cast("Any", {1: 2})), r"names of arguments.*strings, got 1"),
        (lambda: add.delay_many([cast("Any", {1: 2})]), r"names of arguments.*strings, got 1"),
        (lambda: add.delay_many(cast("Any", 5)), r"calls must be a list of tuples.*got 5"),
    ],
)
def test_arguments_that_are_put_together_wrongly_are_refused_in_one_sentence(
    jtask_memory: str, call: Callable[[], object], sentence: str
) -> None:
    with pytest.raises(TaskDefinitionError, match=sentence):
        call()


def test_the_module_lists_its_names_that_are_imported_at_first_use() -> None:
    assert {"get_run", "connect", "task"} <= set(dir(jtask))


@pytest.mark.parametrize("run_id", [None, 5, uuid.UUID(int=7)])
def test_a_run_id_that_is_no_text_is_refused_in_one_sentence(
    jtask_memory: str, run_id: Any
) -> None:
    with pytest.raises(RunNotFound, match="a run id is a string such as"):
        jtask.get_run(run_id)


def test_what_is_no_task_cannot_say_how_to_read_a_result(jtask_memory: str) -> None:
    run_id: str = add.delay(1).run_id
    with pytest.raises(TargetError, match="'add' is not a task"):
        jtask.get_run(run_id, "add")  # type: ignore[call-overload]


def test_programs_of_prefect_find_the_backoff_beside_the_tasks() -> None:
    assert jtask.tasks.exponential_backoff is jtask.retries.exponential_backoff


def test_apply_async_takes_none_for_no_positional_arguments_as_prefect_does(
    jtask_worker: Any,
) -> None:
    @task(key="applied")
    def applied(a: int = 1, *, b: int = 2) -> int:
        return a + b

    jtask_worker(applied)
    assert applied.apply_async(None, {"b": 5}).result(10) == 6
    assert applied.apply_async().result(10, False) == 3


def test_a_task_serves_itself_on_a_loop_until_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[object] = []

    async def aserve(*tasks: object, concurrency: int) -> None:
        served.append((tasks, concurrency))

    monkeypatch.setattr("jtask.task_worker.aserve", aserve)

    @task(key="self-served")
    def quiet() -> None: ...

    asyncio.run(quiet.aserve(concurrency=3))
    assert served == [((quiet,), 3)]


@pytest.mark.parametrize(
    "options",
    [
        {"retries": -1},
        {"retries": "2"},
        {"retry_delay_seconds": [1] * 51},
        {"retry_jitter_factor": -0.5},
        {"timeout_seconds": 0},
        {"on_running": [3]},
        {"on_failure": 3},
        {"priority": 10},
        {"tags": 3},
        {"tags": "one"},
        {"name": 3},
        {"version": 3},
        {"description": 3},
    ],
)
def test_a_wrong_option_is_a_value_error_and_a_type_error(options: dict[str, Any]) -> None:
    def work() -> None: ...

    for kind in (TaskDefinitionError, ValueError, TypeError):
        with pytest.raises(kind):
            task(**options)(work)
        with pytest.raises(kind):
            task(key="odd-options")(work).with_options(**options)
