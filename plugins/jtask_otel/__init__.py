"""The plugin that traces and counts runs with OpenTelemetry.

It has nothing to do with the runs of a process in which neither OpenTelemetry's SDK is imported nor
the environment asks for it: such a process imports nothing of it here.
"""

import os
import sys
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from jtask.hooks import hookimpl

if TYPE_CHECKING:
    import click

    from jtask.lifecycle import AttemptEnd
    from jtask.outcomes import Outcome
    from jtask.runtime import EnqueueRequest, RunContext, WorkerInfo
    from jtask.settings import SettingsModel
    from jtask_otel.telemetry import Telemetry

__all__ = ["setup"]


def setup() -> None:
    """Set up OpenTelemetry's SDK in this process, as the `OTEL_*` variables say.

    Call it before the first use of a task. Where the program has set a provider, that one is used.
    Once is enough; `jtask serve --otel` does it, and so does a variable that names an exporter.

    Raises:
        ConfigurationError: An exporter is not installed.
    """
    from jtask_otel.providers import set_up_as_told

    set_up_as_told()


def _nobody() -> "Telemetry | None":
    return None


_current = _nobody
"""What to record with, once OpenTelemetry is imported here; every hook of every run asks it."""


def _may_record() -> bool:
    """Tell whether this process may have a provider, and set one up where that is asked for."""
    from jtask_otel.environment import is_disabled

    if is_disabled(os.environ):
        return False
    from jtask.settings import settings_of
    from jtask_otel.providers import set_up
    from jtask_otel.settings import OtelSettings

    if settings_of(OtelSettings).otel is False:
        return False
    # A program that will set a provider of its own has imported the SDK.
    if not set_up() and "opentelemetry.sdk" not in sys.modules:
        return False
    global _current
    from jtask_otel.telemetry import current

    _current = current
    return True


@hookimpl
def jtask_settings() -> "type[SettingsModel]":
    """Declare whether and how runs are traced."""
    from jtask_otel.settings import OtelSettings

    return OtelSettings


@hookimpl
def jtask_applies() -> bool:
    """Apply to all tasks, where anybody may record."""
    return _may_record()


@hookimpl
def jtask_enqueue(request: "EnqueueRequest") -> None:
    """Begin the span of the sender, and send the trace along."""
    if (telemetry := _current()) is not None:
        from jtask_otel.sending import on_enqueue

        on_enqueue(telemetry, request)


@hookimpl(trylast=True)
def jtask_around(run: "RunContext") -> AbstractContextManager[None] | None:
    """Make the span of the attempt the current one; outside of what other plugins do."""
    if (telemetry := _current()) is None:
        return None
    from jtask_otel.attempts import AttemptSpan

    return AttemptSpan(telemetry, run)


@hookimpl(trylast=True)
def jtask_copy(run: "RunContext") -> AbstractContextManager[None] | None:
    """Make the span of the attempt the current one in another process."""
    # Nobody has asked here whether the plugin applies.
    if not _may_record() or _current() is None:
        return None
    from jtask_otel.copies import continued

    return continued(run)


@hookimpl
def jtask_attempt_over(run: "RunContext", end: "AttemptEnd") -> None:
    """End the span of the attempt."""
    if (telemetry := _current()) is not None:
        from jtask_otel.attempts import on_attempt_over

        on_attempt_over(telemetry, run, end)


@hookimpl(trylast=True)
def jtask_settled(run: "RunContext", outcome: "Outcome") -> None:
    """Count the run; after others have said what becomes of it."""
    if (telemetry := _current()) is not None:
        from jtask_otel.attempts import on_settled

        on_settled(telemetry, run, outcome)


@hookimpl
def jtask_worker(worker: "WorkerInfo") -> AbstractAsyncContextManager[Any]:
    """Show metrics, look at the queues, and export what is left at the end."""
    if not _may_record():
        return nullcontext()
    from jtask_otel.workers import accompanied

    return accompanied(worker)


@hookimpl
def jtask_cli(cli: "click.Group") -> None:
    """Add the options to `jtask serve`."""
    from jtask_otel.serve_options import serve_options

    # A plugin may be asked by another program too, as in a test.
    serve = cli.commands.get("serve")
    if serve is not None:
        serve.params += serve_options()
