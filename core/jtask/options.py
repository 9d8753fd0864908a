"""Task options that plugins declare."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jtask.close_names import close_names
from jtask.declaration.definition import OWN_OPTIONS
from jtask.errors import ConfigurationError, TaskDefinitionError

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

_TAKEN = frozenset({*OWN_OPTIONS, "delay", "eta", "expires", "flow_run_name", "options"})
"""Keywords that an option would never get."""

_OF_A_CALL = ("args", "kwargs", "countdown", "eta", "expires", "queue", "priority", "wait_for")


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
        needs: Other options, without each of which this one has no meaning: a value other than the
            default is refused where a task sets none of them. None counts as set, for a copy may
            turn an option off for one call.
    """

    name: str
    default: object = None
    check: Callable[[object], object] = _accept
    help: str = ""
    agree: Callable[[Mapping[str, object]], object] = _accept
    fits: Callable[[object, Callable[..., Any]], object] = _fit_any
    travels: bool = False
    for_caller: bool = False
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # At the declaration: an option that nobody can give would be found out by each task.
        if not isinstance(self.name, str) or not self.name.isidentifier():  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(
                f"an option must have a name as keywords do, got {self.name!r}"
            )
        if self.name in _TAKEN:
            raise ConfigurationError(
                f"the option {self.name!r} is jtask's own: choose another name"
            )
        if isinstance(self.needs, str):
            raise ConfigurationError(
                f"the option {self.name!r}: needs must be a tuple of names, got {self.needs!r}"
            )


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
        option = declared[name]
        try:
            _check_needs(option, value, checked)
            option.agree(checked)
            option.fits(value, function)
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


def _check_needs(option: Option, value: object, given: Mapping[str, object]) -> None:
    says_something = value is not None and value != option.default
    if option.needs and says_something and not any(name in given for name in option.needs):
        raise ValueError(f"needs {' or '.join(f'{name}=' for name in option.needs)}")


def _refusal(task_name: str, name: str, error: Exception) -> TaskDefinitionError:
    return TaskDefinitionError(f"task {task_name!r}, option {name!r}: {error}")


def no_option_of_a_call(
    name: str, declared: Iterable[str], parameters: Iterable[str]
) -> TaskDefinitionError:
    """Return what to raise where `.apply_async` is given what it does not take.

    Args:
        name: The keyword.
        declared: The options that plugins declare.
        parameters: Those of the task's function.
    """
    return TaskDefinitionError(
        f"apply_async has no option {name!r}: {_call_hint(name, declared, parameters)}"
    )


def _call_hint(name: str, declared: Iterable[str], parameters: Iterable[str]) -> str:
    if name in parameters:
        return f"arguments go into args and kwargs, as in .apply_async(kwargs={{{name!r}: ...}})"
    # Here: nearly all processes never need it.
    from jtask.other_libraries import AT_A_CALL, NO_OPTIONS, OPTION_NAMES

    if sentence := AT_A_CALL.get(name) or NO_OPTIONS.get(name):
        return sentence
    meant = OPTION_NAMES.get(name, name)
    if meant in {*declared, *OWN_OPTIONS, "delay"}:
        return f"use .with_options({meant}=...).delay(...)"
    near = close_names(name, _OF_A_CALL)
    return f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(_OF_A_CALL)}"


def _hint(name: str, declared: Mapping[str, Option], unloaded: str | None) -> str:
    if unloaded is not None:
        return f"the plugin {unloaded!r} declares it and is not loaded: name it in JTASK_PLUGINS"
    from jtask.other_libraries import NO_OPTIONS, OPTION_NAMES

    if sentence := _ELSEWHERE.get(name) or NO_OPTIONS.get(name):
        return sentence
    known = [*declared, *OWN_OPTIONS, *_ELSEWHERE]
    meant = OPTION_NAMES.get(name)
    near = meant if meant in known else _near(name, known)
    return f"did you mean {near!r}?" if near else "no installed plugin declares it"


def _near(name: str, known: list[str]) -> str | None:
    # A beginning is the better guess: timeout is nearer to timeout_seconds than to any likeness.
    longer = [one for one in known if one.startswith(f"{name}_")]
    near = longer if len(longer) == 1 else close_names(name, known)
    return near[0] if near else None
