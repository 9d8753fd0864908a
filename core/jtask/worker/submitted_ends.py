"""The end of what a worker's runs have submitted and nobody waits for."""

import logging
import threading
import time

from jtask.futures import wait
from jtask.futures.submitted_run import leave_all, open_runs, wait_for_all

_GRACE_SECONDS = 1.0  # for cancelled runs to end
_MESSAGE = "the worker that executed it has stopped"
_log = logging.getLogger("jtask.worker")


def end_submitted(deadline: float, hurry: threading.Event) -> None:
    """Let the submitted runs of this process end; cancel those that take too long.

    For a process that ends with its worker: the program's end waits for none of them any more.

    Args:
        deadline: How long they may take, by `time.monotonic`.
        hurry: Set to cancel them at once.
    """
    if open_runs():
        threading.Thread(target=_tell_when_over, args=(hurry,), daemon=True).start()
        hurry.wait(max(0.0, deadline - time.monotonic()))
    if late := open_runs():
        for run in late:
            run.cancel(_MESSAGE)
        staying = wait(late, timeout=_GRACE_SECONDS).not_done
        _log.warning(
            "cancelled %d submitted runs that were not over%s",
            len(late),
            f"; {len(staying)} of them have not ended and are left behind" if staying else "",
        )
    leave_all()


def _tell_when_over(hurry: threading.Event) -> None:
    wait_for_all()
    hurry.set()
