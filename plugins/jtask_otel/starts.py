"""What is true of an attempt when it starts: decisions only."""

from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind

from jtask.runtime import RunContext
from jtask_otel import names
from jtask_otel.propagation import (
    extract,
    link_to,
    read,
    span_context,
    without_span,
)
from jtask_otel.telemetry import Attributes, Telemetry


def span_name(run: RunContext, operation: str) -> str:
    """Return what the span of a run is called: as the conventions say, or as its task is."""
    return run.task_name if run.queue is None else f"{operation} {run.queue}"


def span_kind(run: RunContext, kind: SpanKind) -> SpanKind:
    """Return the kind of a span: that of a direct call concerns nobody else."""
    return SpanKind.INTERNAL if run.queue is None else kind


def due(run: RunContext) -> float | None:
    """Return the instant at which an attempt was to start; None for as soon as possible."""
    if run.scheduled_for is not None and run.attempt == 1:
        return run.scheduled_for
    try:
        return float(run.headers[names.DUE_HEADER])
    except (KeyError, ValueError):
        return None


def queue_time(run: RunContext, now: float) -> float:
    """Return for how many seconds an attempt could have started and did not."""
    return max(0.0, now - (due(run) or run.created_at))


def place(run: RunContext, telemetry: Telemetry, now: float) -> tuple[Context | None, list[Link]]:
    """Return where the span of an attempt belongs, and what it is linked to.

    Args:
        run: The run.
        telemetry: Has the settings.
        now: The present instant.

    Returns:
        tuple[Context | None, list[Link]]: Its parent's context, with the baggage; None is the
            present one, for a direct call. Links to the span that published the run, and to the
            attempt before.
    """
    before = read(run.headers.get(names.ATTEMPT_HEADER))
    if run.queue is None:
        return None, link_to(before)
    context = extract(run.headers)
    links = link_to(span_context(context)) + link_to(before)
    if begins_trace(run, telemetry, now):
        context = without_span(context)
    return context, links


def begins_trace(run: RunContext, telemetry: Telemetry, now: float) -> bool:
    """Tell whether an attempt has a trace of its own, and only a link to what published it."""
    settings = telemetry.settings
    if not settings.otel_parent or run.scheduled_for is not None:
        return True
    # A trace of hours is hard to read, and most systems have closed it by then.
    return now - run.created_at > settings.otel_new_trace_after


def about_run(run: RunContext, telemetry: Telemetry) -> Attributes:
    """Return the attributes of whatever concerns a run in a worker or in a direct call."""
    about: Attributes = {
        names.TASK: run.task_name,
        names.RUN: run.run_id,
        names.ATTEMPT: run.attempt,
        names.WORKER: run.worker,
    }
    if run.queue is not None:
        about |= telemetry.broker
        about[names.DESTINATION] = run.queue
        about[names.MESSAGE_ID] = run.run_id
    if run.own_name is not None:
        about[names.RUN_NAME] = run.own_name
    if run.parent_id is not None:
        about[names.PARENT_RUN] = run.parent_id
    if run.lost_workers:
        about[names.TAKEOVER] = True
        about[names.LOST_WORKERS] = run.lost_workers
    if run.waited_for:
        about[names.WAITED_FOR] = run.waited_for
    return about


def about_start(run: RunContext, now: float) -> Attributes:
    """Return the attributes that say when an attempt started, seconds."""
    if run.queue is None:
        return {}
    about: Attributes = {names.QUEUE_TIME: round(queue_time(run, now), 6)}
    wanted = due(run)
    if wanted is not None:
        about[names.LATENESS] = round(max(0.0, now - wanted), 6)
    return about


def about_task(run: RunContext) -> Attributes:
    """Return the attributes of jtask's own measurements: few values each."""
    about: Attributes = {names.TASK: run.task_name}
    if run.queue is not None:
        about[names.QUEUE] = run.queue
    return about


def about_message(run: RunContext, telemetry: Telemetry) -> Attributes:
    """Return the attributes of the conventions' measurements in a worker."""
    return {
        **telemetry.broker,
        names.OPERATION: names.PROCESS,
        names.DESTINATION: run.queue or "",
    }
