"""The runs that failed for good, by task and error."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from jtask_console.live.hub import DEAD_LETTERS, RUNS
from jtask_console.pages.page import Asked, Facts, Page, always
from jtask_dead_letters.letters import Letter
from jtask_dead_letters.operations import list_letters

_SHOWN = 500  # letters of one group


@dataclass(slots=True)
class LetterGroup:
    """The dead letters of one task with one type of error.

    Attributes:
        task: The task's key; empty for messages that cannot be read.
        name: The task's name.
        error: The type of what was raised.
        letters: The newest first.
    """

    task: str
    name: str
    error: str
    letters: list[Letter] = field(default_factory=list[Letter])


def grouped(letters: Iterable[Letter]) -> list[LetterGroup]:
    """Return dead letters by task and error, the largest groups first."""
    groups: dict[tuple[str, str], LetterGroup] = {}
    for letter in letters:
        group = groups.get(key := (letter.task, letter.error))
        if group is None:
            group = groups[key] = LetterGroup(letter.task, letter.name, letter.error)
        group.letters.append(letter)
    for group in groups.values():
        group.letters.sort(key=lambda letter: letter.at, reverse=True)
    return sorted(groups.values(), key=lambda group: len(group.letters), reverse=True)


async def _facts(asked: Asked) -> Facts:
    task, error = asked.query.get("task") or None, asked.query.get("error") or None
    letters = await asyncio.to_thread(list_letters, task=task, error=error)
    return {
        "title": "Dead letters",
        "section": "dead-letters",
        "groups": grouped(letters),
        "total": len(letters),
        "is_one_group": task is not None or error is not None,
        "shown": _SHOWN,
    }


PAGE = Page("/dead-letters", "dead_letters.html", _facts, always(DEAD_LETTERS, RUNS), ("letters",))
