"""Settings: `JTASK_*`, then jtask.toml, then [tool.jtask] in pyproject.toml, then the defaults.

Core's are in `Settings`. A plugin, a broker or a store brings its own: a class derived from
`SettingsModel`, which it declares in a function `jtask_settings` and reads with `settings_of`.
"""

from typing import TYPE_CHECKING

from jtask.lazy_names import lazy_names

if TYPE_CHECKING:
    from jtask.settings.core import Settings
    from jtask.settings.model import Seconds, SettingsModel
    from jtask.settings.reading import chosen_plugins, get_settings, put_settings, settings_of

__all__ = [
    "Seconds",
    "Settings",
    "SettingsModel",
    "chosen_plugins",
    "get_settings",
    "put_settings",
    "settings_of",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "jtask.settings.core": ["Settings"],
        "jtask.settings.model": ["Seconds", "SettingsModel"],
        "jtask.settings.reading": ["chosen_plugins", "get_settings", "put_settings", "settings_of"],
    },
)
