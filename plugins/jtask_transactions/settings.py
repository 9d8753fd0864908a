"""The settings of the transactions plugin."""

from pydantic import Field

from jtask.settings import Seconds, SettingsModel


class TransactionSettings(SettingsModel):
    """How long is kept what was done."""

    transaction_ttl: Seconds | None = Field(default=None, ge=1)
    """Seconds for which the record of a transaction with a key is kept; None keeps it."""

    step_ttl: Seconds = Field(default=2_592_000.0, ge=1)
    """Seconds for which the value of a step (`once`) is kept."""
