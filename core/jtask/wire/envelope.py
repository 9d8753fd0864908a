"""The wire format, version 1: one line of JSON, a newline, the payload (docs/wire-format.md)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from pydantic_core import from_json, to_json

from jtask.errors import EnvelopeError, Failure
from jtask.outcomes import AttemptRecord, SettledRun
from jtask.states import State, StateName

VERSION = 1
_PLAIN = {"v", "id", "task", "name", "ser", "created"}
"""The fields of a first attempt without any extras: nearly all messages."""

T = TypeVar("T")


@dataclass(slots=True)
class Envelope:
    """One run on the wire.

    Attributes:
        run_id: The run.
        task_key: Which task; what a worker looks up.
        task_name: For people.
        serializer: How the payload is written; a worker refuses one its task did not declare.
        payload: The arguments.
        created: When the caller enqueued it, seconds since the epoch.
        attempt: From 1.
        tags: The caller's tags.
        parent: The run that enqueued this one.
        headers: What plugins sent along, such as a trace context.
        started: When the first attempt began.
        run_time: Seconds that earlier attempts took.
        expires: Not to be started after this instant.
        blob: Size of arguments kept as a blob instead of in `payload`.
        history: Earlier attempts.
    """

    run_id: str
    task_key: str
    task_name: str
    serializer: str
    payload: bytes
    created: float
    attempt: int = 1
    tags: tuple[str, ...] = ()
    parent: str | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])
    started: float | None = None
    run_time: float = 0.0
    expires: float | None = None
    blob: int | None = None
    history: tuple[AttemptRecord, ...] = ()

    def encode(self) -> bytes:
        """Return the message body."""
        head: dict[str, Any] = {
            "v": VERSION,
            "id": self.run_id,
            "task": self.task_key,
            "name": self.task_name,
            "ser": self.serializer,
            "created": self.created,
        }
        # What says nothing is left out: readers take the default, and messages stay short.
        if self.attempt > 1:
            head["attempt"] = self.attempt
        if self.run_time:
            head["run_time"] = self.run_time
        if self.tags:
            head["tags"] = self.tags
        if self.history:
            head["history"] = [_attempt_to_json(attempt) for attempt in self.history]
        for name in ("parent", "headers", "started", "expires", "blob"):
            value = getattr(self, name)
            if value is not None and value != {}:
                head[name] = value
        return b"%b\n%b" % (to_json(head), self.payload)


class EnvelopeTemplate:
    """Write the envelopes of one task whose runs differ in id, time and arguments only.

    Args:
        task_key: Which task.
        task_name: For people.
        serializer: How the payloads are written.
    """

    __slots__ = ("_middle", "_tail")

    def __init__(self, task_key: str, task_name: str, serializer: str) -> None:
        fixed = to_json({"v": VERSION, "task": task_key, "name": task_name, "ser": serializer})
        self._middle = fixed[:-1] + b',"id":"'
        self._tail = b'","created":'

    def encode(self, run_id: str, created: float, payload: bytes) -> bytes:
        """Return the message body of a first attempt without any extras.

        Args:
            run_id: The run.
            created: When it was enqueued, seconds since the epoch.
            payload: The arguments.
        """
        # An id needs no escaping; six decimals are all that a float of this size holds.
        return b"%b%b%b%.6f}\n%b" % (self._middle, run_id.encode(), self._tail, created, payload)


def decode_envelope(body: bytes) -> Envelope:
    """Read a message body.

    Args:
        body: What `Envelope.encode` returned, here or in another language.

    Raises:
        EnvelopeError: Not an envelope, or of a newer version than this code reads.
    """
    head, payload = _split(body)
    try:
        # By the names alone: nearly all messages are spared the many fields they do not have.
        if head.keys() == _PLAIN:
            return Envelope(
                _text(head["id"]),
                _text(head["task"]),
                _text(head["name"]),
                _text(head["ser"]),
                payload,
                float(head["created"]),
            )
        return Envelope(
            run_id=_text(head["id"]),
            task_key=_text(head["task"]),
            task_name=_text(head.get("name") or head["task"]),
            serializer=_text(head.get("ser", "json")),
            payload=payload,
            created=float(head.get("created") or 0.0),
            attempt=int(head.get("attempt", 1)),
            tags=tuple(map(_text, _list(head.get("tags") or []))),
            parent=_if_given(_text, head.get("parent")),
            headers={
                name: _text(value) for name, value in _dict(head.get("headers") or {}).items()
            },
            started=_if_given(float, head.get("started")),
            run_time=float(head.get("run_time", 0.0)),
            expires=_if_given(float, head.get("expires")),
            blob=_if_given(int, head.get("blob")),
            history=tuple(map(_attempt_from_json, _list(head.get("history") or []))),
        )
    except KeyError as error:
        raise EnvelopeError(f"the envelope has no field {error}") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:  # of int(): an infinity
        raise EnvelopeError(f"a field of the envelope has the wrong type: {error}") from None


def unstarted_record(run_id: str, envelope: Envelope, state: State, worker: str = "") -> SettledRun:
    """Return what is to be stored of a run that ends without being executed.

    Args:
        run_id: The run, whatever its envelope says.
        envelope: What is known of it.
        state: Its final state.
        worker: Who ended it; empty when nobody had it.
    """
    return SettledRun(
        run_id=run_id,
        task_key=envelope.task_key,
        task_name=envelope.task_name,
        state=state,
        attempt=envelope.attempt,
        created=envelope.created,
        started=envelope.started,
        ended=state.at,
        run_time=envelope.run_time,
        worker=worker,
        serializer=envelope.serializer,
        history=envelope.history,
    )


def encode_outcome(run: SettledRun) -> bytes:
    """Return the body of an outcome."""
    head: dict[str, Any] = {
        "v": VERSION,
        "id": run.run_id,
        "task": run.task_key,
        "name": run.task_name,
        "state": str(run.state.name),
        "at": run.state.at,
        "attempt": run.attempt,
        "created": run.created,
        "started": run.started,
        "ended": run.ended,
        "run_time": run.run_time,
        "worker": run.worker,
        "ser": run.serializer,
    }
    if run.state.message:
        head["message"] = run.state.message
    if run.state.details:
        head["details"] = dict(run.state.details)
    if run.blob is not None:
        head["blob"] = run.blob
    if run.failure is not None:
        head["error"] = run.failure.to_json()
    if run.history:
        head["history"] = [_attempt_to_json(attempt) for attempt in run.history]
    return b"%b\n%b" % (to_json(head), run.payload)


def decode_outcome(body: bytes) -> SettledRun:
    """Read the body of an outcome.

    Raises:
        EnvelopeError: Not an outcome, or of a newer version than this code reads.
    """
    head, payload = _split(body)
    try:
        return SettledRun(
            run_id=_text(head["id"]),
            task_key=_text(head["task"]),
            task_name=_text(head["name"]),
            state=State(
                StateName(head["state"]),
                float(head["at"]),
                _text(head.get("message", "")),
                _dict(head.get("details") or {}),
            ),
            attempt=int(head["attempt"]),
            created=float(head["created"]),
            started=_if_given(float, head.get("started")),
            ended=float(head["ended"]),
            run_time=float(head["run_time"]),
            worker=_text(head["worker"]),
            serializer=_text(head["ser"]),
            payload=payload,
            blob=_if_given(int, head.get("blob")),
            failure=Failure.from_json(head["error"]) if "error" in head else None,
            history=tuple(map(_attempt_from_json, _list(head.get("history") or []))),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise EnvelopeError(f"the outcome cannot be read: {error!r}") from None


def _split(body: bytes) -> tuple[dict[str, Any], bytes]:
    line, _, payload = body.partition(b"\n")
    try:
        head = from_json(line)
    except ValueError:
        raise EnvelopeError("the first line is not JSON") from None
    if not isinstance(head, dict):
        raise EnvelopeError("the first line is not a JSON object")
    fields = cast("dict[str, Any]", head)
    version = fields.get("v")
    if not isinstance(version, int):
        raise EnvelopeError("the envelope names no version")
    # An older version is read. A newer one may mean something else by a field that is known.
    if version > VERSION:
        raise EnvelopeError(f"the envelope is of version {version}, this reads up to {VERSION}")
    return fields, payload


def _text(value: object) -> str:
    # Any language may have written it, so nothing is taken for granted.
    if not isinstance(value, str):
        raise EnvelopeError(f"expected a string, got {value!r}")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise EnvelopeError(f"expected a list, got {value!r}")
    return list(cast("Iterable[Any]", value))


def _dict(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise EnvelopeError(f"expected an object, got {value!r}")
    return cast("dict[str, Any]", value)


def _if_given(read: Callable[[Any], T], value: object) -> T | None:
    return None if value is None else read(value)


def _attempt_to_json(attempt: AttemptRecord) -> dict[str, Any]:
    head: dict[str, Any] = {
        "attempt": attempt.number,
        "started": attempt.started,
        "ended": attempt.ended,
        "worker": attempt.worker,
        "reason": attempt.reason,
    }
    if attempt.failure is not None:
        head["error"] = attempt.failure.to_json()
    return head


def _attempt_from_json(head: dict[str, Any]) -> AttemptRecord:
    return AttemptRecord(
        number=int(head["attempt"]),
        started=_if_given(float, head.get("started")),
        ended=_if_given(float, head.get("ended")),
        worker=_text(head.get("worker", "")),
        reason=_text(head.get("reason", "")),
        failure=Failure.from_json(head["error"]) if "error" in head else None,
    )
