"""`python -m jtask.cli`: the program for this very interpreter, as supervisors start it."""

from jtask.cli.entry import start

start()
