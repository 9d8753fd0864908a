"""Background tasks for Python on NATS JetStream."""

from __future__ import annotations

TYPE_CHECKING = False  # true for type checkers; `typing` alone would be a third of a lease watch
if TYPE_CHECKING:
    from typing import Any

    from jtask.annotations import allow_failure, unmapped
    from jtask.client.connection import Connection, aclose, aconnect, close, connect
    from jtask.client.process_client import get_run
    from jtask.execution.run_logger import get_run_logger
    from jtask.flows import AsyncFlow, SyncFlow, flow
    from jtask.runs import Run
    from jtask.states import State, StateName
    from jtask.tagging import tags
    from jtask.tasks.decorator import task
    from jtask.tasks.kinds import AsyncGeneratorTask, AsyncTask, GeneratorTask, SyncTask
    from jtask.tasks.task import Task

__all__ = [
    "AsyncFlow",
    "AsyncGeneratorTask",
    "AsyncTask",
    "Connection",
    "GeneratorTask",
    "Run",
    "State",
    "StateName",
    "SyncFlow",
    "SyncTask",
    "Task",
    "aclose",
    "aconnect",
    "allow_failure",
    "close",
    "connect",
    "flow",
    "get_run",
    "get_run_logger",
    "tags",
    "task",
    "unmapped",
]

# Imported when first used: a program that only declares tasks does not wait for the client, and the
# process that watches leases needs none of it.
_LAZY = {
    "AsyncFlow": "jtask.flows",
    "AsyncGeneratorTask": "jtask.tasks",
    "AsyncTask": "jtask.tasks",
    "Connection": "jtask.client.connection",
    "GeneratorTask": "jtask.tasks",
    "Run": "jtask.runs",
    "State": "jtask.states",
    "StateName": "jtask.states",
    "SyncFlow": "jtask.flows",
    "SyncTask": "jtask.tasks",
    "Task": "jtask.tasks",
    "aclose": "jtask.client.connection",
    "aconnect": "jtask.client.connection",
    "allow_failure": "jtask.annotations",
    "close": "jtask.client.connection",
    "connect": "jtask.client.connection",
    "flow": "jtask.flows",
    "get_run": "jtask.client",
    "get_run_logger": "jtask.execution.run_logger",
    "tags": "jtask.tagging",
    "task": "jtask.tasks",
    "unmapped": "jtask.annotations",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise _missing(name)
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def _missing(name: str) -> Exception:
    from jtask.other_libraries import IMPORTS

    if (way := IMPORTS.get(name)) is None:
        return AttributeError(f"module 'jtask' has no attribute {name!r}")
    said = f"jtask has no {name!r}: {way}"
    # Of an AttributeError, `from jtask import ...` would not show the text; by anything else,
    # `hasattr` and `getattr` with a default would be broken.
    return ImportError(said, name="jtask") if _is_import() else AttributeError(said, name=name)


def _is_import() -> bool:
    import sys

    # Python looks whether the package has the name before it looks for a module.
    frame = sys._getframe(3)  # pyright: ignore[reportPrivateUsage]
    return frame.f_code.co_name == "_handle_fromlist"
