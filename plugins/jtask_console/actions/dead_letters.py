"""Replay and drop dead letters: those of a task and an error, or single ones."""

from asyncio import to_thread
from collections.abc import Callable, Sequence

from jtask_console.actions.action import Action, Given, Tell
from jtask_console.live.hub import DEAD_LETTERS
from jtask_dead_letters.operations import drop_letters, list_letters, replay_letters

_AT_ONCE = 50  # letters between two looks at how far it is


async def _replay(given: Given, tell: Tell) -> str:
    # However often this is begun, and wherever it is broken off, each letter is replayed once.
    problems: list[str] = []

    def replay(run_ids: Sequence[str]) -> int:
        done = replay_letters(run_ids)
        problems.extend(one.problem for one in done if one.problem is not None)
        return sum(one.problem is None for one in done)

    count = await _each(given, tell, replay)
    failed = f" {len(problems)} could not be: {problems[0]}" if problems else ""
    return f"{_letters(count)} replayed.{failed}"


async def _drop(given: Given, tell: Tell) -> str:
    return f"{_letters(await _each(given, tell, lambda ids: len(drop_letters(ids))))} deleted."


async def _each(given: Given, tell: Tell, act: Callable[[Sequence[str]], int]) -> int:
    run_ids = list(given.runs) or await to_thread(_chosen, given)
    count = done = 0
    tell(0, len(run_ids))
    for start in range(0, len(run_ids), _AT_ONCE):
        some = run_ids[start : start + _AT_ONCE]
        count += await to_thread(act, some)
        done += len(some)
        tell(done, len(run_ids))
    return count


def _chosen(given: Given) -> list[str]:
    letters = list_letters(task=given["task"] or None)
    # Exactly the group that was shown: another type's name may end in the same way.
    return [letter.run_id for letter in letters if letter.error == given["error"]]


def _target(given: Given) -> str:
    if given.runs:
        return ", ".join(given.runs)
    return f"task={given['task']} error={given['error']}"


def _letters(count: int) -> str:
    return "1 dead letter" if count == 1 else f"{count} dead letters"


ACTIONS = (
    Action("replay dead letters", "/dead-letters/replay", _target, _replay, (DEAD_LETTERS,)),
    Action("drop dead letters", "/dead-letters/drop", _target, _drop, (DEAD_LETTERS,)),
)
