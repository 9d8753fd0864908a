"""The worker: it has the tasks and executes their runs until Ctrl-C.

    python worker.py            # terminal 1
    python scheduler.py         # terminal 2

`jtask serve worker.py` does the same as the last line here. The two may be started in any order:
what the scheduler stores waits for the worker.
"""

from datetime import UTC, datetime

from jtask import task
from jtask.task_worker import serve


@task
def remind(whom: str, what: str) -> str:
    """Say something to somebody, now."""
    line = f"{datetime.now(UTC):%H:%M:%S} {whom}: {what}"
    print(line, flush=True)
    return line


if __name__ == "__main__":
    serve(remind)
