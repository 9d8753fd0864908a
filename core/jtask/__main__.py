"""`python -m jtask`: the program `jtask`, for this very interpreter."""

from jtask.cli.entry import start

start()
