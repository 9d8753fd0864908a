"""What the program's exit code means: a contract, kept across versions."""

from enum import IntEnum

from jtask.errors import (
    BrokerError,
    JTaskError,
    NotUnique,
    ResultTimeout,
    RunFailed,
    RunNotFound,
    RunRefused,
    WorkerUnhealthy,
)


class ExitCode(IntEnum):
    """Why the program ended."""

    OK = 0
    FAILED = 1
    """The run failed, or there is no such run."""
    USAGE = 2  # as click
    """The command line, a target, an argument or a setting is wrong."""
    BROKER = 3
    """The broker cannot be reached or refuses."""
    UNHEALTHY = 4
    """The worker could not get runs for longer than --give-up-after."""
    TIMED_OUT = 124  # as timeout(1)
    """The wait for a run was over before the run."""
    INTERRUPTED = 130  # 128 + SIGINT, as shells have it
    """Ctrl-C."""


_BY_KIND: tuple[tuple[type[JTaskError], ExitCode], ...] = (
    (ResultTimeout, ExitCode.TIMED_OUT),
    (BrokerError, ExitCode.BROKER),
    (RunNotFound, ExitCode.FAILED),
    (RunFailed, ExitCode.FAILED),
    (RunRefused, ExitCode.FAILED),
    (NotUnique, ExitCode.FAILED),
    (WorkerUnhealthy, ExitCode.UNHEALTHY),
)


def exit_code_of(error: JTaskError) -> ExitCode:
    """Return the exit code of a program that an error ends; what no kind covers is wrong usage."""
    return next((code for kind, code in _BY_KIND if isinstance(error, kind)), ExitCode.USAGE)
