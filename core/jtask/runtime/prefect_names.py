"""`runtime.task_run` and `runtime.flow_run`: the run of a context under Prefect's names."""

from typing import Any

from jtask.runtime.current import current_run
from jtask.runtime.flow_runs import flow_run_of


class CurrentTaskRun:
    """The run that is being executed in the context where this is read; empty outside of one."""

    __slots__ = ()

    @property
    def id(self) -> str | None:
        """The run; None outside of one."""
        run = current_run()
        return None if run is None else run.run_id

    @property
    def name(self) -> str | None:
        """Its own name, see `task_run_name`; without one that of its task; None outside."""
        run = current_run()
        return None if run is None else run.name

    @property
    def task_name(self) -> str | None:
        """The name of its task; None outside of a run."""
        run = current_run()
        return None if run is None else run.task_name

    @property
    def tags(self) -> list[str]:
        """Those of the task and of the caller."""
        run = current_run()
        return [] if run is None else list(run.tags)

    @property
    def parameters(self) -> dict[str, Any]:
        """The arguments by parameter name, defaults included."""
        run = current_run()
        return {} if run is None else run.parameters

    @property
    def run_count(self) -> int:
        """Which attempt this is, from 1; 0 outside of a run."""
        run = current_run()
        return 0 if run is None else run.attempt

    @property
    def cancelled(self) -> str | None:
        """Why the run was asked to end; None while it was not."""
        run = current_run()
        return None if run is None else run.cancelled

    def __repr__(self) -> str:
        return f"<task run {self.id} {self.name!r}>" if self.id else "<no task run>"


class CurrentFlowRun:
    """The flow run that the run of a context is, or is part of; empty outside of flows.

    In another process than the flow's own, only the id and the names are known.
    """

    __slots__ = ()

    @property
    def id(self) -> str | None:
        """The flow's run; None outside of one."""
        run = flow_run_of(current_run())
        return None if run is None else run.id

    @property
    def name(self) -> str | None:
        """The name of that run; None outside of one."""
        run = flow_run_of(current_run())
        return None if run is None else run.name

    @property
    def flow_name(self) -> str | None:
        """The name of the flow; None outside of one."""
        run = flow_run_of(current_run())
        return None if run is None else run.flow_name

    @property
    def tags(self) -> list[str]:
        """Those of the flow's run."""
        run = flow_run_of(current_run())
        return [] if run is None else list(run.tags or ())

    @property
    def parameters(self) -> dict[str, Any]:
        """The flow's arguments by parameter name, defaults included."""
        run = flow_run_of(current_run())
        return {} if run is None else dict(run.parameters or {})

    @property
    def run_count(self) -> int:
        """Which attempt of the flow this is, from 1; 0 where that is not known."""
        run = flow_run_of(current_run())
        return 0 if run is None else run.run_count or 0

    def __repr__(self) -> str:
        return f"<flow run {self.id} {self.name!r}>" if self.id else "<no flow run>"


task_run = CurrentTaskRun()
flow_run = CurrentFlowRun()
