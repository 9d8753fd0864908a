"""The first events of runs that were stored together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import overload

from jtask.contract.events import Event


@dataclass(slots=True, eq=False)
class EventGroup(Sequence[Event]):
    """The first events of runs of one call, which differ in few fields only; by column.

    An `Event` of it is made each time that somebody looks at one, see `MessageGroup`.

    Attributes:
        common: One of them; what it says of the fields below does not count.
        run_ids: Of each, made by `jtask.ids`.
        arguments: Of each.
        trace_ids: Of each.
    """

    common: Event
    run_ids: Sequence[str]
    arguments: Sequence[str]
    trace_ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.run_ids)

    @overload
    def __getitem__(self, place: int) -> Event: ...

    @overload
    def __getitem__(self, place: slice) -> list[Event]: ...

    def __getitem__(self, place: int | slice) -> Event | list[Event]:
        if isinstance(place, slice):
            return [self[at] for at in range(*place.indices(len(self)))]
        return self._event(self.run_ids[place], self.arguments[place], self.trace_ids[place])

    def __iter__(self) -> Iterator[Event]:
        columns = (self.run_ids, self.arguments, self.trace_ids)
        return starmap(self._event, zip(*columns, strict=True))

    def _event(self, run_id: str, arguments: str, trace_id: str) -> Event:
        return self.common._replace(run_id=run_id, arguments=arguments, trace_id=trace_id)
