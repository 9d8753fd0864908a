"""Which function is which, the same on every machine."""

import functools
import hashlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from jtask.errors import TaskDefinitionError
from jtask.foreign_text import quoted
from jtask.names import is_name

_HASH_DIGITS = 12  # 48 bits
_NOT_IN_A_KEY = re.compile(r"[^A-Za-z0-9_-]+")


def qualified_name(fn: Callable[..., Any]) -> str:
    """Return `module.qualname`, with the module's importable name for a script's own functions.

    Of a partial function, it is that of the function inside.
    """
    while isinstance(fn, functools.partial):
        fn = cast("Any", fn).func
    described = fn if hasattr(fn, "__qualname__") else type(fn)
    return f"{canonical_module(described.__module__)}.{described.__qualname__}"


def canonical_module(module: str) -> str:
    """Return the name under which a module is imported elsewhere.

    A script that runs as `__main__` is a module of its package, or its file's stem; that is what
    `jtask serve file.py` and an import from beside it call it.
    """
    # The second is what multiprocessing calls the main module in a process that it has spawned.
    if module not in {"__main__", "__mp_main__"}:
        return module
    main = sys.modules.get(module)
    # Set by `python -m package.module`; without -m only the file tells.
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name not in {"__main__", "__mp_main__"}:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    return module_of_file(Path(file))[0] if file else module


def module_of_file(file: Path) -> tuple[str, Path]:
    """Return a file's dotted module name, packages above it included, and its import root."""
    file = file.resolve()
    parts = [file.stem]
    folder = file.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts), folder


def task_key(name: str, fn: Callable[..., Any]) -> str:
    """Return the key of a task: its name, and a hash of that and of the function's name.

    Independent of paths, line numbers, the interpreter and the function's body.
    """
    return key_of(name, qualified_name(fn))


def key_of(name: str, qualified: str) -> str:
    """Return the key of a task by its name and its function's `module.qualname`."""
    # The NUL keeps apart what would be the same if only written one after the other.
    digest = hashlib.sha256(f"{name}\0{qualified}".encode()).hexdigest()
    readable = _NOT_IN_A_KEY.sub("-", name).strip("-")[:64] or "task"  # for people
    return f"{readable}-{digest[:_HASH_DIGITS]}"


def check_name(kind: str, value: str) -> str:
    """Return a key or queue name that a broker can use in an address.

    Raises:
        TaskDefinitionError: Other characters, or too long.
    """
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TaskDefinitionError(f"{kind} must be a string, got {quoted(value)}")
    if not is_name(value):
        raise TaskDefinitionError(
            f"{kind} {quoted(value)} may hold letters, digits, '_' and '-' only, up to 128 of them"
        )
    return value
