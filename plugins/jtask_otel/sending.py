"""Spans and measurements of whoever enqueues runs."""

import time
from collections.abc import Sequence

from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from jtask.lifecycle import describe
from jtask.runtime import EnqueueRequest
from jtask_otel import names
from jtask_otel.propagation import inject, trace_id_of
from jtask_otel.telemetry import Attributes, Telemetry

_SHARED = "otel"


def on_enqueue(telemetry: Telemetry, request: EnqueueRequest) -> None:
    """Begin the span of a run that is about to be sent, and send its context along.

    Args:
        telemetry: What to record with.
        request: The run. Its caller tells when it is stored, and the span ends.
    """
    if request.at is not None:
        request.headers[names.DUE_HEADER] = f"{request.at:.3f}"
    if request.count == 1:
        _publish_one(telemetry, request)
        return
    sending = request.shared.get(_SHARED)
    if sending is None:
        sending = request.shared[_SHARED] = _begin_batch(telemetry, request)
    _add_to_batch(telemetry, request, sending)


def _publish_one(telemetry: Telemetry, request: EnqueueRequest) -> None:
    about = _about(telemetry, request, names.PUBLISH, names.SEND)
    about |= _about_run(request)
    span = telemetry.tracer.start_span(
        f"{names.PUBLISH} {request.queue}", kind=SpanKind.PRODUCER, attributes=about
    )
    _send_along(request, span)
    request.when_sent.append(Sending(telemetry, span, request).over)


def _begin_batch(telemetry: Telemetry, request: EnqueueRequest) -> "Sending":
    about = _about(telemetry, request, names.PUBLISH, names.SEND)
    about[names.BATCH_COUNT] = request.count
    about[names.TASK] = request.task.name
    # Whose context the runs carry is the producer; this is, where they have no span of their own.
    creates = telemetry.settings.otel_create_spans
    span = telemetry.tracer.start_span(
        f"{names.PUBLISH} {request.queue}",
        kind=SpanKind.CLIENT if creates else SpanKind.PRODUCER,
        attributes=about,
    )
    sending = Sending(telemetry, span, request)
    request.when_sent.append(sending.over)
    return sending


def _add_to_batch(telemetry: Telemetry, request: EnqueueRequest, sending: "Sending") -> None:
    if not telemetry.settings.otel_create_spans:
        _send_along(request, sending.span)
        return
    about = _about(telemetry, request, names.CREATE, names.CREATE) | _about_run(request)
    created = telemetry.tracer.start_span(
        f"{names.CREATE} {request.queue}", kind=SpanKind.PRODUCER, attributes=about
    )
    _send_along(request, created)
    created.end()
    sending.span.add_link(created.get_span_context())


class Sending:
    """One call that sends runs, until it is over.

    Args:
        telemetry: What it is recorded with.
        span: Its span, which ends with it.
        request: The run, or the first of them.

    Attributes:
        span: Its span.
    """

    __slots__ = ("_begun", "_first", "_queue", "_telemetry", "span")

    def __init__(self, telemetry: Telemetry, span: Span, request: EnqueueRequest) -> None:
        self._telemetry = telemetry
        self.span = span
        self._queue = request.queue
        # Of a single run: the only one that can have been answered with another.
        self._first = request.run_id if request.count == 1 else None
        self._begun = time.perf_counter()

    def over(self, sent: Sequence[str], error: BaseException | None) -> None:
        """End the span.

        Args:
            sent: What the caller gets.
            error: What it raised instead.
        """
        about: Attributes = {
            **self._telemetry.broker,
            names.OPERATION: names.PUBLISH,
            names.DESTINATION: self._queue,
        }
        if error is not None:
            about[names.ERROR_TYPE] = type(error).__name__
            if self.span.is_recording():
                self.span.set_attribute(names.ERROR_TYPE, type(error).__name__)
                self.span.record_exception(error)
                self.span.set_status(Status(StatusCode.ERROR, describe(error)))
        is_other = self._first is not None and bool(sent) and sent[0] != self._first
        if is_other:
            self.span.set_attribute(names.INSTEAD, sent[0])
        self.span.end()
        instruments = self._telemetry.instruments
        instruments.operation_duration.record(
            time.perf_counter() - self._begun, {**about, names.OPERATION_TYPE: names.SEND}
        )
        if sent and not is_other:
            instruments.sent.add(len(sent), about)


def _about(telemetry: Telemetry, request: EnqueueRequest, name: str, kind: str) -> Attributes:
    return {
        **telemetry.broker,
        names.OPERATION: name,
        names.OPERATION_TYPE: kind,
        names.DESTINATION: request.queue,
    }


def _about_run(request: EnqueueRequest) -> Attributes:
    about: Attributes = {
        names.MESSAGE_ID: request.run_id,
        names.RUN: request.run_id,
        names.TASK: request.task.name,
    }
    if request.at is not None:
        about[names.AT] = request.at
    return about


def _send_along(request: EnqueueRequest, span: Span) -> None:
    inject(request.headers, span)
    request.trace_id = trace_id_of(span)
