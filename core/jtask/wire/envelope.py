"""The wire format, version 1: one line of JSON, a newline, the payload (docs/wire-format.md)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any

from pydantic_core import to_json

from jtask.errors import EnvelopeError, Failure
from jtask.field_defaults import new_dict
from jtask.foreign_text import quoted
from jtask.needs import Needs
from jtask.outcomes import AttemptRecord, SettledRun
from jtask.states import State, StateName
from jtask.wire import fields
from jtask.wire.fields import count, if_given, items, mapping, name, seconds, text
from jtask.wire.needs import needs_from_json, needs_to_json

VERSION = 1
_PLAIN = {"v", "id", "task", "name", "ser", "created"}
"""The fields of a first attempt without any extras: nearly all messages."""


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
        root: The first of those above it; None where that is the parent.
        headers: What plugins sent along, such as a trace context.
        started: When the first attempt began.
        run_time: Seconds that earlier attempts took.
        expires: Not to be started after this instant.
        blob: Size of arguments kept as a blob instead of in `payload`.
        blob_sha256: Their SHA-256, in hexadecimal; None where the sender did not say.
        history: Earlier attempts.
        options: Options of the task that this run has of its own.
        version: The task's version where the run was enqueued.
        waits_for: Why a worker that had it let it wait on, one sentence.
        needs: The runs whose ends it waits for; None for nearly all.
        redact: Names of parameters and keys whose values nobody is shown.
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
    root: str | None = None
    headers: dict[str, str] = field(default_factory=new_dict)
    started: float | None = None
    run_time: float = 0.0
    expires: float | None = None
    blob: int | None = None
    history: tuple[AttemptRecord, ...] = ()
    blob_sha256: str | None = None
    options: dict[str, object] = field(default_factory=new_dict)
    version: str | None = None
    waits_for: str = ""
    needs: Needs | None = None
    redact: tuple[str, ...] = ()

    def with_blob(self, payload: bytes) -> "Envelope":
        """Return the run with its arguments kept as a blob.

        Args:
            payload: The arguments.
        """
        digest = hashlib.sha256(payload).hexdigest()
        return replace(self, payload=b"", blob=len(payload), blob_sha256=digest)

    def holds(self, blob: bytes) -> bool:
        """Tell whether a blob is the arguments that were sent."""
        if len(blob) != self.blob:
            return False
        return self.blob_sha256 in (None, hashlib.sha256(blob).hexdigest())

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
        if self.waits_for:
            head["waits_for"] = self.waits_for
        if self.tags:
            head["tags"] = self.tags
        if self.redact:
            head["redact"] = self.redact
        if self.needs:
            head["needs"] = needs_to_json(self.needs)
        if self.history:
            head["history"] = [_attempt_to_json(attempt) for attempt in self.history]
        for field_name in (
            "parent",
            "root",
            "headers",
            "options",
            "version",
            "started",
            "expires",
            "blob",
            "blob_sha256",
        ):
            value = getattr(self, field_name)
            if value is not None and value != {}:
                head[field_name] = value
        return b"%b\n%b" % (fields.json_line(head), self.payload)


class EnvelopeTemplate:
    """Write the envelopes of one task whose runs differ in id, time and arguments only.

    Args:
        task_key: Which task.
        task_name: For people.
        serializer: How the payloads are written.
    """

    __slots__ = ("_middle",)

    def __init__(self, task_key: str, task_name: str, serializer: str) -> None:
        fixed = to_json({"v": VERSION, "task": task_key, "name": task_name, "ser": serializer})
        self._middle = fixed[:-1] + b',"id":"'

    @staticmethod
    def ending(created: float) -> bytes:
        """Return what ends the envelopes of runs that were enqueued together.

        Args:
            created: When, seconds since the epoch.
        """
        # Six decimals are all that a float of this size holds.
        return b'","created":%.6f}\n' % created

    def encode(self, run_id: str, ending: bytes, payload: bytes) -> bytes:
        """Return the message body of a first attempt without any extras.

        Args:
            run_id: The run.
            ending: Of the envelope.
            payload: The arguments.
        """
        # An id needs no escaping.
        return b"%b%b%b%b" % (self._middle, run_id.encode(), ending, payload)

    def encode_many(
        self, run_ids: Sequence[str], ending: bytes, payloads: Sequence[bytes]
    ) -> list[bytes]:
        """Do `encode` for many runs."""
        parts = (repeat(self._middle), map(str.encode, run_ids), repeat(ending), payloads)
        return list(map(b"".join, zip(*parts, strict=False)))


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
                name(head["id"]),
                name(head["task"]),
                name(head["name"]),
                name(head["ser"]),
                payload,
                seconds(head["created"]),
            )
        return Envelope(
            run_id=name(head["id"]),
            task_key=name(head["task"]),
            task_name=name(head.get("name") or head["task"]),
            serializer=name(head.get("ser", "json")),
            payload=payload,
            created=seconds(head.get("created") or 0.0),
            attempt=fields.attempt(head.get("attempt", 1)),
            tags=tuple(map(text, items(head.get("tags") or []))),
            parent=if_given(name, head.get("parent")),
            root=if_given(name, head.get("root")),
            headers={key: text(value) for key, value in mapping(head.get("headers") or {}).items()},
            started=if_given(seconds, head.get("started")),
            run_time=seconds(head.get("run_time", 0.0)),
            expires=if_given(seconds, head.get("expires")),
            blob=if_given(count, head.get("blob")),
            history=tuple(map(_attempt_from_json, items(head.get("history") or []))),
            blob_sha256=if_given(name, head.get("blob_sha256")),
            options=mapping(head.get("options") or {}),
            version=if_given(name, head.get("version")),
            waits_for=text(head.get("waits_for", "")),
            needs=if_given(needs_from_json, head.get("needs")),
            redact=tuple(map(text, items(head.get("redact") or []))),
        )
    except KeyError as error:
        raise EnvelopeError(f"the envelope has no field {error}") from None


def is_plain(body: bytes) -> bool:
    """Tell whether a body that can be read is of a first attempt without any extras."""
    return _split(body)[0].keys() == _PLAIN


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
        tags=envelope.tags,
        parent=envelope.parent,
        root=envelope.root or envelope.parent,
        version=envelope.version,
        needs=envelope.needs,
    )


_VERSION = b'{"v":%d,' % VERSION
_STATE = b'","state":"'
_COMPLETED = b'Completed","at":'
_JSON_ALONE = b'"ser":"json"}'


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
        # Not at the end: of a plain value `ser` is the last, see `plain_value`.
        **({"lines": True} if run.has_lines else {}),
        "ser": run.serializer,
    }
    # One by one: each run that ends comes this way, and nearly all say nothing more.
    if run.state.message:
        head["message"] = run.state.message
    if run.state.details:
        head["details"] = dict(run.state.details)
    if run.blob is not None:
        head["blob"] = run.blob
    _add_origin(head, run)
    if run.failure is not None:
        head["error"] = run.failure.to_json()
    if run.history:
        head["history"] = [_attempt_to_json(attempt) for attempt in run.history]
    return b"%b\n%b" % (fields.json_line(head), run.payload)


def decode_outcome(body: bytes) -> SettledRun:
    """Read the body of an outcome.

    Raises:
        EnvelopeError: Not an outcome, or of a newer version than this code reads.
    """
    head, payload = _split(body)
    try:
        return SettledRun(
            run_id=name(head["id"]),
            task_key=name(head["task"]),
            task_name=name(head["name"]),
            state=State(
                StateName(name(head["state"])),
                seconds(head["at"]),
                text(head.get("message", "")),
                mapping(head.get("details") or {}),
            ),
            attempt=count(head["attempt"]),
            created=seconds(head["created"]),
            started=if_given(seconds, head.get("started")),
            ended=seconds(head["ended"]),
            run_time=seconds(head["run_time"]),
            worker=name(head["worker"]),
            serializer=name(head["ser"]),
            payload=payload,
            blob=if_given(count, head.get("blob")),
            failure=Failure.from_json(head["error"]) if "error" in head else None,
            history=tuple(map(_attempt_from_json, items(head.get("history") or []))),
            tags=tuple(map(text, items(head.get("tags") or []))),
            parent=if_given(name, head.get("parent")),
            root=if_given(name, head.get("root", head.get("parent"))),
            version=if_given(name, head.get("version")),
            run_name=if_given(text, head.get("run_name")),
            needs=if_given(needs_from_json, head.get("needs")),
            has_lines=head.get("lines") is True,
        )
    except (KeyError, ValueError) as error:  # ValueError: no state, and EnvelopeError
        raise EnvelopeError(f"the outcome cannot be read: {error}") from None


def plain_value(body: bytes) -> bytes | None:
    """Return the payload of an outcome that is a value in JSON and nothing else; else None.

    Nearly all are, and whoever waits wants the value alone: `decode_outcome`, which reads all that
    is said about the run, takes ten times as long.
    """
    end = body.find(b"\n")
    at = body.find(_STATE, 0, end)
    # As `encode_outcome` writes it. A quote within a string is escaped, so these stand where they
    # seem to: no object has begun before the state but the whole, which ends with the last.
    is_plain = (
        body.startswith(_COMPLETED, at + len(_STATE))
        and body.startswith(_JSON_ALONE, end - len(_JSON_ALONE))
        and body.startswith(_VERSION)
        and body.find(b"{", 1, at) < 0
        and body.find(b'"blob":', at, end) < 0
    )
    return body[end + 1 :] or None if is_plain and at > 0 else None


def is_outcome_of(run_id: str, body: bytes) -> bool:
    """Tell whether a body that was pushed can be the outcome of a run."""
    # As `encode_outcome` begins: nearly all of them need no second look here.
    if body.startswith(b'{"v":%d,"id":"%b",' % (VERSION, run_id.encode())):
        return True
    try:
        return decode_outcome(body).run_id == run_id
    except EnvelopeError:
        return False


def _add_origin(head: dict[str, Any], run: SettledRun) -> None:
    if run.tags:
        head["tags"] = run.tags
    if run.parent is not None:
        head["parent"] = run.parent
    if run.root not in (None, run.parent):
        head["root"] = run.root
    if run.version is not None:
        head["version"] = run.version
    if run.run_name is not None:
        head["run_name"] = run.run_name
    if run.needs:
        head["needs"] = needs_to_json(run.needs)


def _split(body: bytes) -> tuple[dict[str, Any], bytes]:
    line, _, payload = body.partition(b"\n")
    head = fields.json_object(line)
    version = head.get("v")
    if not isinstance(version, int):
        raise EnvelopeError("the envelope names no version")
    # An older version is read. A newer one may mean something else by a field that is known.
    if version > VERSION:
        raise EnvelopeError(
            f"the envelope is of version {quoted(version)}, this reads up to {VERSION}"
        )
    return head, payload


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


def _attempt_from_json(given: object) -> AttemptRecord:
    head = mapping(given)
    return AttemptRecord(
        number=count(head["attempt"]),
        started=if_given(seconds, head.get("started")),
        ended=if_given(seconds, head.get("ended")),
        worker=name(head.get("worker", "")),
        reason=text(head.get("reason", "")),
        failure=Failure.from_json(head["error"]) if "error" in head else None,
    )
