"""Cancel runs and run them again: one, those that are selected, or all that a filter takes."""

from jtask.errors import FilterError
from jtask.run_filters import RunFilter
from jtask_console.actions.action import Choice, Given, ManyAction
from jtask_console.live.hub import RUNS
from jtask_index.rerunning import checked
from jtask_index.run_actions import CANCEL, RERUN


async def _chosen(given: Given) -> Choice:
    if given["all"]:
        return Choice(RunFilter.from_query(given["filter"]))
    if not given.runs:
        raise FilterError("no run is meant: select some")
    return Choice(given.runs)


async def _to_rerun(given: Given) -> Choice:
    choice = await _chosen(given)
    if not given["arguments"]:
        return choice
    if len(given.runs) != 1:
        raise FilterError("other arguments are for a single run: select one")
    return Choice(given.runs, arguments=checked(given["arguments"]))


ACTIONS = (
    ManyAction(CANCEL, "/runs/cancel", _chosen, (RUNS,)),
    ManyAction(RERUN, "/runs/rerun", _to_rerun, (RUNS,)),
)
