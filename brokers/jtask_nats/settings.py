"""The settings of NATS servers, and of the embedded one."""

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from jtask.settings import SettingsModel

Sync = Literal["always", "interval"]
_SEED = re.compile(r"S[A-Z2-7]{57}")


class NatsSettings(SettingsModel):
    """How to use a NATS server, and how to start the embedded one."""

    replicas: int = Field(default=1, ge=1, le=5)
    """Copies of each stream in a NATS cluster."""
    nats_token: SecretStr | None = None
    """A token to log in with, where the URL has no user or token."""
    nats_nkey_seed: Path | None = None
    """A file with the nkey seed of a user (needs the extra `nkeys`)."""
    nats_credentials: Path | None = None
    """A NATS .creds file (needs the extra `nkeys`)."""
    nats_ca: Path | None = None
    """A PEM file of the CA that signed the servers' certificates; unset is those of the system."""
    nats_client_certificate: Path | None = None
    """A PEM file with the certificate that is shown to servers."""
    nats_client_key: Path | None = None
    """A PEM file with its key; unset where that is in the same file."""
    nats_inbox_prefix: str = Field(default="_INBOX", pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")
    """Begin of the subjects on which answers arrive."""
    nats_links: int = Field(default=4, ge=0, le=1000)
    """Connections that threads and event loops which enqueue again and again may have in all."""
    nats_streams: int = Field(default=1, ge=1, le=64)
    """Over how many streams the runs of the namespace are spread; the same in all processes."""
    server_store_limit: str = "10GB"
    """What the embedded server may put on disk before it refuses new runs."""
    server_sync: Sync = "interval"
    """When the embedded server flushes to disk: before each answer, or every 2 minutes."""

    @field_validator("nats_nkey_seed")
    @classmethod
    def _refuse_seed(cls, path: Path | None) -> Path | None:
        # It would be shown as the name of a file that is missing.
        if path is not None and _SEED.fullmatch(str(path)):
            raise ValueError("must be the path of a file with the seed, not the seed itself")
        return path

    @model_validator(mode="after")
    def _check_access(self) -> Self:
        logins = [
            f"JTASK_{name.upper()}"
            for name in ("nats_token", "nats_nkey_seed", "nats_credentials")
            if getattr(self, name) is not None
        ]
        if len(logins) > 1:
            raise ValueError(f"set only one of {' and '.join(logins)}")
        if self.nats_client_key is not None and self.nats_client_certificate is None:
            raise ValueError("JTASK_NATS_CLIENT_KEY needs JTASK_NATS_CLIENT_CERTIFICATE")
        return self
