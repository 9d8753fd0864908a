"""`python -m jtask.cli`: the program for this very interpreter, as supervisors start it."""

from jtask.cli.program import main

main(prog_name="jtask")
