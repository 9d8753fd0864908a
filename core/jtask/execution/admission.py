"""Whether an attempt is made, and that whoever admitted it hears how it was over."""

import time

from jtask.admissions import Admission
from jtask.errors import BrokerError, RunRefused
from jtask.execution.asking import awaited_answer, checked_answer, log_failure, tell
from jtask.lifecycle import AttemptEnd, Park, Retry, describe
from jtask.plugins import TaskHooks
from jtask.runtime import RunContext

_PAUSE_SECONDS = 1.0  # until a broker that does not answer is asked again


async def ask_for_admission(run: RunContext, hooks: TaskHooks) -> Retry | Park | RunRefused | None:
    """Ask the plugins in order whether to make an attempt, until one does not admit it.

    Those that were asked before are told to withdraw what they gave.

    Args:
        run: The run.
        hooks: Those of its task.

    Returns:
        Retry | Park | RunRefused | None: What comes of it instead; None makes the attempt.
    """
    run.admission = admission = Admission()
    if (caller := hooks.admit) is not None:
        for implementation in caller.implementations:
            try:
                answer = implementation.function(*implementation.pick({"run": run}))
                if answer is not None:
                    answer = checked_answer(await awaited_answer(answer, run), Retry, Park)
            except RunRefused as refusal:
                answer = refusal
            except BrokerError as error:
                answer = _while_nobody_knows(run, error)
            except Exception as error:
                log_failure(caller, implementation, error, run)
                answer = None
            if answer is not None:
                await attempt_over(run, hooks, AttemptEnd.WITHDRAWN)
                return answer  # type: ignore[no-any-return]
            admission.asked.append(implementation.source)
    admission.is_complete = True
    return None


def _while_nobody_knows(run: RunContext, error: BrokerError) -> Retry | RunRefused:
    # Not admitted: a limit that counts only while all is well is none.
    if run.queue is None:
        return RunRefused(f"whether it may start cannot be known now: {error}")
    return Retry(time.time() + _PAUSE_SECONDS, describe(error))


async def attempt_over(
    run: RunContext, hooks: TaskHooks, end: AttemptEnd, *, is_elsewhere: bool = False
) -> None:
    """Tell the plugins that an attempt is over; nothing happens if they were told.

    Args:
        run: The run.
        hooks: Those of its task.
        end: How it was over.
        is_elsewhere: Whether this is the loop of the hooks, and not where the run executes.
    """
    hooks = hooks.concerned_with(run)
    admission = run.admission
    if hooks.attempt_over is None or admission is None or not admission.close():
        return
    only = None if admission.is_complete else admission.asked
    await tell(hooks.attempt_over, run, only=only, is_elsewhere=is_elsewhere, end=end)


async def worker_lost(run: RunContext, hooks: TaskHooks) -> None:
    """Tell the plugins that an attempt was over because its worker was lost.

    Args:
        run: The run, which has come to this worker since.
        hooks: Those of its task.
    """
    if hooks.attempt_over is not None:
        await tell(hooks.attempt_over, run, end=AttemptEnd.LOST)


async def handed_for_nothing(run: RunContext, hooks: TaskHooks) -> None:
    """Have the plugins take back what a run was woken with that waits on for something else.

    Args:
        run: The run, which is not asked for admission now.
        hooks: Those of its task.
    """
    if hooks.attempt_over is not None and run.token is not None:
        await tell(hooks.attempt_over, run, end=AttemptEnd.WITHDRAWN)
