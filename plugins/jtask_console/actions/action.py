"""What an action is."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

Tell = Callable[[int, int], None]
"""Told how far an action is: how much is done, of how much."""


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody gave to an action.

    Attributes:
        values: The fields of the form, the last of each name.
        who: Who does it.
        runs: The runs that are selected.
        operation_id: Of this time that it is done; the same when it is resumed.
    """

    values: Mapping[str, str]
    who: str
    runs: Sequence[str] = ()
    operation_id: str = ""

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")


@dataclass(frozen=True, slots=True)
class Action:
    """Something that people do.

    Attributes:
        kind: What it is called in the audit log.
        path: The address that a form is sent to.
        target: What it is done to, as the audit log has it.
        perform: Does it, tells how far it is, and returns one sentence for whoever did it.
        topics: What there is news of afterwards.
    """

    kind: str
    path: str
    target: Callable[[Given], str]
    perform: Callable[[Given, Tell], Awaitable[str]]
    topics: tuple[str, ...]


def named(field: str) -> Callable[[Given], str]:
    """Return `Action.target` of what a field of the form names."""
    return lambda given: given[field]
