"""The option of `@task(...)` that says whose runs take turns."""

from functools import partial

from jtask.argument_keys import check_key, check_names
from jtask.options import Option


def declared() -> list[Option]:
    """Return the option, with its check."""
    return [
        Option(
            "fair_key",
            check=partial(check_key, of="call"),
            fits=check_names,
            help='Whose runs take turns: a template such as "{tenant}", or a function of the call '
            "and its arguments.",
            for_caller=True,
        )
    ]
