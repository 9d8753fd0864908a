"""Messages that are sent together and are alike."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from jtask.contract.runs import DEFAULT_PRIORITY, Message


@dataclass(slots=True, eq=False)
class MessageGroup(Sequence[Message]):
    """Up to ATOMIC_LIMIT messages of one call, which differ in id and body only.

    A `Message` of it is made each time that somebody looks at one: whoever takes the columns as
    they are is spared the steps for each.

    Attributes:
        run_ids: See `Message`, as the others: ids that `jtask.ids` has made.
        bodies: In the same order.
        queue: Of all.
        priority: Of all.
        at: Of all.
        expires: Of all.
    """

    run_ids: list[str]
    bodies: list[bytes]
    queue: str
    priority: int = DEFAULT_PRIORITY
    at: float | None = None
    expires: float | None = None

    def __len__(self) -> int:
        return len(self.run_ids)

    @overload
    def __getitem__(self, place: int) -> Message: ...

    @overload
    def __getitem__(self, place: slice) -> list[Message]: ...

    def __getitem__(self, place: int | slice) -> Message | list[Message]:
        if isinstance(place, slice):
            run_ids, bodies = self.run_ids[place], self.bodies[place]
            return [self._message(*one) for one in zip(run_ids, bodies, strict=True)]
        return self._message(self.run_ids[place], self.bodies[place])

    def __iter__(self) -> Iterator[Message]:
        return map(self._message, self.run_ids, self.bodies)

    def _message(self, run_id: str, body: bytes) -> Message:
        return Message(run_id, self.queue, body, self.priority, self.at, self.expires)
