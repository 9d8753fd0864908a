"""What is known of a run, looked for wherever a run leaves a trace."""

from contextlib import suppress
from typing import TYPE_CHECKING

from jtask.cli.run_parameters import RunParameters
from jtask.cli.tables import local_time
from jtask.contract import Broker, Event
from jtask.errors import BrokerError, EnvelopeError, RunNotFound
from jtask.ids import created_at
from jtask.states import FINAL
from jtask.wire.envelope import decode_envelope

if TYPE_CHECKING:
    from jtask.client.client import Client

CLOCK_MARGIN = 60.0
"""Seconds by which the clocks of callers, workers and broker may differ."""


def check_can_end(client: "Client", run_id: str) -> None:
    """Return if a run has ended or can still end.

    Raises:
        RunNotFound: It cannot, or nothing is known of it; says what was looked at.
    """
    events = client.io.run(_events_of_a_lost_run(client.broker, run_id))
    if events is None:
        return
    if not events:
        raise RunNotFound(_unknown(run_id, client.broker.url))
    over = next((event for event in events if event.state in FINAL), None)
    if over is not None:
        raise RunNotFound(_forgotten(over))


async def events_of(broker: Broker, run_id: str) -> list[Event]:
    """Return the events of a run that are kept."""
    since = created_at(run_id) - CLOCK_MARGIN
    return [event async for event in broker.events.read_run(run_id, since=since)]


async def parameters_of(broker: Broker, run_id: str) -> RunParameters | None:
    """Return what a run is called with; None where its message is kept no more, or cannot be read.

    It is kept until the run is over, and of one that failed for good in its dead letter.
    """
    with suppress(BrokerError, EnvelopeError):  # who may see runs need not see letters
        place = await broker.queues.locate(run_id)
        if place is not None:
            return RunParameters.of(decode_envelope(place.run.body))
        letter = await broker.dead_letters.get(run_id)
        if letter is not None:
            return RunParameters.of(decode_envelope(letter.body.partition(b"\n")[2]))
    return None


async def _events_of_a_lost_run(broker: Broker, run_id: str) -> list[Event] | None:
    """Return what happened to a run that is nowhere now; None for one that is somewhere."""
    if await _is_somewhere(broker, run_id):
        return None
    events = await events_of(broker, run_id)
    # Once more: meanwhile it may have gone from one place to the other.
    return None if await _is_somewhere(broker, run_id) else events


async def _is_somewhere(broker: Broker, run_id: str) -> bool:
    if await broker.results.get(run_id) is not None:
        return True
    return await broker.queues.find(run_id) is not None


def _unknown(run_id: str, url: str) -> str:
    return (
        f"nothing is known about run {run_id} at {url}: it has no outcome and no event, and is "
        f"on no queue, waiting or delayed; check that JTASK_URL and "
        f"JTASK_NAMESPACE are the same as for the caller"
    )


def _forgotten(over: Event) -> str:
    return (
        f"run {over.run_id} has been {over.state} since {local_time(over.at)}, but its outcome "
        f"is missing: it has expired (JTASK_RESULT_TTL) or is kept elsewhere (JTASK_RESULTS_URL)"
    )
