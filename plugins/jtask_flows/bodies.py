"""What stands around the body of a flow."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from jtask_flows.options import validates
from jtask_flows.parameters import validated

if TYPE_CHECKING:
    from jtask.runtime import RunContext


def around(run: "RunContext") -> AbstractContextManager[None]:
    """Return the context manager for an attempt of a flow."""
    return _checked(run)


@contextmanager
def _checked(run: "RunContext") -> Generator[None]:
    if validates(run.task):
        run.args, run.kwargs = validated(run.task, run.args, run.kwargs)
    yield
