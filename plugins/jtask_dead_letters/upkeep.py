"""The earlier path of `jtask_dead_letters.operations`, kept for programs that import it."""

from jtask_dead_letters.operations import (
    Replayed,
    drop_letters,
    find_letter,
    list_letters,
    replay_letter,
    replay_letters,
)

__all__ = [
    "Replayed",
    "drop_letters",
    "find_letter",
    "list_letters",
    "replay_letter",
    "replay_letters",
]
