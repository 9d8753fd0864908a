"""Which deliveries may be second ones although the server says that they are new.

A server that is killed forgets what it had delivered, and what was acknowledged, in its last
moment. Each consumer begins again where it remembers to have been, so what is in doubt comes first,
and is older than the loss.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from jtask_nats.queues.deliveries import InFlight, NatsDelivery
from jtask_nats.streams.server_clock import ServerClock
from jtask_nats.streams.stream_configs import Config
from jtask_nats.streams.subjects import parse_ack_subject

# What a consumer delivers first is doubted for this many seconds, and at least so many of it: by
# then more was delivered than is forgotten. Not all that is older, which may be a million runs.
_SECONDS = 3.0
_AT_LEAST = 256


@dataclass(slots=True)
class _Doubt:
    before: float
    left: int
    until: float | None = None


class Doubts:
    """Doubt the first deliveries of some consumers; the others pay nothing for it.

    Args:
        clock: The server's.
        now: Tells the time in seconds, from whenever.

    Attributes:
        consumers: Whose deliveries are doubted.
    """

    def __init__(self, clock: ServerClock, now: Callable[[], float]) -> None:
        self._clock = clock
        self._now = now
        self.consumers: dict[InFlight, _Doubt] = {}

    def begin(self, consumers: Iterable[InFlight], before: float) -> None:
        """Doubt what some consumers deliver next.

        Args:
            consumers: Whose deliveries.
            before: Only what was stored before, seconds since the epoch by our clock.
        """
        for consumer in consumers:
            self.consumers[consumer] = _Doubt(before, _AT_LEAST)

    def about(self, delivery: NatsDelivery) -> bool:
        """Tell whether a run may have been delivered before although the server says it is new."""
        doubt = self.consumers.get(delivery.in_flight)
        if doubt is None or delivery.is_counted:
            return False
        stored_at = self._clock.to_ours(parse_ack_subject(delivery.reply).stored_at)
        doubt.left -= 1
        if doubt.until is None:
            doubt.until = self._now() + _SECONDS
        # New ones come in the order in which they were stored: nothing older follows.
        is_over = stored_at >= doubt.before or (doubt.left < 0 and self._now() > doubt.until)
        if is_over:
            del self.consumers[delivery.in_flight]
        return not is_over


def may_have_forgotten(consumer: Config) -> bool:
    """Tell whether the server was started anew since a consumer was last used.

    Args:
        consumer: The server's info. It says when something was last delivered and acknowledged
            only if that was since the server's start.
    """
    sides = consumer["delivered"], consumer["ack_floor"]
    has_delivered = sides[0]["consumer_seq"] > 0
    return has_delivered and not any("last_active" in side for side in sides)
