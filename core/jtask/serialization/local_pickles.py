"""How the call of a run travels to a process of this machine and back that no broker is between.

By cloudpickle, whatever the task declares: nothing but this program has written it.
"""

import importlib
import io
import pickle
from collections.abc import Mapping
from functools import cache
from types import FunctionType
from typing import Any, NamedTuple, cast

from jtask.declaration.keys import canonical_module
from jtask.declaration.task_info import TaskInfo
from jtask.errors import ResultError, SerializationError

_OTHERWISE = "pass something else, or have it executed in this process"


class LocalPickles:
    """What one task is called with, and what it returns, as bytes and back.

    A script is a module of another name in the process that has loaded its task from it: what it
    defines is found there by that name, and here by its own.

    Args:
        task: The task.
    """

    def __init__(self, task: TaskInfo[..., Any]) -> None:
        self._task = task
        here = task.fn.__module__
        self._names = _Names(here, canonical_module(here))

    def write_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Return arguments as bytes.

        Raises:
            SerializationError: One of them cannot be pickled.
        """
        try:
            return self._write((args, dict(kwargs)))
        except Exception as error:  # a value's own pickling may raise anything
            raise self._refusal(args, kwargs, error) from error

    def read_arguments(self, payload: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what `write_arguments` has written, positional arguments first.

        Raises:
            SerializationError: One of them cannot be unpickled.
        """
        about = f"an argument of task {self._task.name!r}"
        return cast("tuple[tuple[Any, ...], dict[str, Any]]", self._read(payload, about))

    def write_value(self, value: Any) -> bytes:
        """Return a value of the function as bytes.

        Raises:
            ResultError: It cannot be pickled.
        """
        try:
            return self._write(value)
        except Exception as error:
            about = f"the result of task {self._task.name!r} ({type(value).__name__})"
            raise ResultError(_unpicklable(about, error)) from error

    def read_value(self, payload: bytes) -> Any:
        """Return what `write_value` has written.

        Raises:
            SerializationError: It cannot be unpickled.
        """
        return self._read(payload, f"the result of task {self._task.name!r}")

    def _write(self, value: Any) -> bytes:
        stream = io.BytesIO()
        _pickler_class()(stream, self._names).dump(value)
        return stream.getvalue()

    def _read(self, payload: bytes, about: str) -> Any:
        try:
            return _Unpickler(io.BytesIO(payload), self._names).load()
        except Exception as error:  # reading a pickle calls whatever it names
            text = f"{about} cannot be unpickled, {type(error).__name__}: {error}"
            raise SerializationError(f"{text}: {_OTHERWISE}") from error

    def _refusal(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], error: Exception
    ) -> SerializationError:
        about = f"an argument of task {self._task.name!r}"
        for name, value in self._task.signature.bind(*args, **kwargs).arguments.items():
            try:
                self._write(value)
            except Exception as cause:
                about, error = f"argument {name!r} of task {self._task.name!r}", cause
                break
        return SerializationError(_unpicklable(about, error))


def _unpicklable(about: str, error: Exception) -> str:
    return f"{about} cannot be pickled, {type(error).__name__}: {error}: {_OTHERWISE}"


class _Names(NamedTuple):
    """The names of one module in this process, and in the other one."""

    here: str
    there: str

    def module_of(self, value: Any) -> str | None:
        """Return in which module there a class, function or task is found; None to pickle it."""
        if not isinstance(value, type | FunctionType | TaskInfo):
            return None
        module, name = value.__module__, cast("Any", value).__qualname__
        there = self.there if module == self.here else module
        # Other classes and functions are pickled by name as it is; a task would be copied.
        if module == there and not isinstance(value, TaskInfo):
            return None
        # A script whose tasks are not those that execute there may not be known there.
        if there != canonical_module(module):
            return None
        try:
            return there if _find(module, name) is value else None
        except (AttributeError, ImportError):
            return None


def _find(module: str, qualified_name: str) -> Any:
    """Return what a module defines under a name with dots."""
    found: Any = importlib.import_module(module)
    for part in qualified_name.split("."):
        found = getattr(found, part)
    return found


@cache
def _pickler_class() -> Any:
    # Made when it is first needed: the import costs time.
    base: Any = importlib.import_module("cloudpickle").Pickler

    class Pickler(base):  # type: ignore[misc] # pyright: ignore[reportUntypedBaseClass]
        def __init__(self, stream: io.BytesIO, names: _Names) -> None:
            base.__init__(self, stream)
            self._names = names

        def reducer_override(self, obj: Any) -> Any:
            if (module := self._names.module_of(obj)) is None:
                return base.reducer_override(self, obj)
            if module == obj.__module__:
                return obj.__qualname__  # which `find_class` is asked for
            return _find, (module, obj.__qualname__)

    return Pickler


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, names: _Names) -> None:
        super().__init__(stream)
        self._names = names

    def find_class(self, module: str, name: str) -> Any:
        return super().find_class(self._names.here if module == self._names.there else module, name)
