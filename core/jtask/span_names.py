"""What spans of runs and their attributes are called, whoever writes them.

`messaging.*` are those of OpenTelemetry's conventions for messaging, in the version of the schema;
`jtask.*` are jtask's own.
"""

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
SCOPE = "jtask"

PUBLISH, CREATE, PROCESS, SETTLE = "publish", "create", "process", "settle"
SEND = "send"
"""The type of the operation `publish`."""

SYSTEM = "messaging.system"
OPERATION = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION = "messaging.destination.name"
MESSAGE_ID = "messaging.message.id"
ERROR_TYPE = "error.type"

TASK = "jtask.task.name"
RUN = "jtask.run.id"
ATTEMPT = "jtask.attempt"
WORKER = "jtask.worker"
QUEUE = "jtask.queue"
STATE = "jtask.state"
"""Where the run stood when the span ended."""
