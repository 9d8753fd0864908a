"""What can be done to many runs: a plugin may have such actions, see `jtask_bulk_actions`."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol


class BulkItem(NamedTuple):
    """One of the runs that an operation is about.

    Attributes:
        run_id: The run.
        new_run_id: Of the one that takes its place, should the action enqueue one; the same however
            often it is tried.
        who: On whose behalf.
        arguments: JSON that takes the place of its own; empty where those stay.
    """

    run_id: str
    new_run_id: str
    who: str
    arguments: str = ""


class BulkAction(NamedTuple):
    """Something that can be done to many runs.

    Attributes:
        kind: What it is called, such as `cancel runs`.
        act: Does it to one, on the I/O loop, and returns in a few words what came of it. Done a
            second time it changes nothing: nobody knows how far a process came that was killed.
        newest_first: Whether the newest are dealt with first.
        enqueues: Whether it enqueues another run, whose id has to be chosen before.
    """

    kind: str
    act: Callable[[BulkItem], Awaitable[str]]
    newest_first: bool = False
    enqueues: bool = False


class BulkCarrier(Protocol):
    """Notes that something is done to many runs, does it, and notes what came of each."""

    def __call__(
        self, kind: str, run_ids: Sequence[str], about: str, tell: Callable[[int, int], None], /
    ) -> dict[str, str]:
        """Block until all is done.

        Args:
            kind: That of a `BulkAction`.
            run_ids: To which runs.
            about: What they are, for people; empty lists them.
            tell: Told how many are dealt with, of how many.

        Returns:
            dict[str, str]: What came of each, by its id.
        """
        ...
