r"""What commands print.

Names, errors and arguments come from others, and a terminal must not obey them. Every command
prints through here, so that an escape sequence is shown as `\x1b` and not executed.
"""

import json
import sys
from collections.abc import Iterable

import click

from jtask.foreign_text import sendable, shown_json, shown_lines


def say(text: str, *, err: bool = False) -> None:
    """Print text for people, on stderr if told so."""
    click.echo(shown_lines(text), err=err)


def say_coloured(parts: Iterable[tuple[str, str | None]]) -> None:
    """Print a line for people; a part without a colour has that of the terminal."""
    # Made safe first: the colours are escape sequences themselves.
    safe = ((shown_lines(text), colour) for text, colour in parts)
    click.echo("".join(click.style(text, fg=colour) if colour else text for text, colour in safe))


def say_json(value: object) -> None:
    """Print a value for programs: as JSON in one line."""
    click.echo(shown_json(json.dumps(value, ensure_ascii=False)))


def say_value(text: str) -> None:
    """Print a run's own value: as it is into a file or a pipe, as `say` does on a terminal."""
    if sys.stdout.isatty():
        say(text)
    else:
        click.echo(sendable(text))
