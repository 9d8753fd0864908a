"""Ask before much is changed at once."""

import sys

import click

yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")


def confirm(question: str, *, yes: bool) -> None:
    """Go on only if somebody agrees.

    Args:
        question: What to agree to.
        yes: Whether they did so by `--yes`.

    Raises:
        click.UsageError: There is nobody to ask.
        click.Abort: They do not agree.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Cannot ask for confirmation here: add --yes.")
    click.confirm(question, abort=True, err=True)  # stdout is for data
