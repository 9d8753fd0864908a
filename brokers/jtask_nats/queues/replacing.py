"""Replace the message of a run that waits for its time: one schedule in the place of another."""

import asyncio

from jtask.contract import Message
from jtask.randomness import RANDOM
from jtask_nats.client.direct_reads import latest_message
from jtask_nats.client.nats_errors import WRONG_LAST_SEQUENCE, ApiError
from jtask_nats.queues.messages import is_new, replacing_message
from jtask_nats.streams.session import Session

_PAUSE_SECONDS = 0.02  # at most, until somebody who lost a race tries again


async def replace_delayed(session: Session, message: Message) -> bool:
    """Replace a schedule that has not fired; False when there is none, or a worker had the run.

    Args:
        session: To the server.
        message: The run as it is from now on.

    Raises:
        BrokerError: The server refuses, or does not answer.
    """
    await session.topology.ensure_runs(message.queue)
    stream = session.topology.run_streams.of(message.queue)
    subject = session.subjects.schedule(message.queue, message.priority, message.run_id)
    while True:
        stored = await latest_message(session.connection, stream, subject)
        if stored is None or not is_new(message.run_id, stored.headers):
            return False
        if await _replace(session, message, stored.sequence):
            return True
        # Another one has replaced it, or it has just fired.
        await asyncio.sleep(RANDOM.uniform(0.0, _PAUSE_SECONDS))


async def _replace(session: Session, message: Message, sequence: int) -> bool:
    ready = replacing_message(session.subjects, message, sequence, session.topology.clock)
    try:
        await session.publisher.publish(ready.subject, ready.body, ready.headers)
    except ApiError as error:
        if error.err_code != WRONG_LAST_SEQUENCE:
            raise
        return False
    return True
