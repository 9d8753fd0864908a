"""Replay and drop dead letters: those of a task and an error, or single ones."""

from asyncio import to_thread

from jtask_console.actions.action import Choice, Given, ManyAction
from jtask_console.live.hub import DEAD_LETTERS
from jtask_dead_letters.bulk import DROP, REPLAY
from jtask_dead_letters.operations import list_letters


async def _chosen(given: Given) -> Choice:
    if given.runs:
        return Choice(given.runs)
    letters = await to_thread(list_letters, task=given["task"] or None)
    # Exactly the group that was shown: another type's name may end in the same way.
    run_ids = [letter.run_id for letter in letters if letter.error == given["error"]]
    return Choice(run_ids, f"task={given['task']} error={given['error']}")


ACTIONS = (
    ManyAction(REPLAY, "/dead-letters/replay", _chosen, (DEAD_LETTERS,)),
    ManyAction(DROP, "/dead-letters/drop", _chosen, (DEAD_LETTERS,)),
)
