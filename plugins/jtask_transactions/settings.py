"""The settings of the transactions plugin."""

from jtask.settings import Seconds, SettingsModel


class TransactionSettings(SettingsModel):
    """How long is kept what was done."""

    transaction_ttl: Seconds | None = None
    """Seconds for which the record of a transaction with a key is kept; at least 1."""

    transaction_step_ttl: Seconds = 2_592_000.0
    """Seconds for which the value of a step (`once`) is kept; at least 1."""
