"""The settings of the retries plugin."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from jtask.settings import Seconds, SettingsModel


def _listed(value: object) -> object:
    return value.split(",") if isinstance(value, str) and "," in value else value


class RetrySettings(SettingsModel):
    """The retries of tasks that do not say; times in seconds."""

    default_retries: int = Field(default=0, ge=0)
    """How often a failed run of a task that does not say is tried again."""
    default_retry_delay_seconds: Annotated[Seconds | list[Seconds], BeforeValidator(_listed)] = 0.0
    """How long such a run waits: one number, or one for each retry, as `1,10,60` or a list."""
