"""Exceptions on their way to another process: captured as text and plain data, then rebuilt."""

import json
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType, TracebackType
from typing import Any, cast

from jtask.declaration.keys import canonical_module
from jtask.declaration.task_info import TaskInfo
from jtask.errors import Failure, JTaskError, RemoteTraceback, TaskFailed
from jtask.outcomes import SettledRun
from jtask.serialization.round_trip import differences
from jtask.states import ERROR_OF, SUCCESSFUL, StateName

# A message has to hold it, with all else that is said of the run.
_TEXT_LIMIT = 64 * 1024  # characters
_DEPTH = 5  # causes of causes
# What lies between a worker's thread or loop and a task's own frame.
_ENGINE = frozenset({"jtask", "pluggy", "asyncio", "concurrent", "contextlib", "threading"})
_MAIN = ("__main__", "__mp_main__")
_EVERYBODYS = sys.stdlib_module_names | {"builtins", "jtask"}
"""The packages whose exceptions any run may end with."""
# Python gives these a meaning of their own when they leave a coroutine or a generator.
_NEVER_REBUILT = (StopIteration, StopAsyncIteration)


def capture(error: BaseException, *, task: Callable[..., Any] | None = None) -> Failure:
    """Describe an exception.

    Args:
        error: Any exception; whatever its own methods raise is survived.
        task: The task's function, if known: the traceback starts at its frame. Otherwise it
            starts after the frames of jtask itself.
    """
    return _capture(error, _traceback_text(error, task), _DEPTH)


def error_of(record: SettledRun, task: TaskInfo[..., Any] | None) -> BaseException | None:
    """Return what to raise where a run is waited for that is over; None if it has a value.

    Args:
        record: The run.
        task: Its task, where that is known.
    """
    name = record.state.name
    if name in SUCCESSFUL:
        return None
    stand_in = ERROR_OF[name](record.state.message or None)
    if record.failure is None:
        return stand_in
    error = rebuild(record.failure, task)
    # An exception of the task's own says more than the state; one that cannot be rebuilt says less,
    # so there the state's error is raised, from what is known.
    if name is StateName.FAILED or not isinstance(error, TaskFailed):
        return error
    stand_in.__cause__ = error.__cause__
    return stand_in


def rebuild(
    failure: Failure, task: TaskInfo[..., Any] | None = None, *, is_own: bool = False
) -> Exception:
    """Return an exception to raise for a failure.

    It has the original type if that is a loaded Exception class which may be called for this task
    (`_may_raise`) with `args`, and then looks the same; else it is TaskFailed. Nothing is imported
    because a message names it. Its `__cause__` is the remote traceback.

    Args:
        failure: What came.
        task: Whose run failed, where that is known.
        is_own: Whether a child of this process sent it, whose word is as good as ours.
    """
    error = _original(failure, task, is_own=is_own) or TaskFailed(failure.summary, failure)
    for note in failure.notes:
        error.add_note(note)
    if failure.traceback:
        error.__cause__ = RemoteTraceback(failure.traceback)
    return error


def _capture(error: BaseException, text: str, depth: int) -> Failure:
    origin = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    cause = _capture(origin, "", depth - 1) if origin and depth else None
    return Failure(
        type=_type_name(type(error)),
        message=_message(error),
        args=_portable_args(error),
        traceback=text,
        notes=_notes(error),
        cause=cause,
    )


def _type_name(cls: type[BaseException]) -> str:
    return f"{canonical_module(cls.__module__)}.{cls.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as broken:  # its own __str__
        text = f"<its __str__ raised {type(broken).__name__}>"
    return _cut(text)


def _notes(error: BaseException) -> list[str]:
    notes: object = getattr(error, "__notes__", None)
    if not isinstance(notes, list):  # a class may give the name another meaning
        return []
    return [_cut(note) for note in cast("list[object]", notes) if isinstance(note, str)]


def _cut(text: str) -> str:
    """Shorten a string in the middle, for its ends say most; make it fit for UTF-8."""
    text = text.encode("utf-8", "backslashreplace").decode()
    surplus = len(text) - _TEXT_LIMIT
    if surplus <= 0:
        return text
    half = _TEXT_LIMIT // 2
    return f"{text[:half]}\n... {surplus} characters are cut here ...\n{text[-half:]}"


def _traceback_text(error: BaseException, task: Callable[..., Any] | None) -> str:
    start = first_own_frame(error, task)
    try:
        shown = traceback.TracebackException(type(error), error, start, compact=True)
        return _cut("".join(shown.format()))
    except Exception:  # an exception's own attributes may be broken
        return f"{_type_name(type(error))}: {_message(error)}\n"


def first_own_frame(error: BaseException, task: Callable[..., Any] | None) -> TracebackType | None:
    """Return where a traceback is to begin; None where only jtask's own frames would be in it.

    Args:
        error: Any exception.
        task: As for `capture`.
    """
    start = error.__traceback__
    frames: list[TracebackType] = []
    while start:
        frames.append(start)
        start = start.tb_next
    code = _code_of(task)
    for frame in frames:
        if code is not None and frame.tb_frame.f_code is code:
            return frame
    if isinstance(error, JTaskError) and all(map(_is_jtasks_own, frames)):
        return None
    for frame in frames:
        if _package_of(frame) not in _ENGINE:
            return frame
    return frames[0] if frames else None


def _is_jtasks_own(frame: TracebackType) -> bool:
    package = _package_of(frame)
    return package in _ENGINE or package.startswith("jtask_")


def _package_of(frame: TracebackType) -> str:
    return str(frame.tb_frame.f_globals.get("__name__", "")).partition(".")[0]


def _code_of(task: Any) -> CodeType | None:
    if task is None:
        return None
    function = task if hasattr(task, "__code__") else task.__call__
    return getattr(function, "__code__", None)


def _portable_args(error: BaseException) -> list[Any] | None:
    """Return what to call the exception's class with, if JSON can carry that and it suffices."""
    try:
        args = _constructor_args(error)
        written = json.dumps(args, allow_nan=False, ensure_ascii=False)
        if len(written) > _TEXT_LIMIT or any(differences(args, json.loads(written))):
            return None
        written.encode()  # or raise, for a lone surrogate
        return args if _attributes_follow(error, args) else None
    except Exception:  # not JSON, or the exception's own methods
        return None


def _constructor_args(error: BaseException) -> list[Any] | None:
    # Not `.args`: an OSError keeps its file name elsewhere, and others define how to be copied.
    reduced = cast("tuple[Any, ...]", error.__reduce__())
    cls, args = reduced[:2]
    return list(args) if cls is type(error) else None


def _attributes_follow(error: BaseException, args: list[Any] | None) -> bool:
    """Tell whether calling the class with its arguments makes all the exception's attributes."""
    state = _attributes(error)
    if args is None or not state:
        return True
    twin = type(error)(*args)
    return not any(differences(state, _attributes(twin)))


def _attributes(error: BaseException) -> dict[str, Any]:
    return {name: value for name, value in vars(error).items() if name != "__notes__"}


def _original(
    failure: Failure, task: TaskInfo[..., Any] | None, *, is_own: bool
) -> Exception | None:
    cls = _loaded_class(failure.type)
    if cls is None or failure.args is None or not (is_own or _may_raise(cls, task)):
        return None
    try:
        error = cls(*failure.args)
        same = str(error) == failure.message and _constructor_args(error) == failure.args
        return error if same and type(error) is cls else None
    except Exception:  # its own __init__ or __str__
        return None


def _may_raise(cls: type[Exception], task: TaskInfo[..., Any] | None) -> bool:
    """Tell whether a message may have an exception of a class raised in a caller.

    Whoever can write an outcome chooses the class and its arguments, and a caller's framework may
    act on either: an HTTPException becomes the answer to a request, with its headers. So it is one
    of Python's, of jtask's, of the package that the task is in, or one that an option names.
    """
    home = _home(cls)
    if home in _EVERYBODYS:
        return True
    if task is None:
        return False
    fn: Any = task.fn
    while hasattr(fn, "func"):  # a functools.partial
        fn = fn.func
    return home == _home(fn if hasattr(fn, "__qualname__") else type(fn)) or cls in _named(task)


def _home(defined: Any) -> str:
    return canonical_module(str(defined.__module__)).partition(".")[0]


def _named(task: TaskInfo[..., Any]) -> Iterator[object]:
    for value in task.options.values():
        if isinstance(value, list | tuple | set | frozenset):
            yield from cast("Iterable[object]", value)
        else:
            yield value


def _loaded_class(name: str) -> type[Exception] | None:
    """Find an exception class by `module.QualName` among the modules that are loaded."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        for module in _loaded_modules(".".join(parts[:count])):
            found = _member(module, parts[count:])
            if isinstance(found, type) and issubclass(found, Exception):
                return None if issubclass(found, _NEVER_REBUILT) else found
    return None


def _loaded_modules(name: str) -> list[Any]:
    aliases = [main for main in _MAIN if main in sys.modules and canonical_module(main) == name]
    return [sys.modules[known] for known in (name, *aliases) if known in sys.modules]


def _member(module: Any, path: list[str]) -> Any:
    # By the plain namespace: attribute access may run a module's __getattr__, which imports.
    found = module
    for name in path:
        try:
            namespace: Mapping[str, Any] = object.__getattribute__(found, "__dict__")
        except AttributeError:
            return None
        found = namespace.get(name)
    return found
