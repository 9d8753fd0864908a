"""Task options that plugins declare."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jtask.close_names import close_names
from jtask.declaration.definition import OWN_OPTIONS
from jtask.errors import TaskDefinitionError

_ELSEWHERE = {
    "delay": "it belongs to a call: use .with_options(delay=...).delay(...)",
    "eta": "it belongs to a call: use .with_options(eta=...).delay(...)",
    "expires": "it belongs to a call: use .with_options(expires=...).delay(...)",
    "countdown": "it belongs to a call: use .apply_async(..., countdown=...)",
    "wait_for": "it belongs to a call: use .submit(..., wait_for=...), or .apply_async",
    "return_state": "it belongs to a call: use .submit(..., return_state=True)",
    "result_storage": "where results are kept is the setting JTASK_RESULTS_URL",
    "key": "a copy keeps the key of its task",
}
"""What has its place elsewhere than where it was given."""

OTHER_NAMES = {
    "actor_name": "name",
    "autoretry_for": "retry_on",
    "crontab": "cron",
    "default_retry_delay": "retry_delay_seconds",
    "job_timeout": "timeout_seconds",
    "max_retries": "retries",
    "max_tries": "retries",
    "min_backoff": "retry_delay_seconds",
    "on_success": "on_completion",
    "queue_name": "queue",
    "retry_backoff": "retry_delay_seconds",
    "retry_jitter": "retry_jitter_factor",
    "run_every": "every",
    "soft_time_limit": "soft_timeout_seconds",
    "task_id": "idempotency_key",
    "task_name": "name",
    "time_limit": "timeout_seconds",
}
"""What options are called in Celery, Dramatiq, RQ and arq where no likeness tells."""

_ALWAYS = "it is always so: leave it out"
ONLY_ELSEWHERE = {
    "acks_late": _ALWAYS,
    "reject_on_worker_lost": _ALWAYS,
    "track_started": _ALWAYS,
    "bind": "jtask.runtime tells what self.request does, such as runtime.run_id",
    "ignore_result": "each run has an outcome, which is kept for JTASK_RESULT_TTL: leave it out",
    "rate_limit": "make a limit with a name, such as `jtask limits create api 100 --per minute`",
}
"""What stands in the place of an option that only another library has."""


def _accept(value: object) -> object:
    return value


def _fit_any(_value: object, _function: Callable[..., Any]) -> None:
    return


@dataclass(frozen=True, slots=True)
class Option:
    """One option of `@task(...)`.

    Attributes:
        name: The keyword.
        default: Its value for tasks that do not set it.
        check: Returns the value to keep, or raises ValueError or TypeError with one sentence.
        help: One sentence for the docs.
        agree: Looks at all that a task sets, this option among it, each checked by itself; raises
            ValueError with one sentence when they do not go together.
        fits: Looks at the value, checked, and at the task's function; raises ValueError with one
            sentence when they do not go together.
        travels: Whether a run can have a value of its own, from `.with_options(...).delay()`, which
            its message carries to the worker. JSON must be able to write the value; any other is
            refused at the call.
        for_caller: Whether it says only what a caller does: a copy's runs need not carry it, so it
            may be anything, such as a function.
    """

    name: str
    default: object = None
    check: Callable[[object], object] = _accept
    help: str = ""
    agree: Callable[[Mapping[str, object]], object] = _accept
    fits: Callable[[object, Callable[..., Any]], object] = _fit_any
    travels: bool = False
    for_caller: bool = False


def check_options(
    given: Mapping[str, object],
    declared: Mapping[str, Option],
    task_name: str,
    function: Callable[..., Any],
    find_unloaded: Callable[[str], str | None] = lambda _: None,
) -> dict[str, object]:
    """Return the options of one task, checked.

    Args:
        given: What `@task(...)` was called with beyond the core's own options.
        declared: What the loaded plugins declare, by name.
        task_name: For messages.
        function: The task's.
        find_unloaded: Returns the name of a plugin that is installed, not loaded, and declares
            an option.

    Raises:
        TaskDefinitionError: An unknown option, or a value its plugin does not accept.
    """
    checked: dict[str, object] = {}
    for name, value in given.items():
        option = declared.get(name)
        if option is None:
            hint = _hint(name, declared, find_unloaded(name))
            raise TaskDefinitionError(f"task {task_name!r}: there is no option {name!r}: {hint}")
        try:
            checked[name] = option.check(value)
        except (ValueError, TypeError) as error:
            raise _refusal(task_name, name, error) from None
    # Only now: an option may look at another one, which must be checked by then.
    for name, value in checked.items():
        try:
            declared[name].agree(checked)
            declared[name].fits(value, function)
        except ValueError as error:
            raise _refusal(task_name, name, error) from None
    return checked


def check_flag(value: object) -> bool | None:
    """Return an option's value that is True or False, or None for what is said elsewhere.

    Raises:
        TypeError: It is none of these.
    """
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"must be True, False or None, got {value!r}")
    return value


def check_parameters(function: Callable[..., object], *parameters: str) -> None:
    """Refuse a function that cannot be called with so many positional arguments.

    Args:
        function: An option's value.
        parameters: What it is called with.

    Raises:
        ValueError: It takes fewer, or wants more.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some built-in functions do not say
    try:
        signature.bind(*parameters)
    except TypeError:
        name = getattr(function, "__name__", None) or repr(function)
        wanted = ", ".join(parameters)
        raise ValueError(f"{name}{signature} cannot be called with ({wanted})") from None


def _refusal(task_name: str, name: str, error: Exception) -> TaskDefinitionError:
    return TaskDefinitionError(f"task {task_name!r}, option {name!r}: {error}")


def _hint(name: str, declared: Mapping[str, Option], unloaded: str | None) -> str:
    if unloaded is not None:
        return f"the plugin {unloaded!r} declares it and is not loaded: name it in JTASK_PLUGINS"
    if sentence := _ELSEWHERE.get(name) or ONLY_ELSEWHERE.get(name):
        return sentence
    known = [*declared, *OWN_OPTIONS, *_ELSEWHERE]
    meant = OTHER_NAMES.get(name)
    near = meant if meant in known else _near(name, known)
    return f"did you mean {near!r}?" if near else "no installed plugin declares it"


def _near(name: str, known: list[str]) -> str | None:
    # A beginning is the better guess: timeout is nearer to timeout_seconds than to any likeness.
    longer = [one for one in known if one.startswith(f"{name}_")]
    near = longer if len(longer) == 1 else close_names(name, known)
    return near[0] if near else None
