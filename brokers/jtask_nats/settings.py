"""The settings of NATS servers, and of the embedded one."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from jtask.settings import SettingsModel

Sync = Literal["always", "interval"]


class NatsSettings(SettingsModel):
    """How to use a NATS server, and how to start the embedded one."""

    replicas: int = Field(default=1, ge=1, le=5)
    """Copies of each stream in a NATS cluster."""
    nats_credentials: Path | None = None
    """A NATS .creds file (needs the extra `nkeys`)."""
    server_store_limit: str = "10GB"
    """What the embedded server may put on disk before it refuses new runs."""
    server_sync: Sync = "interval"
    """When the embedded server flushes to disk: before each answer, or every 2 minutes."""
