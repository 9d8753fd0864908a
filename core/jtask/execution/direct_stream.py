"""Call a generator task here and now: its items come as they are yielded."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextvars import copy_context
from functools import partial
from typing import Any

from jtask.declaration.task_info import TaskInfo
from jtask.execution.attempt import Result
from jtask.execution.awaited_futures import find_awaited
from jtask.execution.direct_call import (
    attempt_of,
    begin,
    hooks_for,
    pause_after,
    record_end,
    value_of_end,
)
from jtask.execution.direct_call import resume as resume_run
from jtask.execution.streaming import Item, next_item, next_item_async, resume_with
from jtask.outcomes import Outcome
from jtask.runtime import current_run


def stream(
    task: TaskInfo[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    begin_recording: Callable[[], None] | None = None,
    *,
    wait_for: Iterable[Any] | None = None,
) -> Generator[Any, Any, Any]:
    """Do what `call` does for a generator task: yield its items, and return what it returns.

    It begins with the first item; a retry begins the generator anew.
    """
    run = begin(task, args, kwargs, begin_recording, blocking=True, caller=current_run())
    run.is_streamed = True
    hooks, context = hooks_for(run), copy_context()
    awaited = find_awaited(args, kwargs, wait_for)
    while True:
        attempt = attempt_of(run, hooks, awaited)
        resume: Callable[[], Any] = partial(attempt.send, None)
        while isinstance(got := next_item(context, resume), Item):
            try:
                sent = yield got.value
            except BaseException as error:
                resume = resume_with(run, attempt, error)
            else:
                resume = partial(attempt.send, sent)
        result: Result = got.result
        del got
        if isinstance(result, Outcome):
            record_end(run, result)
            run.let_go()
            try:
                return value_of_end(result)
            finally:
                del result  # it holds the exception that holds this frame
        awaited = None
        time.sleep(pause_after(run, result))
        resume_run(run)


async def stream_async(
    task: TaskInfo[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    begin_recording: Callable[[], None] | None = None,
    *,
    wait_for: Iterable[Any] | None = None,
) -> AsyncGenerator[Any, Any]:
    """Do what `stream` does for an asynchronous generator, on this event loop."""
    run = begin(task, args, kwargs, begin_recording, blocking=False, caller=current_run())
    run.is_streamed = True
    hooks, context = hooks_for(run), copy_context()
    awaited = find_awaited(args, kwargs, wait_for)
    while True:
        attempt = attempt_of(run, hooks, awaited)
        resume: Callable[[], Any] = partial(attempt.send, None)
        while isinstance(got := await next_item_async(context, attempt, resume), Item):
            try:
                sent = yield got.value
            except BaseException as error:
                resume = resume_with(run, attempt, error)
            else:
                resume = partial(attempt.send, sent)
        result: Result = got.result
        del got
        if isinstance(result, Outcome):
            record_end(run, result)
            run.let_go()
            try:
                value_of_end(result)
            finally:
                del result  # it holds the exception that holds this frame
            return
        awaited = None
        await asyncio.sleep(pause_after(run, result))
        resume_run(run)
