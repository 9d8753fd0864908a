"""Settings: `JTASK_*`, then jtask.toml, then [tool.jtask] in pyproject.toml, then the defaults."""

from jtask.settings.core import Settings, get_settings, put_settings

__all__ = ["Settings", "get_settings", "put_settings"]
