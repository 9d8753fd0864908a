"""What an action is."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from jtask.run_filters import RunFilter


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody gave to an action.

    Attributes:
        values: The fields of the form, the last of each name.
        who: Who does it.
        runs: The runs that are selected.
    """

    values: Mapping[str, str]
    who: str
    runs: Sequence[str] = ()

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")


@dataclass(frozen=True, slots=True)
class Action:
    """Something that people do, at once.

    Attributes:
        kind: What it is called in the audit log.
        path: The address that a form is sent to.
        target: What it is done to, as the audit log has it.
        perform: Does it, and returns one sentence for whoever did it, and to how many runs it was
            done.
        topics: What there is news of afterwards.
    """

    kind: str
    path: str
    target: Callable[[Given], str]
    perform: Callable[[Given], Awaitable[tuple[str, int]]]
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """The runs that something is to be done to.

    Attributes:
        runs: Their ids, or all that a filter takes now.
        about: What they are, for people; empty lists them.
        arguments: JSON that takes the place of their own; empty where those stay.
    """

    runs: Sequence[str] | RunFilter
    about: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class ManyAction:
    """Something that people do to many runs: an operation of the index, see `jtask_index.bulk`.

    Attributes:
        kind: What it is called there, and in the audit log.
        path: The address that a form is sent to.
        choose: Says to which runs.
        topics: What there is news of meanwhile.
    """

    kind: str
    path: str
    choose: Callable[[Given], Awaitable[Choice]]
    topics: tuple[str, ...]


def named(field: str) -> Callable[[Given], str]:
    """Return `Action.target` of what a field of the form names."""
    return lambda given: given[field]
