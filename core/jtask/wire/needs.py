"""What a run waits for, as a field of its envelope and of its outcome."""

from typing import Any

from jtask.errors import EnvelopeError
from jtask.foreign_text import quoted
from jtask.ids import is_run_id
from jtask.needs import Needs
from jtask.wire.fields import items, mapping


def needs_to_json(needs: Needs) -> dict[str, Any]:
    """Return the field; what says nothing is left out."""
    written: dict[str, Any] = {}
    if needs.arguments:
        written["arguments"] = {name: list(ids) for name, ids in needs.arguments.items()}
    if needs.wait_for:
        written["wait_for"] = list(needs.wait_for)
    if needs.may_fail:
        written["may_fail"] = sorted(needs.may_fail)
    return written


def needs_from_json(value: object) -> Needs:
    """Read the field.

    Raises:
        EnvelopeError: It is not of that form.
    """
    fields = mapping(value)
    arguments = mapping(fields.get("arguments") or {})
    return Needs(
        {name: _run_ids(ids) for name, ids in arguments.items()},
        _run_ids(fields.get("wait_for") or []),
        frozenset(_run_ids(fields.get("may_fail") or [])),
    )


def _run_ids(value: object) -> tuple[str, ...]:
    return tuple(map(_run_id, items(value)))


def _run_id(value: object) -> str:
    if not isinstance(value, str) or not is_run_id(value):
        raise EnvelopeError(f"expected the id of a run, got {quoted(value)}")
    return value
