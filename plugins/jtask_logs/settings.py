"""The settings of the logs plugin."""

from typing import Literal

from pydantic import Field

from jtask.settings import SettingsModel


class LogSettings(SettingsModel):
    """What is kept of the logs of runs."""

    run_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "OFF"] = "INFO"
    """From which level on the records of a run are kept; `OFF` keeps nothing."""
    run_log_limit: int = Field(default=10_000_000, ge=1)
    """How many characters of a run's log are kept, of all its attempts together."""
    log_prints: bool = False
    """Whether `print` goes to the run's log, for tasks that do not say."""
