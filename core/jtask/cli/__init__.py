"""The program `jtask`.

Data goes to stdout, everything else to stderr; `jtask.worker.exit_codes` is the contract with
scripts. Shell completion starts the program at each key press, so whatever is slow to import is
imported by the command that needs it.
"""

from typing import TYPE_CHECKING

from jtask.lazy_names import lazy_names

if TYPE_CHECKING:
    from jtask.cli.program import main

__all__ = ["main"]

__getattr__, __dir__ = lazy_names(__name__, {"jtask.cli.program": ["main"]})
