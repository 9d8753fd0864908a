"""The settings of the schedules plugin."""

from pydantic import Field

from jtask.settings import Seconds, SettingsModel


class ScheduleSettings(SettingsModel):
    """How long schedules are kept; times in seconds."""

    schedule_ttl: Seconds = Field(default=86_400.0, ge=120)
    """A schedule that no worker has declared for this long is removed."""
