"""What type checkers make of the public API; test_typing.py has mypy and pyright check it.

A line marked `error:` must be an error: each checker reports an ignore that is not needed.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from datetime import timedelta
from typing import Any, assert_type

from jtask import (
    AsyncFlow,
    AsyncGeneratorTask,
    AsyncTask,
    Connection,
    GeneratorTask,
    Run,
    State,
    SyncFlow,
    SyncTask,
    Task,
    aclose,
    aconnect,
    close,
    connect,
    flow,
    get_run,
    get_run_logger,
    runtime,
    tags,
    task,
)
from jtask.annotations import unmapped
from jtask.futures import Future, FutureList, as_completed, as_completed_async, wait
from jtask.run_streams import Stream, StreamItem
from jtask.states import Completed, Failed
from jtask.task_runners import ThreadPoolTaskRunner
from jtask.task_worker import serve
from jtask.wire.progress import Progress
from jtask_transactions import Transaction, get_transaction, once, transaction


@task
def add(a: int, b: int = 1) -> int:
    return a + b


@task
def count(most: int) -> Iterator[int]:
    yield from range(most)


@task(retries=1)
def drain(most: int) -> Generator[int, None, str]:
    yield from range(most)
    return "done"


@task
async def watch(path: str) -> AsyncIterator[bytes]:
    yield path.encode()


@task
async def fetch(url: str, *, retries: int = 0) -> bytes:
    return url.encode() * retries


@flow
def bill(order: int, *, note: str = "") -> str:
    return note * order


@flow(name="bill", validate_parameters=False, retries=2)
async def bill_async(order: int) -> bytes:
    return b"" * order


@task(name="named", tags=["x"], queue="q", priority=3, serializer="json")
def named(text: str) -> list[str]:
    return [text]


@task(version="2")
async def named_async(text: str) -> dict[str, int]:
    return {text: 1}


@task()
def nothing() -> None: ...


@task(options={"some_plugins_option": 3})
def with_plugin_option(x: int) -> int:
    return x


async def look(task: object, run: object, state: State) -> None: ...


def back_off(retries: int) -> list[float]:
    return [1.0] * retries


@task(
    retries=3,
    retry_delay_seconds=[1, 2.5],
    retry_jitter_factor=0.5,
    retry_condition_fn=lambda task, run, state: True,
    retry_on=(ValueError, OSError),
    timeout_seconds=30,
    soft_timeout_seconds=20,
    isolation="process",
    every=timedelta(hours=1),
    missed="skip",
    dead_letter=False,
    on_running=[look],
    on_rollback=[print],
    on_failure=[look, print],
)
def with_builtin_options(x: int = 0) -> int:
    return x


@task(retry_delay_seconds=back_off, retry_on=ValueError, cron="0 4 * * *", timezone="UTC")
async def with_more_of_them() -> int:
    return 1


def order_of(call: object, parameters: dict[str, Any]) -> str | None:
    return str(parameters["order"])


@task(unique=True, on_conflict="existing")
def unique_by_arguments(order: int) -> int:
    return order


@task(idempotency_key="{order}", unique=order_of)
def with_keys(order: int) -> int:
    return order


@task(debounce=timedelta(seconds=5), debounce_key=order_of)
def debounced(order: int) -> int:
    return order


# --- what the decorator gives ------------------------------------------------------------------

plain: SyncTask[[], None] = nothing
any_task: Task[[str], list[str]] = named
wide: Task[..., Any] = fetch
a_function: Callable[[int, int], int] = add
a_coroutine_function: Callable[[str], Coroutine[Any, Any, bytes]] = fetch
many: list[Task[..., Any]] = [add, fetch, named, named_async, nothing]

# --- direct calls ------------------------------------------------------------------------------

assert_type(bill(1, note="x"), str)
assert_type(bill.delay(1), Run[str])
assert_type(bill.with_options(retries=1)(1), str)
assert_type(bill_async.delay(1), Run[bytes])
bill()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue] # error: misses order
any_flow: SyncFlow[..., str] = bill
any_async_flow: AsyncFlow[..., bytes] = bill_async
assert_type(add(1), int)
assert_type(add(1, b=2), int)
assert_type(named("x"), list[str])
assert_type(nothing(), None)
assert_type(with_plugin_option(1), int)
add("1")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType] # error: not an int
add()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue] # error: misses a
add(1, c=2)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue] # error: no c
nothing(1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue] # error: takes nothing


async def call_directly() -> None:
    assert_type(await fetch("u"), bytes)
    assert_type(await fetch("u", retries=2), bytes)
    assert_type(await named_async("x"), dict[str, int])
    await fetch(1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType] # error: no str
    await add(1)  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues] # error: plain


# --- delayed calls -----------------------------------------------------------------------------


def delay() -> None:
    assert_type(add.delay(1), Run[int])
    assert_type(add.delay(1, b=2).result(), int)
    assert_type(fetch.delay("u", retries=1), Run[bytes])
    assert_type(fetch.delay("u").result(timeout=5), bytes)
    assert_type(named.delay("x").result(), list[str])
    assert_type(nothing.delay(), Run[None])
    assert_type(add.delay(1).wait(5), bool)
    assert_type(add.delay(1).state, State)
    assert_type(add.delay(1).exception(), BaseException | None)
    assert_type(add.delay_many([(1,), (1, 2), {"a": 3}]), list[Run[int]])
    assert_type(add.apply_async((1,), {"b": 2}, countdown=3), Run[int])
    add.apply_async((1,), link=2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] # error: no link
    add.delay("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] # error: no int
    add.delay()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue] # error: misses a
    add.delay(1, c=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue] # error: no c
    fetch.delay("u", 3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue] # error: by name


async def delay_on_a_loop() -> None:
    assert_type(await add.adelay(1), Run[int])
    assert_type(await (await add.adelay(1)), int)
    assert_type(await fetch.delay("u"), bytes)
    assert_type(await (await fetch.adelay("u")).result_async(5), bytes)
    assert_type(await add.adelay_many([(1,)]), list[Run[int]])
    assert_type(await (await add.adelay(1)).wait_async(5), bool)
    assert_type(await (await add.adelay(1)).state_async(), State)
    await add.adelay("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] # error: int


# --- submitted calls ---------------------------------------------------------------------------


def submit(shop: "Shop") -> None:
    one = add.submit(1)
    assert_type(one, Future[int])
    assert_type(one.result(timeout=5), int)
    assert_type(one.state, State)
    assert_type(fetch.submit("u", retries=1), Future[bytes])
    assert_type(shop.sell.submit("tea", count=2), Future[float])
    assert_type(shop.buy.submit("tea").result(), int)
    assert_type(add.submit(one.as_value, b=add.delay(1).as_value), Future[int])
    assert_type(add.submit(1, wait_for=[one, add.delay(1)]), Future[int])
    assert_type(add.submit(1, return_state=True), State)
    assert_type(add(1, return_state=True), State)
    assert_type(add(1, wait_for=[one]), int)
    assert_type(add.map([1, 2], b=unmapped([3])), FutureList[int])
    assert_type(fetch.map(["u"]).result(), list[bytes])
    assert_type(add.map([1, 2], return_state=True), list[State])
    assert_type(add.map([1, 2], deferred=True), FutureList[int])
    assert_type(wait([one, add.delay(1)]).done, set[Future[int]])
    for future in as_completed([one]):
        assert_type(future, Future[int])
    with ThreadPoolTaskRunner(max_workers=2) as runner:
        assert_type(runner, ThreadPoolTaskRunner)
        assert_type(runner.submit(add, {"a": 1}), Future[int])
    add.submit("1")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType] # error: no int
    add.submit()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue] # error: misses a
    add.submit(one)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType] # error: as_value


async def submit_on_a_loop() -> None:
    assert_type(await add.submit(1), int)
    assert_type(await fetch.submit("u"), bytes)
    assert_type(await fetch.map(["u"]).result_async(), list[bytes])
    assert_type(await fetch("u", return_state=True), State)
    async for future in as_completed_async([fetch.submit("u")]):
        assert_type(future, Future[bytes])


# --- options -----------------------------------------------------------------------------------

assert_type(add.with_options(queue="other", delay=timedelta(seconds=1)).delay(1), Run[int])
assert_type(add.with_options(priority=3)(1), int)
assert_type(add.with_options(retries=1), SyncTask[[int, int], int])  # type: ignore[assert-type]  # pyright: ignore[reportAssertTypeFailure] # error: b keeps its default
add.with_options(priority="high")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] # error: no int
add.with_options(options={"some_plugins_option": 1}, retries=0)
add.with_options(retires=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue] # error: no such
add.with_options(retries="2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] # error: no int
task(retires=2)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue] # error: no such
task(retries="2")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType] # error: no int
task(on_conflict="ignore")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType] # error: no such
assert_type(with_keys.with_options(idempotency_key="17", unique=False).delay(1), Run[int])
task(isolation="thread")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType] # error: no such
task(priority="high")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType] # error: no int
task(serializer="pickle")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType] # error: no such


async def options_of_a_coroutine_function() -> None:
    assert_type(await fetch.with_options(tags=["x"])("u"), bytes)


# --- methods -----------------------------------------------------------------------------------


# All work. What the checkers do not follow: a class method that is taken from the class keeps its
# `cls`; for mypy a static method that is taken from an object loses its first argument.
class Shop:
    @task
    def sell(self, what: str, *, count: int = 1) -> float:
        return len(what) * float(count)

    @task(queue="orders")
    async def buy(self, what: str) -> int:
        return len(what)

    @staticmethod
    @task
    def static_outside(x: int) -> str:
        return str(x)

    @task
    @staticmethod
    def static_inside(x: int) -> str:
        return str(x)

    @task(queue="q")
    @staticmethod
    async def slow_static(x: int) -> str:
        return str(x)

    @task
    @classmethod
    def of_class(cls, x: int) -> str:
        return str(x)

    @task(queue="q")
    @classmethod
    async def slow_of_class(cls, x: int) -> str:
        return str(x)


class Market(Shop): ...


def call_methods(shop: Shop) -> None:
    assert_type(shop.sell("tea"), float)
    assert_type(shop.sell("tea", count=2), float)
    assert_type(shop.sell.delay("tea"), Run[float])
    assert_type(shop.buy.delay("tea"), Run[int])
    assert_type(Shop.sell(shop, "tea"), float)
    assert_type(Shop.static_outside(1), str)
    assert_type(Shop.static_outside.delay(1), Run[str])
    assert_type(Shop.static_inside.delay(1), Run[str])
    assert_type(shop.of_class(1), str)
    assert_type(shop.of_class.delay(1), Run[str])
    assert_type(shop.slow_of_class.delay(1), Run[str])
    assert_type(Market.sell(Market(), "tea"), float)
    assert_type(Market().of_class.delay(x=1), Run[str])
    assert_type(Market().sell.with_options(queue="q").delay("tea"), Run[float])
    shop.of_class("x")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType] # error: int
    Shop.of_class.delay(1)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue] # not followed
    assert_type(shop.static_inside(1), str)  # type: ignore[call-overload, assert-type] # mypy only
    assert_type(shop.static_outside.delay(1), Run[str])  # type: ignore[call-arg] # mypy only
    shop.sell(3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType] # error: no str
    shop.sell.delay()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue] # error: misses what
    Shop.static_inside("x")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType] # error: int


async def call_methods_on_a_loop(shop: Shop) -> None:
    assert_type(await shop.buy("tea"), int)
    assert_type(await (await shop.sell.adelay("tea")), float)
    assert_type(await Shop.slow_static.delay(1), str)


# --- the rest ----------------------------------------------------------------------------------


class Doubler:
    def __call__(self, x: int) -> int:
        return 2 * x


class SlowDoubler:
    async def __call__(self, x: int) -> int:
        return 2 * x


doubler: SyncTask[[int], int] = task(Doubler())
slow_doubler: AsyncTask[[int], int] = task(SlowDoubler())
task(3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType] # error: no function


def handles() -> None:
    assert_type(get_run("an-id"), Future[Any])
    assert_type(get_run("an-id", add), Future[int])
    assert_type(get_run("an-id", fetch).result(), bytes)
    add.delay(1).add_done_callback(lambda run: assert_type(run, Run[int]))
    with tags("a", "b") as current:
        assert_type(current, tuple[str, ...])
    serve(add, fetch, Shop.sell, concurrency=3)
    serve(handles)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] # error: no task


def connect_and_close() -> None:
    assert_type(connect(), Connection)
    with connect("memory://") as connection:
        assert_type(connection.url, str)
    close()


def charge(order: str, *, cents: int = 0) -> float:
    return len(order) + cents / 100


async def charge_later(order: str) -> bytes:
    return order.encode()


def transact() -> None:
    with transaction(key="k", commit_mode="EAGER", isolation_level="SERIALIZABLE") as txn:
        assert_type(txn.is_committed(), bool)
        txn.stage(1, on_rollback_hooks=[lambda txn: txn.get("x")])
    assert_type(txn.commit(), bool)
    assert_type(once("charge", charge, "tea", cents=3), float)
    once("charge", charge, 3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType] # error: no str
    once("charge", charge)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue] # error: misses order


@named.on_rollback
def undo(txn: Transaction) -> None:
    assert_type(get_transaction(), Transaction | None)


async def transact_on_a_loop() -> None:
    async with transaction() as txn:
        assert_type(await txn.acommit(), bool)
    assert_type(await once("charge", charge_later, "tea"), bytes)


async def connect_and_close_on_a_loop() -> None:
    assert_type(await aconnect(), Connection)
    async with aconnect("memory://") as connection:
        assert_type(connection, Connection)
    await aclose()


@task(log_prints=True)
def tell() -> None:
    get_run_logger(order=7).info("packed")


tell.with_options(log_prints=None)
tell.with_options(log_prints="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] # error: a flag


def generators_keep_their_items() -> None:
    one: GeneratorTask[[int], int, Any] = count
    two: GeneratorTask[[int], int, str] = drain
    three: AsyncGeneratorTask[[str], bytes] = watch
    del one, two, three
    assert_type(count(3), Generator[int, Any, Any])
    assert_type(drain(most=3), Generator[int, Any, str])
    assert_type(watch("x"), AsyncGenerator[bytes, Any])
    assert_type(drain.submit(3), Future[list[int]])
    assert_type(watch.submit("x", wait_for=[]), Future[list[bytes]])
    assert_type(drain.submit(3, return_state=True), State)
    assert_type(drain.map([1]), FutureList[list[int]])
    assert_type(drain.map([1], deferred=True), FutureList[str])
    assert_type(drain.delay(3), Run[str])
    for number in count(3):
        assert_type(number, int)
    count("three")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert_type(drain.delay(3), Run[str])
    assert_type(watch.delay("x"), Run[None])
    assert_type(drain.delay(3).stream(), Stream[str])
    assert_type(get_run("x", drain), Future[str])
    assert_type(drain.delay(3).progress(), Progress | None)


async def streams_are_for_both_kinds_of_loops() -> None:
    stream = drain.delay(3).stream(start=2)
    for item in stream.items():
        assert_type(item, StreamItem)
    async for item in stream.items_async():
        assert_type(item.index, int)
    assert_type(await drain.delay(3).progress_async(), Progress | None)


def states_can_be_returned() -> None:
    assert_type(Completed(data=3), State)
    assert_type(Failed(message="no").label, str)
    Failed("no")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue] # error: by name only


def the_runtime_has_prefects_names() -> None:
    assert_type(runtime.task_run.name, str | None)
    assert_type(runtime.task_run.parameters, dict[str, Any])
    runtime.progress(1, 3, "x")
