"""Write the outcomes that say nothing more than each says: nearly all.

The same bytes as of `encode_outcome`, without a `SettledRun` and its many fields in between.
"""

from functools import lru_cache
from typing import Protocol

from pydantic_core import to_json

from jtask.states import State
from jtask.wire.envelope import VERSION, Envelope
from jtask.wire.fields import json_line

_MOST = 1024  # of what is remembered; a worker has a few of each


class Executed(Protocol):
    """What an outcome says of the attempt that it ends."""

    run_id: str
    attempt: int
    created_at: float
    started_at: float | None
    run_time: float
    worker: str


def plain_outcome(envelope: Envelope, end: State, run: Executed, payload: bytes) -> bytes:
    """Return the body of an outcome that has only the fields which each has.

    Args:
        envelope: What came over the wire.
        end: The final state, which says nothing.
        run: The run.
        payload: The return value as it is stored.
    """
    at = to_json(end.at)
    # One by one: a dictionary of them takes twice as long. An id needs no escaping.
    return (
        b'{"v":%d,"id":"%b",%b,"at":%b,"attempt":%d,"created":%b,"started":%b,"ended":%b,'
        b'"run_time":%b,%b}\n%b'
    ) % (
        VERSION,
        run.run_id.encode(),
        _task_and_state(envelope.task_key, envelope.task_name, end.name),
        at,
        run.attempt,
        to_json(run.created_at),
        to_json(run.started_at),
        at,
        to_json(run.run_time),
        _worker_and_form(run.worker, envelope.serializer),
        payload,
    )


# What few tasks and one worker have in all of their outcomes is written once.
@lru_cache(_MOST)
def _task_and_state(key: str, name: str, state: str) -> bytes:
    return json_line({"task": key, "name": name, "state": str(state)})[1:-1]


@lru_cache(_MOST)
def _worker_and_form(worker: str, serializer: str) -> bytes:
    return json_line({"worker": worker, "ser": serializer})[1:-1]
