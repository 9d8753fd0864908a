"""Ask the plugins that implement a hook, each for itself."""

import inspect
from collections.abc import Callable, Container, Coroutine, Iterable, Iterator
from typing import Any

from jtask.execution.hooks_loop import answer_of, wait_for_answer
from jtask.foreign_text import quoted
from jtask.hook_callers import HookCaller, Implementation
from jtask.runtime import RunContext


async def ask(
    caller: HookCaller,
    run: RunContext,
    *kinds: type,
    accept: Callable[[Any], None] | None = None,
    **facts: Any,
) -> Any:
    """Ask every plugin for its answer to a hook; return the first that is not None.

    A plugin that fails is logged and counts as None.

    Args:
        caller: Calls the hook.
        run: What the hook is about.
        kinds: What an answer may be; anything else is a failure of the plugin.
        accept: Called with the answer that is about to count; what it raises is a failure too.
        facts: The hook's other arguments.
    """
    facts["run"] = run
    first = None
    # All are asked, although one answer counts: a hook may be there for what it does.
    for implementation in caller.implementations:
        try:
            answer = implementation.function(*implementation.pick(facts))
            # Nearly always None: a coroutine for each answer would cost more than the hooks do.
            if answer is not None:
                answer = checked_answer(await awaited_answer(answer, run), *kinds)
            if first is None and answer is not None:
                if accept is not None:
                    accept(answer)
                first = answer
        except Exception as error:
            log_failure(caller, implementation, error, run)
    return first


def notify(caller: HookCaller, run: RunContext, **facts: Any) -> Coroutine[Any, Any, None] | None:
    """Notify plugins; one that fails is logged.

    Args:
        caller: Calls the hook.
        run: What the hook is about.
        facts: The hook's other arguments.

    Returns:
        Coroutine | None: Awaits what a plugin returned, and notifies the others after that; None
        where nothing is left to do, as nearly always.
    """
    facts["run"] = run
    left = iter(caller.implementations)
    for implementation in left:
        try:
            answer = implementation.function(*implementation.pick(facts))
        except Exception as error:
            log_failure(caller, implementation, error, run)
            continue
        if answer is not None:
            return _go_on(caller, run, facts, (implementation, answer), left)
    return None


async def _go_on(
    caller: HookCaller,
    run: RunContext,
    facts: dict[str, Any],
    awaited: tuple[Implementation, Any],
    left: Iterator[Implementation],
) -> None:
    implementation, answer = awaited
    try:
        await awaited_answer(answer, run)
    except Exception as error:
        log_failure(caller, implementation, error, run)
    await _tell(caller, left, run, facts)


async def tell(
    caller: HookCaller,
    run: RunContext,
    *,
    only: Container[int] | None = None,
    is_elsewhere: bool = False,
    **facts: Any,
) -> None:
    """Notify plugins; one that fails is logged.

    Args:
        caller: Calls the hook.
        run: What the hook is about.
        only: The sources of those to notify; None notifies all.
        is_elsewhere: Whether this is the loop of the hooks, and not where the run executes.
        facts: The hook's other arguments.
    """
    chosen = [one for one in caller.implementations if only is None or one.source in only]
    await _tell(caller, chosen, run, {**facts, "run": run}, is_elsewhere=is_elsewhere)


async def _tell(
    caller: HookCaller,
    implementations: Iterable[Implementation],
    run: RunContext,
    facts: dict[str, Any],
    *,
    is_elsewhere: bool = False,
) -> None:
    for implementation in implementations:
        try:
            answer = implementation.function(*implementation.pick(facts))
            if answer is not None:
                await awaited_answer(answer, run, is_elsewhere=is_elsewhere)
        except Exception as error:
            log_failure(caller, implementation, error, run)


async def awaited_answer(answer: Any, run: RunContext, *, is_elsewhere: bool = False) -> Any:
    """Return a plugin's answer, awaited if it can be.

    Args:
        answer: What its function returned.
        run: What the hook is about; its thread is blocked meanwhile where it has no event loop.
        is_elsewhere: Whether this is the loop of the hooks, and not where the run executes.
    """
    if not inspect.isawaitable(answer):
        return answer
    blocks = run.blocking and not is_elsewhere
    return wait_for_answer(answer, run) if blocks else await answer_of(answer)


def checked_answer(answer: Any, *kinds: type) -> Any:
    """Return the answer of a plugin if it is one that its hook may give.

    Args:
        answer: What its function returned.
        kinds: What it may be besides None.

    Raises:
        TypeError: It is something else, such as True.
    """
    if answer is None or isinstance(answer, kinds):
        return answer
    names = ", ".join(kind.__name__ for kind in kinds)
    raise TypeError(f"the hook must return {names} or None, got {quoted(answer)}")


def log_failure(
    caller: HookCaller, implementation: Implementation, error: Exception, run: RunContext
) -> None:
    """Log that a plugin failed in a hook about a run."""
    about = f"for run {run.run_id} of task {run.task_name!r}"
    caller.log_failure(implementation, error, about, run_id=run.run_id, task=run.task_name)
