"""What the broker has now of workers, schedules and dead letters, copied into the index."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Engine, Table, delete, update

from jtask.contract import Broker
from jtask_index.engines import translated
from jtask_index.rows import name, storable_text
from jtask_index.schema import dead_letter, schedule, worker
from jtask_index.statements import ManyRows, inserting, inserting_missing, updating

_SCHEDULES = "schedules"  # the bucket of their records, see docs/wire-format.md

_ADD_WORKERS = inserting_missing(worker)
_SEE_WORKERS = updating(worker, "worker", ("last_seen", "info", "is_living"))
_ADD_SCHEDULES = inserting(schedule)
_ADD_LETTERS = inserting(dead_letter)


class Present(NamedTuple):
    """What there is.

    Attributes:
        workers: Names of living ones, and what they say of themselves.
        schedules: Keys of tasks, and the records.
        letters: Dead letters: run, queue, reason, instant.
    """

    workers: list[tuple[str, str]]
    schedules: list[tuple[str, str]]
    letters: list[tuple[str, str, str, float]]


async def read_present(broker: Broker) -> Present:
    """Ask the broker; on the I/O loop.

    Raises:
        BrokerError: It cannot be reached, or refuses.
    """
    workers = [(name(one), _text(info)) for one, info in await broker.heartbeats.living()]
    records = await broker.records.list(_SCHEDULES)
    letters = [
        (letter.run_id, name(letter.queue), storable_text(letter.reason), letter.at)
        async for letter in broker.dead_letters.read()
    ]
    return Present(workers, [(name(one.key), _text(one.body)) for one in records], letters)


def write_present(engine: Engine, present: Present) -> None:
    """Put it in the place of what was there before.

    Args:
        engine: Of the index, for transactions that write.
        present: What there is now.
    """
    now = time.time()
    with translated(engine), engine.begin() as connection:
        _ADD_WORKERS.execute(connection, [(one, now, now, "", 0) for one, _ in present.workers])
        connection.execute(update(worker).where(worker.c.is_living == 1).values(is_living=0))
        rows = [(now, info, 1, one) for one, info in present.workers]
        _SEE_WORKERS.execute(connection, rows)
        schedules = [(key, record, now) for key, record in sorted(dict(present.schedules).items())]
        _replace(connection, schedule, _ADD_SCHEDULES, schedules)
        letters = {letter[0]: letter for letter in present.letters}
        _replace(connection, dead_letter, _ADD_LETTERS, sorted(letters.values()))


def _replace(
    connection: Connection, table: Table, add: ManyRows, rows: Sequence[tuple[object, ...]]
) -> None:
    connection.execute(delete(table))
    add.execute(connection, rows)


def _text(body: bytes) -> str:
    return storable_text(body.decode(errors="replace"))
