"""What is known of the run of a flow."""

from typing import Any, NamedTuple


class FlowRun(NamedTuple):
    """The run of a flow.

    Attributes:
        id: The run.
        name: Its own name, see `task_run_name`; without one that of the flow.
        flow_name: The flow's name.
        parameters: Its arguments by parameter name, defaults included; None in another process
            than its own.
        tags: Its tags; likewise.
        run_count: Which attempt of it this is, from 1; likewise.
    """

    id: str
    name: str
    flow_name: str
    parameters: dict[str, Any] | None = None
    tags: tuple[str, ...] | None = None
    run_count: int | None = None
