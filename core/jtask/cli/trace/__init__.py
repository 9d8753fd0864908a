"""`jtask trace`: a run and all runs below it over time, told from the event log alone."""

from jtask.cli.trace.command import trace

__all__ = ["trace"]
