"""A generator that is called directly: its attempt pauses at each item until the caller goes on.

An attempt is a coroutine. Where its generator has yielded, it awaits an `Item`, which comes out at
whoever drives it (`next_item`); what the caller does then goes in there. Each step is
made in one context of the attempt's own: what it sets, the current run above all, is never seen by
the caller, who goes on between two steps in the same thread or asyncio task.
"""

import contextlib
import types
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextvars import Context
from functools import partial
from typing import Any, NamedTuple

from jtask.execution.calling import enter_around, enter_around_async, function_of
from jtask.plugins import TaskHooks
from jtask.runtime import RunContext


class Step(NamedTuple):
    """What came of going on with a generator.

    Attributes:
        is_over: Whether it has returned.
        value: What it returned or yielded.
    """

    is_over: bool
    value: Any


class Item:
    """What a generator has yielded; awaiting it gives what the caller sends."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self)


class _ClosedByCallerError(BaseException):
    """Raised at an item in place of GeneratorExit."""


class End(NamedTuple):
    """The end of an attempt.

    Attributes:
        result: What it returned.
    """

    result: Any


async def streamed(run: RunContext, hooks: TaskHooks) -> Any:
    """Call the function of a generator task, pause at its items, and return what it returns."""
    return await (_stream_async if run.task.is_async else _stream)(run, hooks)


def next_item(context: Context, resume: Callable[[], Any]) -> Item | End:
    """Go on with the attempt of a plain task until its next item or its end.

    Args:
        context: In which it is made.
        resume: Makes its next step.

    Raises:
        RuntimeError: It suspended elsewhere.
    """
    try:
        item: Any = context.run(resume)
    except StopIteration as stop:
        return End(stop.value)
    if not isinstance(item, Item):
        raise RuntimeError("the code of a plain task suspended")
    return item


@types.coroutine
def next_item_async(
    context: Context, attempt: Coroutine[Any, Any, Any], resume: Callable[[], Any]
) -> Generator[Any, Any, Item | End]:
    """Do what `next_item` does for an asynchronous task; to be awaited.

    Args:
        context: In which the attempt is made.
        attempt: The attempt.
        resume: Makes its next step.
    """
    while True:
        try:
            waited = context.run(resume)
        except StopIteration as stop:
            return End(stop.value)
        if isinstance(waited, Item):
            return waited
        # Something of the event loop, which goes on with it.
        try:
            sent = yield waited
        except BaseException as error:
            resume = partial(attempt.throw, error)
        else:
            resume = partial(attempt.send, sent)


def resume_with(
    run: RunContext, attempt: Coroutine[Any, Any, Any], error: BaseException
) -> Callable[[], Any]:
    """Return what goes on with an attempt whose caller has thrown something at an item."""
    if isinstance(error, GeneratorExit):
        # Whatever comes of it, nobody is there for another attempt.
        run.cancelled = "the caller reads no more of it"
        # Python would close the coroutines that await each other, and not let them return.
        error = _ClosedByCallerError()
    return partial(attempt.throw, error)


async def _stream(run: RunContext, hooks: TaskHooks) -> Any:
    try:
        with contextlib.ExitStack() as stack:
            if hooks.around is not None:
                enter_around(stack, run, hooks.around)
            generator = run.task.fn(*run.args, **run.kwargs)
            stack.callback(generator.close)
            return await _items(run, hooks, generator)
    finally:
        run.step = None


async def _stream_async(run: RunContext, hooks: TaskHooks) -> None:
    try:
        async with contextlib.AsyncExitStack() as stack:
            if hooks.around is not None:
                await enter_around_async(stack, run, hooks.around)
            generator = run.task.fn(*run.args, **run.kwargs)
            stack.push_async_callback(generator.aclose)
            await _items_async(run, hooks, generator)
    finally:
        run.step = None


async def _items(run: RunContext, hooks: TaskHooks, generator: Generator[Any, Any, Any]) -> Any:
    run.step = partial(_step, generator.send, None)
    while True:
        step: Step = function_of(run, hooks.invoke)()
        if step.is_over:
            return step.value
        try:
            sent = await Item(step.value)
        except _ClosedByCallerError:
            return generator.close()
        except BaseException as error:
            run.step = partial(_step, generator.throw, error)
        else:
            run.step = partial(_step, generator.send, sent)


def _step(go_on: Callable[[Any], Any], what: Any) -> Step:
    try:
        return Step(is_over=False, value=go_on(what))
    except StopIteration as stop:
        return Step(is_over=True, value=stop.value)


async def _items_async(
    run: RunContext, hooks: TaskHooks, generator: AsyncGenerator[Any, Any]
) -> None:
    run.step = partial(_step_async, generator.asend, None)
    while True:
        step: Step = await function_of(run, hooks.invoke)()
        if step.is_over:
            return None
        try:
            sent = await Item(step.value)
        except _ClosedByCallerError:
            return await generator.aclose()
        except BaseException as error:
            run.step = partial(_step_async, generator.athrow, error)
        else:
            run.step = partial(_step_async, generator.asend, sent)


async def _step_async(go_on: Callable[[Any], Coroutine[Any, Any, Any]], what: Any) -> Step:
    try:
        return Step(is_over=False, value=await go_on(what))
    except StopAsyncIteration:
        return Step(is_over=True, value=None)
