"""`jtask cancel`: end runs, and say what came of it."""

from typing import TYPE_CHECKING, Any

import click

from jtask.cli.output import say, say_json
from jtask.cli.parameters import as_json
from jtask.cli.prompts import confirm, yes_option
from jtask.worker.exit_codes import ExitCode

if TYPE_CHECKING:
    from jtask.outcomes import CancelAnswer

_MESSAGE = "cancelled by `jtask cancel`"


@click.command()
@click.argument("run_ids", nargs=-1, metavar="[ID]...")
@click.option(
    "--task", help="Cancel all runs of the task with this key or name, or of module:task."
)
@click.option("--tag", help="Cancel all runs with this tag.")
@click.option("--queue", help="Cancel all runs of this queue.")
@click.option("--message", default=_MESSAGE, help="Reason, stored with each run.")
@yes_option
@as_json
@click.pass_context
def cancel(
    ctx: click.Context,
    run_ids: tuple[str, ...],
    task: str | None,
    tag: str | None,
    queue: str | None,
    message: str,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Cancel the runs ID..., or all waiting and executing runs that match the options.

    Prints the result for each: `never starts`, `interrupted`, `asked` (it ends when its code checks
    for cancellation), `already over`, or `not found`. With --task module:task or file.py:task,
    loads the code and calls the task's hooks in this process; otherwise workers call them.
    """
    from jtask_cancellation.bulk import cancel_many

    conditions = any(given is not None for given in (task, tag, queue))
    if conditions == bool(run_ids):
        raise click.UsageError(
            "specify which runs to cancel: either IDs, or one or more of --task, --tag, --queue"
        )
    groups = _found(task, tag, queue, yes=yes) if conditions else [_checked(run_ids)]
    # One group after the other: those that execute keep their slots until the rest is cancelled.
    answers = [answer for group in groups for answer in cancel_many(group, message)]
    _report(answers, as_json=as_json)
    # A run that was found by a condition and is gone now has simply ended meanwhile.
    if any(answer.result == "not found" for answer in answers) and not conditions:
        ctx.exit(ExitCode.FAILED)


def _checked(run_ids: tuple[str, ...]) -> list[str]:
    from jtask.client import get_run

    return [get_run(run_id).run_id for run_id in run_ids]


def _found(task: str | None, tag: str | None, queue: str | None, *, yes: bool) -> list[list[str]]:
    from jtask_cancellation.bulk import find_runs

    if task is not None and (":" in task or task.endswith(".py")):
        from jtask.worker.targets import load_task

        task = load_task(task).key
    found = find_runs(task=task, tag=tag, queue=queue)
    if found:
        runs = "1 run" if len(found) == 1 else f"{len(found)} runs"
        confirm(f"Cancel {runs}?", yes=yes)
    # Those that execute come last: else others of them would begin in the slots that they leave.
    return [[run.run_id for run in found if run.executing is last] for last in (False, True)]


def _report(answers: "list[CancelAnswer]", *, as_json: bool) -> None:
    if as_json:
        say_json([_facts(answer) for answer in answers])
        return
    for answer in answers:
        say(f"{answer.run_id}  {answer.result}{_end(answer)}")
    if not answers:
        say("no runs", err=True)


def _end(answer: "CancelAnswer") -> str:
    if answer.state is None or answer.result == "never starts":
        return ""
    return f" ({answer.state.name})"


def _facts(answer: "CancelAnswer") -> dict[str, Any]:
    state = None if answer.state is None else answer.state.name.value
    return {"run_id": answer.run_id, "result": answer.result.value, "state": state}
