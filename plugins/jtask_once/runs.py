"""What a worker does for the keys of a run: see that they are its own, and let go of them."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from jtask.client import get_client
from jtask.contract import Broker
from jtask.errors import JTaskError, RunRefused
from jtask.execution.hooks_loop import get_hooks_loop
from jtask.lifecycle import Retry, describe
from jtask.settings import get_settings
from jtask_once.applying import HEADER
from jtask_once.keys import Key, Kind, key_of, read_header
from jtask_once.reservations import Reservation, Reservations
from jtask_once.standing import PATIENCE, Standing, Verdict, judge, standing_of

if TYPE_CHECKING:
    from jtask.client import Client
    from jtask.runtime import RunContext

_NOTE = "jtask_once"
_LOOKS = (0.02, 0.1, 0.5, 2.0, 10.0)
"""Seconds between two looks whether the end of a run is stored."""
_OUTCOME_MARGIN = 60.0
"""Seconds by which a key outlives the outcome, which is stored a little later."""
_NOT_YET = ""
_log = logging.getLogger("jtask")


async def admit(run: "RunContext") -> Retry | None:
    """Let a run start if it has its keys.

    Raises:
        RunRefused: Another run has one of them.
        BrokerError: The broker cannot tell.
    """
    keys, are_claimed = _keys_of(run)
    run.notes[_NOTE] = keys
    if not keys:
        return None
    client = get_client()
    return await client.io.bridge(_admit(client.broker, run.run_id, keys, are_claimed))


def let_go(run: "RunContext") -> None:
    """Let go of the keys of a run that has ended; returns at once."""
    if keys := _keys_to_let_go(run):
        # Not on the I/O loop: at the end of the process nobody would end what waits there.
        with contextlib.suppress(RuntimeError):  # the process is ending
            in_background(_let_go(get_client(), run.run_id, keys))


def in_background(work: Coroutine[Any, Any, None]) -> None:
    """Do something on the loop of the hooks, beside everything else."""
    get_hooks_loop().submit(work)


async def _admit(
    broker: Broker, run_id: str, keys: Sequence[Key], are_claimed: bool
) -> Retry | None:
    store = Reservations(broker)
    for key in keys:
        if are_claimed:
            other = await _confirm(broker, store, key, run_id)
        else:
            other = await _claim_late(broker, store, key, run_id)
        if other == _NOT_YET:
            return Retry(time.time() + PATIENCE, "another run is about to get its key")
        if other is not None:
            for had in keys:
                await store.let_go(had, run_id)
            raise RunRefused(f"another run has its key: {other}")
    return None


async def _confirm(broker: Broker, store: Reservations, key: Key, run_id: str) -> str | None:
    """Confirm a key that was claimed for a run; return the run that has it instead, or None."""
    while True:
        if await store.seal(key, run_id, is_wanted=True) is None:
            return None
        held, revision = await store.find(key)
        if held is None or held.run_id == run_id:
            continue
        # Whoever has overtaken a caller that stalled may stall in its turn: the run that is stored
        # first has the key, and the other caller finds that out (`KeysClaim.sent`).
        is_stored = held.is_sealed or (
            await standing_of(broker, held.run_id) is not Standing.NOWHERE
        )
        if is_stored:
            return held.run_id
        if await store.put(key, Reservation(run_id, time.time(), is_sealed=True), revision):
            return None


async def _claim_late(broker: Broker, store: Reservations, key: Key, run_id: str) -> str | None:
    """Claim a key for a run that came without.

    It may be a schedule's, the replay of a dead letter, or somebody else's who does not know keys.

    Returns:
        str | None: The run that has it; None when this one has it now; _NOT_YET when that is not
        known.
    """
    while True:
        held, revision = await store.find(key)
        if held is not None and held.run_id == run_id:
            return None
        if held is not None:
            now = time.time()
            standing = await standing_of(broker, held.run_id)
            # A replay is meant to be executed, whatever has ended before.
            verdict = judge(Kind.UNIQUE, held, standing, max(0.0, now - held.at), now)
            if verdict is not Verdict.FREE:
                return held.run_id if verdict is Verdict.HELD else _NOT_YET
        if await store.put(key, Reservation(run_id, time.time(), is_sealed=True), revision):
            return None


async def _let_go(client: "Client", run_id: str, keys: Sequence[Key]) -> None:
    # If this never happens, whoever wants the key next finds that its run has ended.
    try:
        for pause in _LOOKS:
            await asyncio.sleep(pause)
            if await client.io.bridge(_let_go_if_over(client.broker, run_id, keys)):
                return
    except JTaskError as error:
        _log.debug("the keys of run %s are not let go of: %s", run_id, error)


async def _let_go_if_over(broker: Broker, run_id: str, keys: Sequence[Key]) -> bool:
    # Not before the end is stored: if the worker died, the run would come again, and need its keys.
    if await broker.results.get(run_id) is None:
        return False
    store = Reservations(broker)
    for key in keys:
        if key.kind is Kind.IDEMPOTENCY:
            await store.keep_for(key, run_id, get_settings().result_ttl + _OUTCOME_MARGIN)
        else:
            await store.let_go(key, run_id)
    return True


def _keys_of(run: "RunContext") -> tuple[list[Key], bool]:
    """Return the keys of a run, and whether they were claimed for it when it was sent."""
    header = run.headers.get(HEADER)
    if header is not None:
        run_id, keys = read_header(header)
        return keys, run_id == run.run_id
    try:
        key = key_of(Kind.UNIQUE, run.task.options["unique"], run)
    except Exception as error:
        raise RunRefused(f"its unique= makes no key: {describe(error)}") from error
    return [] if key is None else [key], False


def _keys_to_let_go(run: "RunContext") -> list[Key]:
    # One that came without keys and was not admitted has none.
    if _NOTE in run.notes:
        noted: list[Key] = run.notes[_NOTE]
        return noted
    header = run.headers.get(HEADER)
    return [] if header is None else read_header(header)[1]
