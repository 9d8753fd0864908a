"""The settings of the index."""

from pydantic import ByteSize, Field

from jtask.settings import Seconds, SettingsModel


class IndexSettings(SettingsModel):
    """Where the index of runs is, and how long it keeps them; times in seconds."""

    index_url: str | None = None
    """Database: `sqlite:///file` or `postgresql://user:password@host/database`."""
    index_ttl: Seconds = Field(default=2_592_000.0, ge=60)
    """How long a run stays in the index, from its call on, once it is over."""
    index_runs: int = Field(default=10_000_000, ge=1_000)
    """How many runs the index keeps; of more the oldest that are over go first."""
    index_size: ByteSize = Field(default=ByteSize(16 * 2**30), ge=2**20)
    """How many bytes the index takes, `20GiB` for example; of more the oldest runs go first."""
