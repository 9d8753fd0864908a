"""Follow a run to its end: a line for each state and each change of its progress."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from jtask.cli.output import say, say_json
from jtask.cli.tables import local_time

if TYPE_CHECKING:
    from jtask.states import State
    from jtask.wire.progress import Progress

_LOOK_SECONDS = 0.5  # between two looks at a run that is not over


def follow(run_id: str, *, as_json: bool) -> None:
    """Print where a run stands, and how far it is, whenever that changes; return at its end.

    Args:
        run_id: The run.
        as_json: Whether to print a JSON object for each line.

    Raises:
        RunNotFound: There is no such run.
    """
    from jtask.client.process_client import get_run

    run = get_run(run_id)
    told: list[object] = [None, None]
    while True:
        # The end wakes this at once; what comes before is looked at now and then.
        is_over = run.wait(_LOOK_SECONDS if told[0] is not None else 0)
        state, progress = run.state, run.progress()
        if (now := (state.name, state.message)) != told[0]:
            told[0] = now
            _print_state(state, as_json=as_json)
        if progress is not None and progress != told[1]:
            told[1] = progress
            _print_progress(progress, as_json=as_json)
        if is_over:
            return


def _print_state(state: "State", *, as_json: bool) -> None:
    if as_json:
        say_json({"state": state.label, "at": state.at, "message": state.message})
    else:
        say(f"{local_time(state.at)}  {state.label:<14}{state.message}".rstrip())


def _print_progress(progress: "Progress", *, as_json: bool) -> None:
    if as_json:
        say_json({"progress": asdict(progress)})
    else:
        part = "" if progress.fraction is None else f"{progress.fraction:4.0%}  "
        say(f"{local_time(progress.at)}  {part}{progress}")
