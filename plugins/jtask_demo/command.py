"""The command `jtask demo`."""

import click

_LEAST_WORKERS = 2


@click.command()
@click.option(
    "--workers",
    type=click.IntRange(min=_LEAST_WORKERS),
    default=_LEAST_WORKERS,
    show_default=True,
    help="How many worker processes; one of them will be killed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def demo(context: click.Context, workers: int, *, as_json: bool) -> None:
    """Measure Python's standard library in the background, and kill a worker meanwhile.

    Starts what it needs and leaves nothing behind. On the server that JTASK_URL names, if it is
    set, else on one of its own.
    """
    import asyncio
    import signal

    from jtask_demo import report
    from jtask_demo.library import standard_library
    from jtask_demo.show import perform
    from jtask_demo.stage import Stage

    def end_like_ctrl_c(_number: int, _frame: object) -> None:
        # asyncio lets that in only where nothing is half done: a worker that was just started must
        # be known before the stage is left.
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, end_like_ctrl_c)
    with Stage() as stage, report.audience(plain=as_json) as audience:
        found = asyncio.run(perform(stage, standard_library(), workers, audience))
    (report.print_json if as_json else report.print_tables)(found)
    context.exit(1 if found.lost or found.failed else 0)
