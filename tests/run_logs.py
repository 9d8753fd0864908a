"""What was kept of what runs logged and printed."""

from in_process import on_io
from waiting import eventually

from jtask.contract import END_OF_ATTEMPT, Broker, LogLine


def all_lines(run_id: str) -> list[LogLine]:
    async def read(broker: Broker) -> list[LogLine]:
        return [line async for page in broker.logs.read(run_id) for line in page.lines]

    found: list[LogLine] = on_io(read)
    return found


def log_of(run_id: str, attempt: int = 1) -> list[LogLine]:
    """Return what a run has logged, once its attempt's log has ended."""

    def has_ended() -> bool:
        ended = [it.attempt for it in all_lines(run_id) if it.level == END_OF_ATTEMPT]
        return attempt in ended

    eventually(has_ended)
    return [line for line in all_lines(run_id) if line.level != END_OF_ATTEMPT]


def messages_of(run_id: str, attempt: int = 1) -> list[str]:
    return [line.message for line in log_of(run_id, attempt)]
