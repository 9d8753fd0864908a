"""Which plugins were asked whether to make an attempt of a run."""


class Admission:
    """Which plugins were asked for an attempt, until it is over.

    Attributes:
        asked: The sources of those that admitted it so far.
        is_complete: Whether all have.
    """

    __slots__ = ("_open", "asked", "is_complete")

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.is_complete = False
        self._open = [True]

    def close(self) -> bool:
        """End it; False when somebody else has. From any thread."""
        try:
            # One call into C, so that of two threads one gets it.
            return self._open.pop()
        except IndexError:
            return False
