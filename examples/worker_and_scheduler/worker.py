"""The worker: it contains the tasks and executes their runs until Ctrl-C.

    python worker.py            # terminal 1
    python scheduler.py         # terminal 2

`jtask serve worker.py` does the same as the last line here. Start the two in either order: the runs
that the scheduler stores wait for the worker.
"""

from datetime import UTC, datetime

from jtask import task
from jtask.task_worker import serve


@task
def remind(whom: str, what: str) -> str:
    """Print a reminder, with the time."""
    line = f"{datetime.now(UTC):%H:%M:%S} {whom}: {what}"
    print(line, flush=True)
    return line


if __name__ == "__main__":
    serve(remind)
