"""What is recorded of a direct call, and whether it is at all: nothing here contacts a broker."""

import dataclasses
import enum
import os
from contextlib import suppress
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path, PurePath
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from jtask.outcomes import Outcome
from jtask.runtime import RunContext
from jtask.runtime.settled_runs import settled_run
from jtask.serialization.codecs import codecs_of
from jtask.settings import Settings, get_settings
from jtask.wire.envelope import encode_outcome
from jtask.wire.history import bare, shortened

OUTCOME_LIMIT = 64 * 1024
"""How many bytes of an outcome are recorded; every result store takes as many."""

_MOST_VALUES = 2000  # in a result; more are not looked at
_NUMBERS = (type(None), bool, int, float, complex)
_LEAVES = (date, time, timedelta, Decimal, UUID, enum.Enum, PurePath)


def may_be_recorded() -> bool:
    """Tell whether direct calls of a process that is not connected are recorded.

    Quick, for a program that never connects asks it too: one file is looked at, if any.
    """
    settings = get_settings()
    if settings.record_direct_calls != "auto":
        return settings.record_direct_calls == "on"
    # A server would be started by the connection, which a direct call has not asked for.
    return not settings.url.startswith("embedded:") or _embedded_server_lives(settings)


def encode_end(run: RunContext, outcome: Outcome) -> bytes:
    """Return the outcome of a direct call as it is stored, without a value that cannot be.

    Args:
        run: The run, which still has its history.
        outcome: Its end.
    """
    payload, lacks = _payload(run, outcome) if outcome.successful else (b"", "")
    state = outcome.state
    said = dataclasses.replace(state, data=None, message=state.message or lacks)
    settled = settled_run(run, outcome, state=said, payload=payload)
    body = encode_outcome(settled)
    if len(body) <= OUTCOME_LIMIT:
        return body
    if payload:
        state = dataclasses.replace(settled.state, message="its result is too large to be recorded")
        settled = dataclasses.replace(settled, payload=b"", state=state)
    brief = shortened(settled.failure)
    return encode_outcome(dataclasses.replace(settled, failure=brief, history=bare(run.history)))


def _payload(run: RunContext, outcome: Outcome) -> tuple[bytes, str]:
    if run.task.is_generator and run.is_submitted:
        # A list, where what is declared says how to write what the function returns.
        return b"", "the items of a generator are not recorded"
    if not _is_plain(outcome.value):
        # To write it might take long, or use it up, as it does an iterator.
        return b"", "its result is too large or of a type that is not recorded"
    try:
        return codecs_of(run.task).result.encode(outcome.value), ""
    except Exception as error:
        return b"", f"its result is not recorded: {error}"


def _is_plain(value: Any) -> bool:
    """Tell whether a value is small and made of what can be read without any effect."""
    values: list[Any] = [value]
    seen, room = 0, OUTCOME_LIMIT
    while values:
        one = values.pop()
        kind: Any = type(one)  # pyright: ignore[reportUnknownVariableType]
        seen += 1
        if kind in (str, bytes):
            room -= len(one)
        elif kind in (list, tuple, set, frozenset, dict):
            if len(one) > _MOST_VALUES:
                return False
            values.extend(one)
            if kind is dict:
                values.extend(one.values())
        elif isinstance(one, BaseModel):
            values.extend({**vars(one), **(one.model_extra or {})}.values())
        elif dataclasses.is_dataclass(kind):
            # Not `vars`: it may have slots.
            values.extend(getattr(one, field.name, None) for field in dataclasses.fields(kind))
        elif kind not in _NUMBERS and not isinstance(one, _LEAVES):
            return False
        if seen + len(values) > _MOST_VALUES or room < 0:
            return False
    return True


def _embedded_server_lives(settings: Settings) -> bool:
    """Tell whether somebody holds the lock of the embedded server's folder, as a server does."""
    try:
        import fcntl
    except ImportError:  # nor is there an embedded server
        return False
    data = os.environ.get("XDG_DATA_HOME")
    home = settings.home
    with suppress(OSError, RuntimeError):
        home = home or (Path(data) if data else Path.home() / ".local" / "share") / "jtask"
        lock = os.open(home.expanduser() / "lock", os.O_RDONLY | os.O_CLOEXEC)
        try:
            # Shared and for a moment: whoever starts a server just then tries again.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
    return False
