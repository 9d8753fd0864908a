"""What a run waits for: other runs, whose values it takes or whose ends it awaits."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Needs:
    """The runs that a run waits for before it starts.

    Attributes:
        arguments: By parameter name the runs whose values it takes, in their order.
        wait_for: Those that it only waits for.
        may_fail: Those of all that need not complete: the exception is the value then.
    """

    arguments: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    wait_for: tuple[str, ...] = ()
    may_fail: frozenset[str] = frozenset()

    @property
    def taken(self) -> tuple[str, ...]:
        """The runs whose values are taken, each once."""
        return tuple(dict.fromkeys(one for ids in self.arguments.values() for one in ids))

    @property
    def run_ids(self) -> tuple[str, ...]:
        """All of them, each once, in the order in which they were given."""
        return tuple(dict.fromkeys((*self.taken, *self.wait_for)))

    def __bool__(self) -> bool:
        return bool(self.arguments or self.wait_for)
