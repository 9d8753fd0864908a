"""A task that takes a while; see caller.py for how to run it."""

import time

from jtask import runtime, task


@task
def brew(drink: str) -> str:
    """Brew a drink, one at a time in each worker."""
    time.sleep(1)
    return f"{drink}, brewed by {runtime.worker}"
