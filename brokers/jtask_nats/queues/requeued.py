"""Tell whether a run that is delivered again has been queued again already.

A run is rescheduled in two steps: its next message is stored, then the one that the worker holds is
acked. A worker that dies in between leaves both. The next message must not remove the other by a
rollup: when the server removes messages that workers hold, it also forgets that they hold others,
which are then never delivered again once their worker has died (seen with nats-server 2.15.1).
"""

import logging

from jtask.errors import BrokerError
from jtask_nats.client.direct_reads import latest_message
from jtask_nats.queues.deliveries import NatsDelivery
from jtask_nats.streams.session import Session

_log = logging.getLogger("jtask.worker")


async def is_requeued(session: Session, delivery: NatsDelivery) -> bool:
    """Return whether a later message of the run is stored; False when that cannot be read."""
    stream = session.topology.run_streams.of(delivery.queue)
    subject = session.subjects.runs(delivery.queue, delivery.run_id)
    try:
        latest = await latest_message(session.connection, stream, subject)
        return latest is not None and latest.sequence > int(delivery.seq)
    except BrokerError as error:
        _log.debug("run %s may be stored twice: %s", delivery.run_id, error)
        return False
