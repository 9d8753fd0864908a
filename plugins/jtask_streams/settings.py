"""The settings of this plugin."""

from pydantic import Field

from jtask.settings import SettingsModel


class StreamSettings(SettingsModel):
    """How much runs may stream."""

    run_stream_limit: int = Field(default=1_000_000_000, ge=1)
    """How many bytes the items of one attempt may have; beyond, the run fails."""
