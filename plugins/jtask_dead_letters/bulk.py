"""Replay and drop many dead letters, as operations that whoever comes next goes on with."""

from jtask.bulk_actions import BulkAction, BulkItem
from jtask.client import get_client
from jtask_dead_letters.operations import replay_run
from jtask_dead_letters.replaying import drop

REPLAY = "replay dead letters"
DROP = "drop dead letters"
REPLAYED = "replayed"
DROPPED = "deleted"
GONE = "there was none"


async def _replay(item: BulkItem) -> str:
    # However often this is called, each letter is replayed once.
    await replay_run(get_client(), item.run_id)
    return REPLAYED


async def _drop(item: BulkItem) -> str:
    return DROPPED if await drop(get_client().broker, item.run_id) else GONE


ACTIONS = (BulkAction(REPLAY, _replay), BulkAction(DROP, _drop))
