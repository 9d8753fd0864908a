"""Messages that are sent together and are alike, each of which is answered by itself."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, repeat

from jtask.errors import BrokerError
from jtask_nats.client.pending import PendingPublish
from jtask_nats.client.protocol import CRLF, HEADER_OVERHEAD, publish_command

_PLACE = b"-%d"
_PLACES = [_PLACE % place for place in range(256)]
_HPUB, _CRLF = repeat(b"HPUB "), repeat(CRLF)

OnOutcomes = Callable[[Sequence[int], BrokerError | None], None]
"""Called with the places of some messages and their common end: None when they are stored."""


class PublishGroup:
    """What is kept of a group while all goes as usual: no entry for each of its messages.

    One of which anything is known but that it is stored is taken out.

    Args:
        subjects: Where they go; as many as there are messages.
        headers: Header lines, the same for all, each with its end.
        bodies: The bodies.
        deadline: When their time is up, on the monotonic clock.
        resolve: Called on the loop, with each place once.
    """

    __slots__ = ("_bodies", "_headers", "_resolve", "_subjects", "_waiting", "deadline")

    def __init__(
        self,
        subjects: Sequence[str],
        headers: bytes,
        bodies: Sequence[bytes],
        deadline: float,
        resolve: OnOutcomes,
    ) -> None:
        self._subjects = subjects
        self._headers = headers
        self._bodies = bodies
        self._resolve = resolve
        self._waiting = set(range(len(subjects)))
        self.deadline = deadline

    def __len__(self) -> int:
        """Count the messages that are not answered and not taken out."""
        return len(self._waiting)

    def command(self, address: str) -> bytes:
        """Return what is to be written.

        Args:
            address: Where the answers are expected; `-` and the message's place are added.
        """
        return b"".join(chain.from_iterable(self._parts(address)))

    def _parts(self, address: str) -> Iterator[Sequence[bytes]]:
        # As `publish_command` writes each, in a few steps for all.
        subjects = map(str.encode, self._subjects)
        sizes = map(_sizes, repeat(self._headers), map(len, self._bodies))
        answers = repeat(b" " + address.encode())
        count = len(self._subjects)
        places = _PLACES if count <= len(_PLACES) else map(_PLACE.__mod__, range(count))
        parts = (_HPUB, subjects, answers, places, sizes, self._bodies, _CRLF)
        return zip(*parts, strict=False)

    def stored(self, places: Sequence[int]) -> list[int]:
        """Take note that a stream has some of the messages.

        Args:
            places: Theirs.

        Returns:
            list[int]: Those of messages that were answered before, or taken out.
        """
        waiting = self._waiting
        fresh: list[int] = []
        others: list[int] = []
        for place in places:
            if place in waiting:
                waiting.remove(place)
                fresh.append(place)
            else:
                others.append(place)
        if fresh:
            self._resolve(fresh, None)
        return others

    def take_out(self, place: int, address: str) -> PendingPublish | None:
        """Return one of the messages as it is kept alone, and answer for it no more.

        Args:
            place: Its place.
            address: See `command`.

        Returns:
            PendingPublish | None: None when it is answered, or was taken out before.
        """
        if place not in self._waiting:
            return None
        self._waiting.discard(place)
        subject, headers, body = self._subjects[place], self._headers, self._bodies[place]
        command = publish_command(subject, f"{address}-{place}", headers, body)
        size = len(body) + len(headers) + HEADER_OVERHEAD

        def resolve(outcome: bytes | BrokerError) -> None:
            self._resolve((place,), outcome if isinstance(outcome, BrokerError) else None)

        return PendingPublish((subject,), command, size, self.deadline, resolve)

    def places(self) -> list[int]:
        """Return the places of the messages that are not answered and not taken out."""
        return sorted(self._waiting)


@lru_cache(maxsize=1024)
def _sizes(headers: bytes, body: int) -> bytes:
    # Nearly always of a few kinds only.
    block = len(headers) + HEADER_OVERHEAD
    return b" %d %d\r\nNATS/1.0\r\n%b\r\n" % (block, block + body, headers)
