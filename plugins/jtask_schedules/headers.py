"""What a schedule sends along with its runs."""

HEADER = "jtask-schedule"
"""The task's key; without it a run is none of a schedule."""

CHAIN = "jtask-schedule-chain"
"""Which declaration of the schedule the run follows from."""

INSTANT = "jtask-schedule-at"
"""The instant for which it was put in place, seconds since the epoch."""
