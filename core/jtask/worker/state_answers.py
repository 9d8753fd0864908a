"""Say where the runs stand that a worker holds, to whoever asks for their states."""

from collections.abc import Callable, Iterable

from jtask.client.whereabouts import RUN_STATE, write_state
from jtask.contract import Broker, Subscription
from jtask.execution.job import Job
from jtask.states import State, StateName


async def answer_states(broker: Broker, jobs: Callable[[], Iterable[Job]]) -> Subscription:
    """Answer until the subscription is closed; on the I/O thread.

    Args:
        broker: Where it is asked.
        jobs: Returns what the worker holds.
    """

    def answer(question: bytes) -> bytes | None:
        run_id = question.decode(errors="replace")
        found = next((job for job in jobs() if job.delivery.run_id == run_id), None)
        return None if found is None or found.notify_only else write_state(_state_of(found))

    return await broker.requests.listen(RUN_STATE, answer)


def _state_of(job: Job) -> State:
    run = job.run
    if run is None or run.state is None:
        return State(StateName.PENDING, job.received)
    if not run.state.is_final():
        return run.state
    # Not over before its end is stored: should this worker die before, the run starts again.
    if run.attempt_started_at is None:
        return State(StateName.PENDING, job.received)
    name = StateName.RUNNING if run.attempt == 1 else StateName.RETRYING
    return State(name, run.attempt_started_at)
