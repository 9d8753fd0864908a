"""Everything that a dead letter says, as text or JSON: no I/O."""

from textwrap import indent
from typing import Any

from jtask.cli.run_parameters import RunParameters
from jtask.cli.run_report import RunReport
from jtask.cli.tables import local_time
from jtask.foreign_text import shown
from jtask_dead_letters.letters import Letter

_UNREADABLE = "(the message cannot be read)"


def letter_json(letter: Letter) -> dict[str, Any]:
    """Return the parts of a letter that a list leaves out."""
    report = RunReport(letter.run_id, [], letter.outcome).to_json() if letter.outcome else {}
    parameters = _parameters(letter)
    return {
        "arguments": _UNREADABLE if parameters is None else parameters.to_json(),
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
    parameters = _parameters(letter)
    text = _UNREADABLE if parameters is None else parameters.to_text()
    sections.append(f"arguments\n{indent(text, '  ')}")
    return "\n\n".join(sections)


def _parameters(letter: Letter) -> RunParameters | None:
    return None if letter.envelope is None else RunParameters.of(letter.envelope)
