"""The settings of the health plugin."""

from pydantic import Field

from jtask.settings import Seconds, SettingsModel


class HealthSettings(SettingsModel):
    """Where a worker answers, and when it gives up."""

    health_host: str = "127.0.0.1"
    """Where a worker answers questions after its health."""
    health_port: int | None = Field(default=None, ge=0, le=65535)
    """Port of that; unset answers none, 0 picks a free one. More processes take the next ports."""
    give_up_after: Seconds | None = Field(default=None, gt=0)
    """A worker that cannot get runs for this long ends with exit code 4; unset tries for ever."""
