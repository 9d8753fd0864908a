"""`python -m jtask`: the program `jtask`, for this very interpreter."""

from jtask.cli.program import main

main(prog_name="jtask")
