"""The flow that a run is part of, here or in the process that started it."""

from pydantic_core import from_json

from jtask.runtime.flow_facts import FlowRun
from jtask.runtime.run_context import RunContext
from jtask.wire.fields import json_line

FLOW_HEADER = "jtask-flow"
"""Tells a run of the background the flow run that it was started in."""


def flow_run_of(run: RunContext | None) -> FlowRun | None:
    """Return the flow run that a run is, or else is part of.

    Args:
        run: The run; None is part of none.
    """
    if run is None or not run.task.is_flow:
        return flow_run_around(run)
    return _of(run)


def flow_run_around(run: RunContext | None) -> FlowRun | None:
    """Return the flow run that a run is part of; the innermost of several.

    Args:
        run: The run; None is part of none.
    """
    outermost = run
    while outermost is not None and (caller := outermost.caller) is not None:
        if caller.task.is_flow:
            return _of(caller)
        outermost = caller
    if outermost is None:
        return None
    return outermost.submitted_in or _told(outermost)


def headers_from(run: RunContext | None) -> dict[str, str]:
    """Return what the runs that a run starts in the background are to be told of its flow."""
    return _telling(flow_run_of(run))


def flow_headers(run: RunContext) -> dict[str, str]:
    """Return what a copy of a run in another process is to be told of the flow around it."""
    return _telling(flow_run_around(run))


def _telling(flow_run: FlowRun | None) -> dict[str, str]:
    if flow_run is None:
        return {}
    told = {"id": flow_run.id, "name": flow_run.name, "flow": flow_run.flow_name}
    return {FLOW_HEADER: json_line(told).decode()}


def _of(run: RunContext) -> FlowRun:
    return FlowRun(run.run_id, run.name, run.task.name, run.parameters, run.tags, run.attempt)


def _told(run: RunContext) -> FlowRun | None:
    text = run.headers.get(FLOW_HEADER)
    if text is None:
        return None
    try:
        told = from_json(text)
        return FlowRun(str(told["id"]), str(told["name"]), str(told["flow"]))
    except (ValueError, TypeError, KeyError):
        return None  # anybody may send a message: what says nothing readable says nothing
