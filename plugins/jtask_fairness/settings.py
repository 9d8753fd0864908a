"""The settings of the fairness plugin."""

from pydantic import Field

from jtask.settings import SettingsModel


class FairnessSettings(SettingsModel):
    """How far ahead tenants take turns."""

    fair_window: int = Field(default=100, ge=1)
    """How many runs of a queue wait or execute before others of their tenants are parked."""
