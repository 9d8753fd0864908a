"""The settings of the caching plugin."""

from jtask.settings import SettingsModel


class CacheSettings(SettingsModel):
    """What holds for tasks that do not say."""

    default_refresh_cache: bool = False
    """Whether runs are executed although their values are kept, and replace these."""
