"""`python -m jtask`: the program `jtask`, for this very interpreter."""

from jtask.cli import main

main()
