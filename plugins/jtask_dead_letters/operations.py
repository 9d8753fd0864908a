"""Look after dead letters from a program: each function blocks, from any thread."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from jtask.background import map_bounded
from jtask.errors import JTaskError, RunNotFound
from jtask_dead_letters.letters import Filter, Letter, read_letter
from jtask_dead_letters.replaying import drop, forget_old, replay, replayed_as

if TYPE_CHECKING:
    from jtask.client import Client
    from jtask.runs import Run

_AT_ONCE = 16  # replays; each may have the arguments of its run in memory


class Replayed(NamedTuple):
    """What came of a replay.

    Attributes:
        run_id: The run whose letter it was.
        new_run_id: The run that is executed instead; None when there is none.
        problem: Why there is none; one sentence.
    """

    run_id: str
    new_run_id: str | None
    problem: str | None = None


def list_letters(
    *,
    task: str | None = None,
    error: str | None = None,
    since: float | None = None,
    until: float | None = None,
) -> list[Letter]:
    """Return the dead letters that meet all conditions, oldest first.

    Args:
        task: A task's key or name.
        error: The type of what was raised, with or without its module; for a run that ended
            without an exception what `result` raises, such as RunExpired.
        since: Not before this instant, seconds since the epoch.
        until: Before this instant.

    Raises:
        BrokerError: The broker cannot be reached, or refuses.
    """
    from jtask.client import get_client

    client = get_client()
    return client.io.run(_letters(client, Filter(task, error, since, until)))


def find_letter(run_id: str) -> Letter:
    """Return the dead letter of a run.

    Args:
        run_id: The run that failed for good.

    Raises:
        RunNotFound: There is none.
    """
    from jtask.client import get_client

    client = get_client()
    letter = client.io.run(_letter(client, run_id))
    if letter is None:
        raise RunNotFound(f"there is no dead letter of run {run_id}")
    return letter


def replay_letter(run_id: str) -> "Run[Any]":
    """Execute the run of a letter again, as a new run; however often this is called, as one.

    Args:
        run_id: The run that failed for good.

    Returns:
        Run: The new one, enqueued.

    Raises:
        RunNotFound: There is no such letter, and there was none that was replayed.
        JTaskError: It cannot be replayed; the letter stays.
    """
    from jtask.client import get_client

    client = get_client()
    return client.handle(client.io.run(replay_run(client, run_id)))


def replay_letters(run_ids: Iterable[str]) -> list[Replayed]:
    """Do `replay_letter` for many; one that fails stops no other.

    Args:
        run_ids: The runs that failed for good.

    Returns:
        list[Replayed]: One for each id, in order.

    Raises:
        BrokerError: The letters cannot be read.
    """
    from jtask.client import get_client

    client = get_client()
    return client.io.run(_replay_many(client, list(run_ids)))


def drop_letters(run_ids: Iterable[str]) -> list[str]:
    """Delete dead letters.

    Args:
        run_ids: The runs that failed for good.

    Returns:
        list[str]: The ids of those whose letters were there.

    Raises:
        BrokerError: The broker cannot be reached, or refuses; some may be deleted by then.
    """
    from jtask.client import get_client

    client = get_client()

    async def drop_all() -> list[str]:
        return [run_id for run_id in run_ids if await drop(client.broker, run_id)]

    return client.io.run(drop_all())


async def replay_run(client: "Client", run_id: str) -> str:
    """Do `replay_letter` on the I/O loop; returns the id of the new run."""
    letter = await _letter(client, run_id)
    if letter is not None:
        return await replay(client, letter)
    done = await replayed_as(client.broker, run_id)
    if done is None:
        raise RunNotFound(f"there is no dead letter of run {run_id}")
    return done


async def _letters(client: "Client", wanted: Filter) -> list[Letter]:
    letters = [read_letter(stored) async for stored in client.broker.dead_letters.read()]
    return [letter for letter in letters if wanted.takes(letter)]


async def _letter(client: "Client", run_id: str) -> Letter | None:
    stored = await client.broker.dead_letters.get(run_id)
    return None if stored is None else read_letter(stored)


async def _replay_many(client: "Client", run_ids: list[str]) -> list[Replayed]:
    async def replay_one(run_id: str) -> Replayed:
        try:
            return Replayed(run_id, await replay_run(client, run_id))
        except JTaskError as error:
            return Replayed(run_id, None, str(error))

    done = await map_bounded(replay_one, run_ids, _AT_ONCE)
    # Somebody has to tidy up, and a bulk replay has read much already.
    await forget_old(client.broker)
    return done
