"""The names of all spans, attributes, events, headers and metrics, as dashboards know them.

`messaging.*` are those of OpenTelemetry's conventions for messaging, in the version of the schema;
`jtask.*` are jtask's own.
"""

# Those that `jtask trace` writes too; this module has all of them.
from jtask.span_names import (
    ATTEMPT as ATTEMPT,
)
from jtask.span_names import (
    CREATE as CREATE,
)
from jtask.span_names import (
    DESTINATION as DESTINATION,
)
from jtask.span_names import (
    ERROR_TYPE as ERROR_TYPE,
)
from jtask.span_names import (
    MESSAGE_ID as MESSAGE_ID,
)
from jtask.span_names import (
    OPERATION as OPERATION,
)
from jtask.span_names import (
    OPERATION_TYPE as OPERATION_TYPE,
)
from jtask.span_names import (
    PROCESS as PROCESS,
)
from jtask.span_names import (
    PUBLISH as PUBLISH,
)
from jtask.span_names import (
    QUEUE as QUEUE,
)
from jtask.span_names import (
    RUN as RUN,
)
from jtask.span_names import (
    SCHEMA_URL as SCHEMA_URL,
)
from jtask.span_names import (
    SCOPE as SCOPE,
)
from jtask.span_names import (
    SEND as SEND,
)
from jtask.span_names import (
    SETTLE as SETTLE,
)
from jtask.span_names import (
    STATE as STATE,
)
from jtask.span_names import (
    SYSTEM as SYSTEM,
)
from jtask.span_names import (
    TASK as TASK,
)
from jtask.span_names import (
    WORKER as WORKER,
)

# --- attributes -------------------------------------------------------------------------------

BATCH_COUNT = "messaging.batch.message_count"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"

RUN_NAME = "jtask.run.name"
PARENT_RUN = "jtask.parent_run.id"
INSTEAD = "jtask.instead.run.id"
"""The run that was there, and that the caller got in place of this one."""
LOGGER = "jtask.logger"
"""Who wrote a line of a run's log."""
QUEUE_TIME = "jtask.queue_time"
"""Seconds from when a run could have started to when it did."""
LATENESS = "jtask.lateness"
"""Seconds after the instant that a schedule, a delay or a retry wanted."""
AT = "jtask.at"
"""When a run is to start that was put off or is tried again, seconds since the epoch."""
TAKEOVER = "jtask.takeover"
"""Whether a worker had the run before, and was lost with it."""
LOST_WORKERS = "jtask.lost_workers"
WAITED_FOR = "jtask.waited_for"
"""Why its start was put off, such as for a limit."""

# --- events of spans --------------------------------------------------------------------------

RETRY = "jtask.retry"
CANCELLED = "jtask.cancelled"
HANDED_BACK = "jtask.handed_back"
WORKER_LOST = "jtask.worker_lost"
WAITED = "jtask.waited"
REASON = "jtask.reason"

# --- headers of runs --------------------------------------------------------------------------

ATTEMPT_HEADER = "jtask-attempt"
"""The span of an attempt, in the form of `traceparent`."""
DUE_HEADER = "jtask-due"
"""When the attempt may start, seconds since the epoch."""

# --- metrics ----------------------------------------------------------------------------------

OPERATION_DURATION = "messaging.client.operation.duration"
SENT_MESSAGES = "messaging.client.sent.messages"
CONSUMED_MESSAGES = "messaging.client.consumed.messages"
PROCESS_DURATION = "messaging.process.duration"
RUN_QUEUE_TIME = "jtask.run.queue_time"
RUN_DURATION = "jtask.run.duration"
RUNNING = "jtask.runs.running"
SCHEDULE_LATENESS = "jtask.schedule.lateness"
RETRIES = "jtask.run.retries"
CRASHES = "jtask.run.crashes"
DEAD_LETTERS = "jtask.run.dead_letters"
QUEUE_DEPTH = "jtask.queue.depth"

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Seconds, as the conventions advise."""

LONG_BUCKETS = (*BUCKETS, 30, 60, 300, 900, 3600, 4 * 3600, 12 * 3600)
"""Seconds, for what may take hours: to wait on a queue, and a whole run."""
