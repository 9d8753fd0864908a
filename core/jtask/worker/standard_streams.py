"""When what tasks print is seen: line by line, also in a pipe or a file."""

import sys
from contextlib import suppress


def print_line_by_line() -> None:
    """Have each line of stdout written at once, as on a terminal.

    To a pipe or a file Python writes some kilobytes at a time: what a task prints would be seen
    hours later, at the end of its worker, or never if that is killed.
    """
    # What a program has put in its place may not have it.
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(line_buffering=True)


def flush_streams() -> None:
    """Write what is left of an unfinished line."""
    for stream in (sys.stdout, sys.stderr):
        # A task may have closed or replaced it, and whoever read it may be gone.
        with suppress(Exception):
            stream.flush()
