"""What a worker and its child processes say to each other: one JSON line, then bytes.

The bytes of a run that came from the broker are what the task's own codecs have written, as between
any two processes. Those of a run that is no other process's concern are pickles.

To the child: a request. From the child: `started` when the function is about to be called, any
number of `told` with a plugin's message to itself in the worker and of `waits` (a JSON list: 1 as
the function begins to wait for other runs, -1 as it goes on, and the ids of these), then one of
`value` (its bytes follow), `failed` (an Exception) and `crashed` (any other BaseException).
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from jtask.errors import Failure
from jtask.serialization import LocalPickles, codecs_of
from jtask.worker.log_output import WorkerLabel, worker_label

if TYPE_CHECKING:
    from jtask.declaration import TaskInfo

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
STARTED, TOLD, WAITS = "started", "told", "waits"
VALUE, FAILED, CRASHED = "value", "failed", "crashed"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a child says.

    Attributes:
        kind: One of the six.
        failure: What was raised, for two of them.
        payload: The value as bytes, or what is told, or how it waits.
        topic: Whose message it is, where something is told.
        state: Name, message and details of the state that the function returned, if it did.
    """

    kind: str
    failure: Failure | None = None
    payload: bytes = b""
    topic: str = ""
    state: tuple[str, str, Mapping[str, object]] | None = None

    def encode(self) -> bytes:
        """Return the frame."""
        failure = None if self.failure is None else self.failure.to_json()
        head = {
            "kind": self.kind,
            "failure": failure,
            "topic": self.topic,
            "state": self.state,
        }
        return _frame(head, self.payload)

    @classmethod
    def decode(cls, frame: bytes) -> "Reply":
        """Return what `encode` wrote."""
        head, payload = _parts(frame)
        failure = None if head["failure"] is None else Failure.from_json(head["failure"])
        return cls(head["kind"], failure, payload, head["topic"], head["state"])


@dataclass(frozen=True, slots=True)
class LogStyle:
    """What the log of a worker looks like, for a child that continues it.

    Attributes:
        level: Of the lines to show.
        label: Whose lines they are.
    """

    level: int
    label: WorkerLabel

    @classmethod
    def of_this_process(cls) -> "LogStyle":
        """Return what this process's log looks like."""
        return cls(logging.getLogger().getEffectiveLevel(), worker_label())


@dataclass(frozen=True, slots=True)
class Request:
    """What a child shall execute.

    Attributes:
        target: Names the task for `jtask.worker.targets`.
        serializer: How the arguments are written and the value shall be, as the task declares it;
            None as `LocalPickles` does.
        facts: What `jtask.runtime` shall say there.
        limits: The soft and the hard limit.
        payload: The arguments.
        path: The worker's import path.
        log: What the worker's log looks like.
    """

    target: str
    serializer: str | None
    facts: dict[str, Any]
    limits: tuple[float | None, float | None]
    payload: bytes
    path: list[str]
    log: LogStyle

    def encode(self) -> bytes:
        """Return the frame."""
        head = {
            "target": self.target,
            "serializer": self.serializer,
            "facts": self.facts,
            "limits": self.limits,
            "path": self.path,
            "log": [self.log.level, *self.log.label],
        }
        return _frame(head, self.payload)

    @classmethod
    def decode(cls, frame: bytes) -> "Request":
        """Return what `encode` wrote."""
        head, payload = _parts(frame)
        level, name, is_shown = head.pop("log")
        return cls(payload=payload, log=LogStyle(level, WorkerLabel(name, is_shown)), **head)


class Carrier(NamedTuple):
    """What writes and reads the arguments and the value of a run."""

    write_arguments: Callable[[tuple[Any, ...], dict[str, Any]], bytes]
    read_arguments: Callable[[bytes], Arguments]
    write_value: Callable[[Any], bytes]
    read_value: Callable[[bytes], Any]


def carrier_of(task: "TaskInfo[..., Any]", serializer: str | None) -> Carrier:
    """Return what carries the runs of a task.

    Args:
        task: The task.
        serializer: See `Request`.

    Raises:
        SerializationError: The task declares another one here.
    """
    if serializer is None:
        local = LocalPickles(task)
        return Carrier(
            local.write_arguments, local.read_arguments, local.write_value, local.read_value
        )
    codecs = codecs_of(task)
    codecs.check(serializer)
    arguments, result = codecs.arguments, codecs.result
    return Carrier(arguments.encode, arguments.decode, result.encode, result.decode)


def _frame(head: dict[str, Any], payload: bytes) -> bytes:
    return b"%b\n%b" % (json.dumps(head).encode(), payload)


def _parts(frame: bytes) -> tuple[dict[str, Any], bytes]:
    head, _, payload = frame.partition(b"\n")
    return json.loads(head), payload
