"""How often a run was started since it lost its first worker, counted at the broker."""

START_COUNTER_TTL = 7 * 86_400.0
"""Seconds after its last start for which a run that loses workers is remembered."""


def start_counter(run_id: str) -> str:
    """Return the name of the counter of a run's starts since it lost its first worker."""
    return f"starts-{run_id}"
