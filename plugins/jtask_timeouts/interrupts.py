"""What is raised inside a task's function, at whatever point that is executing.

Much code takes an exception for what its own work may fail with: a retry of a library, the handler
of a log, a loop that goes on with the next item. None of it may keep an interruption from the task.
"""

from jtask.errors import JTaskError, SoftTimeout


class HardInterrupt(BaseException):
    """The hard limit is over, or the run was cancelled: raised inside a plain function.

    Not an Exception, so that `except Exception` in a task does not stop it.
    """


class _CaughtByName(type):
    """The class of an exception that `except` finds under its own name, and under no wider one.

    Python looks for what an `except` names in the order in which a class's attributes are looked
    up.
    """

    def mro(cls) -> list[type]:
        return [one for one in super().mro() if one not in (JTaskError, Exception)]


class SoftInterrupt(SoftTimeout, metaclass=_CaughtByName):
    """The soft limit is over: `except SoftTimeout` stops it, `except Exception` does not.

    Whoever waits for the run gets an ordinary SoftTimeout, as which this one is shown and copied.
    """

    __module__, __qualname__ = SoftTimeout.__module__, SoftTimeout.__qualname__

    def __init__(self, message: str = str(SoftTimeout())) -> None:
        BaseException.__init__(self, message)

    def __reduce__(self) -> tuple[type[SoftTimeout], tuple[str]]:
        return SoftTimeout, (str(self),)
