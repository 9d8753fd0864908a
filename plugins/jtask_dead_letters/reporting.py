"""Everything that a dead letter says, as text or JSON: no I/O."""

from typing import Any

from jtask.cli.run_report import RunReport
from jtask.cli.tables import local_time
from jtask.foreign_text import shown
from jtask_dead_letters.letters import Letter

_PREVIEW = 2000  # characters


def letter_json(letter: Letter) -> dict[str, Any]:
    """Return the parts of a letter that a list leaves out."""
    report = RunReport(letter.run_id, [], letter.outcome).to_json() if letter.outcome else {}
    return {
        "arguments": _arguments(letter),
        "failure": report.get("error"),
        "history": report.get("history", []),
        "attempt": report.get("attempt"),
    }


def letter_text(letter: Letter) -> str:
    """Return lines for a terminal."""
    facts = {"reason": letter.reason, "since": local_time(letter.at), "queue": letter.queue}
    sections = ["\n".join(f"{name:<10}{shown(value)}" for name, value in facts.items())]
    if letter.outcome is not None:
        sections.append(RunReport(letter.run_id, [], letter.outcome).to_text())
    sections.append(f"arguments\n  {_arguments(letter)}")
    return "\n\n".join(sections)


def _arguments(letter: Letter) -> str:
    envelope = letter.envelope
    if envelope is None:
        return "(the message cannot be read)"
    if envelope.blob is not None:
        return f"({envelope.blob} bytes, stored separately)"
    if envelope.serializer != "json":
        return f"({len(envelope.payload)} bytes of {envelope.serializer})"
    text = envelope.payload.decode(errors="replace")
    return text if len(text) <= _PREVIEW else f"{text[:_PREVIEW]}... ({len(text)} characters)"
