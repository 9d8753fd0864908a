"""The program `jtask`.

Data goes to stdout, everything else to stderr; `jtask.worker.exit_codes` is the contract with
scripts. Shell completion starts the program at each key press, so whatever is slow to import is
imported by the command that needs it.
"""

__all__ = ["main"]


def main() -> None:
    """Execute the command that the command line names, and end the process."""
    try:
        # Here: Ctrl-C finds the import under way as often as the command itself.
        from jtask.cli.program import main as program
    except KeyboardInterrupt:
        from jtask.worker.exit_codes import ExitCode

        raise SystemExit(ExitCode.INTERRUPTED) from None
    program(prog_name="jtask")
