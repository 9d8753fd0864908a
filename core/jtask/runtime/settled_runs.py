"""What is known of a run of this process once it is over."""

from typing import TYPE_CHECKING

from jtask.outcomes import Outcome, SettledRun
from jtask.runtime.run_context import RunContext
from jtask.states import State
from jtask.wire.failures import capture

if TYPE_CHECKING:
    from jtask.wire.envelope import Envelope


def settled_run(
    run: RunContext,
    outcome: Outcome,
    envelope: "Envelope | None" = None,
    *,
    state: State | None = None,
    payload: bytes = b"",
) -> SettledRun:
    """Return how a run of this process ended, and how it came to that.

    Args:
        run: The run, which still has its history.
        outcome: Its end.
        envelope: What came over the wire, whose word counts; None for a run that came from here.
        state: What to say of the end instead.
        payload: The return value as it is stored.
    """
    state = state or outcome.state
    return SettledRun(
        run_id=run.run_id,
        task_key=run.task.key if envelope is None else envelope.task_key,
        task_name=run.task.name if envelope is None else envelope.task_name,
        state=state,
        attempt=run.attempt,
        created=run.created_at,
        started=run.started_at,
        ended=state.at,
        run_time=run.run_time,
        worker=run.worker,
        serializer=run.task.serializer if envelope is None else envelope.serializer,
        payload=payload,
        failure=None if outcome.error is None else capture(outcome.error),
        history=run.history,
        tags=run.tags,
        parent=run.parent_id,
        root=run.root_id,
        version=run.version,
        run_name=run.own_name,
        needs=None if envelope is None else envelope.needs,
        has_lines=run.lines_attempt == run.attempt,
    )
