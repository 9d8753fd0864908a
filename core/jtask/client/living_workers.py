"""The living workers, by what they say of themselves in their heartbeats."""

import contextlib
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from jtask.contract import Broker


class _Executing(BaseModel):
    """A run that a worker executes: its task's key and name, and since when its attempt runs."""

    run_id: str
    task: str
    name: str
    attempt: int = 1
    since: float | None = None


class _Heartbeat(BaseModel):
    """What a worker says of itself; a later version may say more."""

    started: float
    queues: list[str]
    tasks: list[str]
    concurrency: int
    executing: int
    runs: list[_Executing] = Field(default_factory=list[_Executing])


async def living_workers(broker: Broker) -> list[dict[str, Any]]:
    """Return what each living worker says of itself, by name; on the I/O loop.

    Heartbeats that cannot be read are left out.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, body in await broker.heartbeats.living():
        # One that somebody else has put there must not hide the others.
        with contextlib.suppress(ValidationError):
            found[name] = {"name": name, **_Heartbeat.model_validate_json(body).model_dump()}
    return [found[name] for name in sorted(found)]
