"""What a call claims before its run is sent: its keys, or a place in a burst of calls."""

from typing import TYPE_CHECKING, Any

from jtask.errors import NotUnique, TaskDefinitionError
from jtask.lifecycle import describe
from jtask_once.answers import Answer, Follower
from jtask_once.applying import HEADER, is_unique
from jtask_once.claims import KeysClaim
from jtask_once.debouncing import Burst, BurstClaim
from jtask_once.keys import Key, Kind, key_of, whole_task, write_header

if TYPE_CHECKING:
    from jtask.claims import Claim
    from jtask.runtime import EnqueueRequest

_NOTE = "jtask_once"


def claim_for(request: "EnqueueRequest") -> "Claim | None":
    """Return what a call claims; None when it has no key.

    Args:
        request: The call; its run gets the header with the keys.

    Raises:
        TaskDefinitionError: A key cannot be made.
        NotUnique: Another call of the same `delay_many` has the key.
    """
    options: Any = request.task.options
    if options["debounce"] is not None:
        _mark(request, {})
        return _debounced(request, options["debounce"])
    keys = _keys_of(request)
    _mark(request, keys)
    return _claimed(request, list(keys.values())) if keys else None


def _mark(request: "EnqueueRequest", keys: dict[Kind, Key]) -> None:
    # Without keys too, where a worker would otherwise claim one for the run.
    if keys or is_unique(request.task):
        request.headers[HEADER] = write_header(request.run_id, keys)


def _keys_of(request: "EnqueueRequest") -> dict[Kind, Key]:
    # In this order: of a call that is repeated the run is returned, whatever else it has.
    found = {kind: _key(kind, request) for kind in (Kind.IDEMPOTENCY, Kind.UNIQUE)}
    return {kind: key for kind, key in found.items() if key is not None}


def _key(kind: Kind, request: "EnqueueRequest") -> Key | None:
    wanted = request.task.options[kind]
    if wanted is None:
        return None
    try:
        return key_of(kind, wanted, request)
    except Exception as error:
        hint = "; give unique= a template or a function" if wanted is True else ""
        raise TaskDefinitionError(
            f"task {request.task.name!r}: its {kind} makes no key: {describe(error)}{hint}"
        ) from error


def _claimed(request: "EnqueueRequest", keys: list[Key]) -> "Claim":
    raises = request.task.options["on_conflict"] == "raise"
    batch: dict[str, Answer] = request.shared.setdefault(_NOTE, {})
    for key in keys:
        first = batch.get(key.name)
        if first is None:
            continue
        if raises and key.kind is Kind.UNIQUE:
            raise NotUnique(
                f"task {request.task.name!r}: two runs of one call have {key.about}, and none was "
                f'sent: give on_conflict="existing" to have one run for both'
            )
        return Follower(first)
    claim = KeysClaim(request.run_id, request.task.name, keys, raises=raises)
    batch.update({key.name: claim.answer for key in keys})
    return claim


def _debounced(request: "EnqueueRequest", seconds: float) -> "Claim | None":
    wanted = request.task.options["debounce_key"]
    key = whole_task(Kind.DEBOUNCE, request) if wanted is None else _key(Kind.DEBOUNCE, request)
    if key is None:
        return None
    batch: dict[str, Burst] = request.shared.setdefault(_NOTE, {})
    return BurstClaim(request.run_id, key, seconds, batch.setdefault(key.name, Burst()))
