"""What runs log, sent on as OpenTelemetry's logs: with the span that was current, and the run."""

import logging
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from opentelemetry import _logs

from jtask.execution.run_records import on_line
from jtask.runtime import RunContext
from jtask_otel import names
from jtask_otel.api_defaults import is_real
from jtask_otel.ends import ends

# The least level of `logging` and the number of each, from OpenTelemetry's data model for logs.
_SEVERITIES = (
    (logging.CRITICAL, _logs.SeverityNumber.FATAL),
    (logging.ERROR, _logs.SeverityNumber.ERROR),
    (logging.WARNING, _logs.SeverityNumber.WARN),
    (logging.INFO, _logs.SeverityNumber.INFO),
    (logging.DEBUG, _logs.SeverityNumber.DEBUG),
)


def send_logs(exporters: Sequence[Callable[[], Any]], resource: Any) -> None:
    """Send each line that a run logs to some exporters, or to the provider that the program has.

    Args:
        exporters: Their classes.
        resource: What the lines are of.
    """
    if not is_real(_logs.get_logger_provider()):
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

        provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
        for exporter in exporters:
            provider.add_log_record_processor(BatchLogRecordProcessor(exporter()))
        _logs.set_logger_provider(provider)
        ends.own("logs", provider)
    logger = _logs.get_logger(names.SCOPE, version("jtask"), schema_url=names.SCHEMA_URL)

    def send(run: RunContext, level: int, by: str, text: Callable[[], str], at: float) -> None:
        logger.emit(
            _logs.LogRecord(
                timestamp=int(at * 1e9),
                observed_timestamp=time.time_ns(),
                severity_number=severity_of(level),
                severity_text=logging.getLevelName(level),
                body=text(),
                attributes={
                    names.RUN: run.run_id,
                    names.TASK: run.task_name,
                    names.ATTEMPT: run.attempt,
                    names.LOGGER: by,
                },
            )
        )

    on_line(send)


def severity_of(level: int) -> _logs.SeverityNumber:
    """Return a level of `logging` as OpenTelemetry counts them."""
    for least, severity in _SEVERITIES:
        if level >= least:
            return severity
    return _logs.SeverityNumber.TRACE
