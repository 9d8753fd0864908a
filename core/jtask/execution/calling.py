"""Call the function of an attempt: with the plugins around it, or one that stands in for it."""

import contextlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, cast

from jtask.foreign_text import quoted
from jtask.hook_callers import HookCaller
from jtask.plugins import TaskHooks
from jtask.runtime import RunContext


def call_plain(run: RunContext, hooks: TaskHooks) -> Any:
    """Call the function of a plain task, and return its value."""
    # No coroutine: one cannot raise the StopIteration that a plain function may raise.
    function = function_of(run, hooks.invoke)
    if hooks.around is None:
        return function(*run.args, **run.kwargs)
    with contextlib.ExitStack() as stack:
        enter_around(stack, run, hooks.around)
        return function(*run.args, **run.kwargs)


def call_async(run: RunContext, hooks: TaskHooks) -> Awaitable[Any]:
    """Call the function of an asynchronous task; awaiting what is returned gives its value."""
    # No coroutine around its own, unless something has to be left after it.
    function = function_of(run, hooks.invoke)
    if hooks.around is None:
        return cast("Awaitable[Any]", function(*run.args, **run.kwargs))
    return _call_inside(function, run, hooks.around)


async def _call_inside(function: Callable[..., Any], run: RunContext, around: HookCaller) -> Any:
    async with contextlib.AsyncExitStack() as stack:
        await enter_around_async(stack, run, around)
        return await function(*run.args, **run.kwargs)


def function_of(run: RunContext, invoke: HookCaller | None) -> Callable[..., Any]:
    """Return what executes the task: its own function unless a plugin stands in for it."""
    if invoke is None:
        return run.function
    answers = invoke(run=run)
    if not answers:
        return run.function
    if not callable(answers[0]):
        raise TypeError(f"jtask_invoke must return a function or None, got {quoted(answers[0])}")
    return cast("Callable[..., Any]", answers[0])


def enter_around(stack: contextlib.ExitStack, run: RunContext, around: HookCaller) -> None:
    """Enter what the plugins have around the function of a plain task."""
    # The plugin that is asked first stands innermost.
    for manager in reversed(around(run=run)):
        stack.enter_context(_checked(manager))


async def enter_around_async(
    stack: contextlib.AsyncExitStack, run: RunContext, around: HookCaller
) -> None:
    """Enter what the plugins have around the function of an asynchronous task."""
    for manager in reversed(around(run=run)):
        if isinstance(manager, AbstractAsyncContextManager):
            await stack.enter_async_context(cast("Any", manager))
        else:
            stack.enter_context(_checked(manager))


def _checked(manager: Any) -> AbstractContextManager[Any]:
    if not hasattr(manager, "__enter__"):
        # Most likely a generator: @contextmanager was forgotten.
        raise TypeError(
            f"jtask_around must return a context manager, as of @contextmanager, or None; for "
            f"asynchronous tasks one of @asynccontextmanager too: got {quoted(manager)}"
        )
    return cast("AbstractContextManager[Any]", manager)
