"""Where the program `jtask` begins; imports nothing, so that Ctrl-C is caught from then on."""


def start() -> None:
    """Execute the command that the command line names, and end the process."""
    try:
        # Here: Ctrl-C finds the import under way as often as the command itself.
        from jtask.cli.program import main
    except KeyboardInterrupt:
        from jtask.worker.exit_codes import ExitCode

        raise SystemExit(ExitCode.INTERRUPTED) from None
    main(prog_name="jtask")
