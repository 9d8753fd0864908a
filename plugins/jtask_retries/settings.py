"""The settings of the retries plugin."""

from pydantic import Field

from jtask.settings import Seconds, SettingsModel


class RetrySettings(SettingsModel):
    """The retries of tasks that do not say; times in seconds."""

    default_retries: int = Field(default=0, ge=0)
    """How often a failed run of a task that does not say is tried again."""
    default_retry_delay_seconds: Seconds | list[Seconds] = 0.0
    """How long such a run waits: one number, or one for each retry as a JSON list."""
