"""Replay and drop many dead letters, as operations that whoever comes next goes on with."""

from collections.abc import Callable, Iterator, Sequence
from typing import cast

from jtask.bulk_actions import BulkAction, BulkCarrier, BulkItem
from jtask.cli.output import say
from jtask.client import get_client
from jtask.errors import JTaskError
from jtask.plugins import get_plugins
from jtask_dead_letters.operations import Replayed, drop_letters, replay_letters, replay_run
from jtask_dead_letters.replaying import drop

REPLAY = "replay dead letters"
DROP = "drop dead letters"
REPLAYED = "replayed"
DROPPED = "deleted"
GONE = "there was none"


_AT_ONCE = 50  # letters between two looks at how far it is

Tell = Callable[[int, int], None]


def replay_many(run_ids: Sequence[str], about: str, tell: Tell) -> list[Replayed]:
    """Do `replay_letters`, noted in the index where there is one.

    Args:
        run_ids: The runs that failed for good.
        about: What they are, for people; empty lists them.
        tell: Told how many are dealt with, of how many.
    """
    carry_out = _carrier()
    if carry_out is None:
        return [done for some in _parts(run_ids, tell) for done in replay_letters(some)]
    results = carry_out(REPLAY, run_ids, about, tell)
    # Done again it is the same run, which nobody but the letter's record knows.
    ids = [run_id for run_id in run_ids if results[run_id] == REPLAYED]
    replayed = {done.run_id: done for done in replay_letters(ids)}
    return [replayed.get(one) or Replayed(one, None, results[one]) for one in run_ids]


def drop_many(run_ids: Sequence[str], about: str, tell: Tell) -> list[str]:
    """Do `drop_letters`, likewise."""
    carry_out = _carrier()
    if carry_out is None:
        return [run_id for some in _parts(run_ids, tell) for run_id in drop_letters(some)]
    results = carry_out(DROP, run_ids, about, tell)
    return [run_id for run_id in run_ids if results[run_id] == DROPPED]


async def _replay(item: BulkItem) -> str:
    # However often this is called, each letter is replayed once.
    await replay_run(get_client(), item.run_id)
    return REPLAYED


async def _drop(item: BulkItem) -> str:
    return DROPPED if await drop(get_client().broker, item.run_id) else GONE


ACTIONS = (BulkAction(REPLAY, _replay), BulkAction(DROP, _drop))


def _parts(run_ids: Sequence[str], tell: Tell) -> Iterator[Sequence[str]]:
    for start in range(0, len(run_ids), _AT_ONCE):
        tell(start, len(run_ids))
        yield run_ids[start : start + _AT_ONCE]


def _carrier() -> BulkCarrier | None:
    for impl in get_plugins().manager.hook.jtask_bulk_carrier.get_hookimpls():
        try:
            carry_out = cast("BulkCarrier | None", impl.function())
        except JTaskError as error:
            say(f"Warning: plugin {impl.plugin_name!r} cannot note this: {error}", err=True)
            continue
        if carry_out is not None:
            return carry_out
    return None
