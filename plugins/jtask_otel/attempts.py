"""Spans and measurements of runs that execute, and of those that end without."""

import time
from contextlib import AbstractContextManager
from contextvars import Token
from typing import cast

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from jtask.lifecycle import AttemptEnd, describe
from jtask.outcomes import Outcome
from jtask.runtime import RunContext
from jtask.states import StateName
from jtask_otel import names
from jtask_otel.propagation import trace_id_of, write
from jtask_otel.starts import (
    about_message,
    about_run,
    about_start,
    about_task,
    due,
    place,
    queue_time,
    span_kind,
    span_name,
)
from jtask_otel.telemetry import Telemetry

NOTE = "otel"
"""Under which a run keeps the span of its attempt."""

_FAILED = (StateName.FAILED, StateName.TIMED_OUT, StateName.CRASHED)


class AttemptSpan(AbstractContextManager[None]):
    """The span of one attempt: the current one while the function executes, until `end`.

    Args:
        telemetry: What it is recorded with.
        run: The run.
    """

    __slots__ = ("_begun", "_is_over", "_message", "_run", "_span", "_task", "_telemetry", "_token")

    def __init__(self, telemetry: Telemetry, run: RunContext) -> None:
        self._telemetry = telemetry
        self._run = run
        self._task = about_task(run)
        self._message = about_message(run, telemetry)
        self._begun = 0.0
        self._is_over = False
        self._span: Span = trace.INVALID_SPAN
        self._token: Token[Context] | None = None

    def __enter__(self) -> None:
        run, telemetry = self._run, self._telemetry
        now = time.time()
        parent, links = place(run, telemetry, now)
        about = about_run(run, telemetry) | about_start(run, now)
        if run.queue is not None:
            about[names.OPERATION] = about[names.OPERATION_TYPE] = names.PROCESS
        self._span = telemetry.tracer.start_span(
            span_name(run, names.PROCESS),
            context=parent,
            kind=span_kind(run, SpanKind.CONSUMER),
            attributes=about,
            links=links,
        )
        _tell_what_was_before(self._span, run)
        span_context = self._span.get_span_context()
        if span_context.is_valid:
            run.hand_on(names.ATTEMPT_HEADER, write(span_context))
        run.trace_id = trace_id_of(self._span)
        run.notes[NOTE] = self
        self._measure_start(now)
        self._begun = time.perf_counter()
        self._token = contexts.attach(trace.set_span_in_context(self._span, parent))

    def __exit__(self, *_raised: object) -> None:
        if self._token is not None:
            contexts.detach(self._token)

    def end(self, how: AttemptEnd) -> None:
        """End the span; from any thread.

        Args:
            how: How the attempt was over.
        """
        if self._is_over:
            return
        self._is_over = True
        run, span = self._run, self._span
        state = None if run.state is None else run.state.name
        failure = None
        if how is not AttemptEnd.HANDED_BACK and _has_failed(how, state):
            failure = run.error
        if span.is_recording():
            _tell_end(span, run, how, state, failure)
        span.end()
        self._measure_end(how, None if failure is None else type(failure).__name__)
        if how is AttemptEnd.RETRIED and run.state is not None:
            until = cast("float", run.state.details.get("until", run.state.at))
            run.hand_on(names.DUE_HEADER, f"{until:.3f}")

    def _measure_start(self, now: float) -> None:
        run, task, instruments = self._run, self._task, self._telemetry.instruments
        instruments.running.add(1, task)
        if run.queue is None:
            return
        instruments.consumed.add(1, self._message)
        instruments.queue_time.record(queue_time(run, now), task)
        wanted = due(run)
        if run.scheduled_for is not None and wanted is not None:
            instruments.lateness.record(max(0.0, now - wanted), task)

    def _measure_end(self, how: AttemptEnd, error: str | None) -> None:
        run, task, instruments = self._run, self._task, self._telemetry.instruments
        instruments.running.add(-1, task)
        if how is AttemptEnd.RETRIED:
            instruments.retries.add(1, task)
        if run.queue is None:
            return
        about = self._message if error is None else {**self._message, names.ERROR_TYPE: error}
        instruments.process_duration.record(time.perf_counter() - self._begun, about)


def on_attempt_over(telemetry: Telemetry, run: RunContext, end: AttemptEnd) -> None:
    """End the span of an attempt, or count one whose worker was lost with it."""
    if end is AttemptEnd.LOST:
        telemetry.instruments.crashes.add(1, about_task(run))
        return
    attempt = run.notes.get(NOTE)
    if isinstance(attempt, AttemptSpan):
        attempt.end(end)


def on_settled(telemetry: Telemetry, run: RunContext, outcome: Outcome) -> None:
    """Record the end of a run; one that was not executed gets a span that says so."""
    if NOTE not in run.notes:
        if run.attempt_started_at is not None:
            return  # its attempt began before anybody recorded
        _settle(telemetry, run, outcome)
    task = about_task(run)
    telemetry.instruments.run_duration.record(
        run.run_time, {**task, names.STATE: outcome.state.name.value}
    )
    if outcome.dead_letter is not None:
        telemetry.instruments.dead_letters.add(1, task)


def _settle(telemetry: Telemetry, run: RunContext, outcome: Outcome) -> None:
    """Make the span of a run that ends without an attempt, such as a known or an expired one."""
    now = time.time()
    parent, links = place(run, telemetry, now)
    about = about_run(run, telemetry) | {names.STATE: outcome.state.name.value}
    if run.queue is not None:
        about[names.OPERATION] = about[names.OPERATION_TYPE] = names.SETTLE
        telemetry.instruments.consumed.add(1, about_message(run, telemetry))
    span = telemetry.tracer.start_span(
        span_name(run, names.SETTLE),
        context=parent,
        kind=span_kind(run, SpanKind.CLIENT),
        attributes=about,
        links=links,
    )
    state = outcome.state
    _tell_what_was_before(span, run)
    if state.name is StateName.CANCELLED:
        span.add_event(names.CANCELLED, {names.REASON: state.message})
    if state.name in _FAILED:
        kind = state.name.value if outcome.error is None else type(outcome.error).__name__
        span.set_attribute(names.ERROR_TYPE, kind)
        span.set_status(Status(StatusCode.ERROR, state.message))
    span.end()


def _tell_what_was_before(span: Span, run: RunContext) -> None:
    if run.lost_workers:
        span.add_event(names.WORKER_LOST, {names.LOST_WORKERS: run.lost_workers})
    if run.waited_for:
        span.add_event(names.WAITED, {names.REASON: run.waited_for})


def _has_failed(how: AttemptEnd, state: StateName | None) -> bool:
    return how is AttemptEnd.RETRIED or state in _FAILED


def _tell_end(
    span: Span,
    run: RunContext,
    how: AttemptEnd,
    state: StateName | None,
    failure: BaseException | None,
) -> None:
    message = "" if run.state is None else run.state.message
    if state is not None:
        span.set_attribute(names.STATE, state.value)
    if failure is not None:
        span.set_attribute(names.ERROR_TYPE, type(failure).__name__)
        span.record_exception(failure)
        span.set_status(Status(StatusCode.ERROR, describe(failure)))
    if how is AttemptEnd.RETRIED and run.state is not None:
        until = cast("float", run.state.details.get("until", run.state.at))
        span.add_event(names.RETRY, {names.REASON: message, names.AT: until})
    elif how is AttemptEnd.HANDED_BACK:
        span.add_event(names.HANDED_BACK, {names.REASON: message})
    elif state is StateName.CANCELLED:
        span.add_event(names.CANCELLED, {names.REASON: message})
