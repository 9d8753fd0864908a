"""How long a run waits for a worker that has its task."""

UNKNOWN_TASK_SECONDS = (10.0, 300.0)
"""How long a run of a task that is not served here waits before it is delivered again: at first and
at most. A new deploy is found soon, and runs that nobody serves cost little, however many."""


def unknown_task_seconds(age: float) -> float:
    """Return how long a run waits whose task is not served: the longer, the older it is.

    Args:
        age: Seconds since it was enqueued, by the caller's clock.
    """
    least, most = UNKNOWN_TASK_SECONDS
    return min(max(age, least), most)
