"""Everything that is known of one run, as text or JSON: no I/O."""

import time
from dataclasses import asdict, dataclass
from typing import Any

from jtask.cli.history import summarise
from jtask.cli.run_parameters import RunParameters
from jtask.contract import Event
from jtask.durations import describe_seconds
from jtask.foreign_text import shown
from jtask.ids import created_at
from jtask.needs import Needs
from jtask.outcomes import AttemptRecord, SettledRun
from jtask.run_summaries import RunSummary
from jtask.states import SUCCESSFUL
from jtask.wire.needs import needs_to_json
from jtask.wire.progress import Progress

_PREVIEW = 500  # characters
_MOST_IDS = 3  # that are listed for one argument


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run's events and, once it is over, its outcome.

    Attributes:
        run_id: The run.
        events: In order of arrival; may be incomplete.
        outcome: What is stored of its end.
        progress: The latest that it has said of how far it is.
        parameters: What it is called with, while its message is kept.
    """

    run_id: str
    events: list[Event]
    outcome: SettledRun | None
    progress: Progress | None = None
    parameters: RunParameters | None = None

    def to_json(self) -> dict[str, Any]:
        """Return one JSON object."""
        outcome = self.outcome
        report = self._facts()
        report["progress"] = None if self.progress is None else asdict(self.progress)
        report["parameters"] = None if self.parameters is None else self.parameters.to_json()
        report["states"] = [
            {"state": str(e.state), "at": e.at, "attempt": e.attempt, "worker": e.worker}
            | ({"detail": e.detail} if e.detail else {})
            | ({"until": e.until} if e.until is not None else {})
            for e in self._by_time()
        ]
        if outcome is not None:
            report["history"] = [_attempt_json(attempt) for attempt in outcome.history]
            report["error"] = None if outcome.failure is None else outcome.failure.to_json()
            report["result"] = self._preview()
            if outcome.needs:
                report["needs"] = needs_to_json(outcome.needs)
        return report

    def to_text(self) -> str:
        """Return lines for a terminal."""
        sections = [self._facts_text(), self._parameters_text(), self._states_text()]
        outcome = self.outcome
        if outcome is not None:
            if outcome.needs:
                sections.append(_needs_text(outcome.needs))
            if outcome.history:
                sections.append(_history_text(outcome.history))
            if outcome.failure is not None:
                failure = outcome.failure
                sections.append("error\n" + _indented(failure.traceback or failure.summary))
            if preview := self._preview():
                sections.append("result\n" + _indented(preview))
        return "\n\n".join(section for section in sections if section)

    def _facts(self) -> dict[str, Any]:
        outcome = self.outcome
        known = summarise(self.events).get(self.run_id)
        if outcome is not None:
            return {
                "run_id": self.run_id,
                "task": outcome.task_key,
                "name": outcome.task_name,
                "state": outcome.state.name.value,
                "message": outcome.state.message,
                "attempt": outcome.attempt,
                "created": outcome.created,
                "started": outcome.started,
                "ended": outcome.ended,
                "run_time": outcome.run_time,
                "worker": outcome.worker,
                "tags": outcome.tags,
                "parent": outcome.parent or "",
                "root": outcome.root or "",
                "version": outcome.version or "",
                "run_name": outcome.run_name or "",
                "trace_id": "" if known is None else known.trace_id,
            }
        return facts_of(summarise(self.events)[self.run_id])

    def _facts_text(self) -> str:
        facts = self._facts()
        facts["created"] = _moment(facts["created"] or created_at(self.run_id))
        for name in ("started", "ended"):
            if facts.get(name) is not None:
                facts[name] = _moment(facts[name])
        if "run_time" in facts:
            facts["run_time"] = describe_seconds(facts["run_time"])
        facts["tags"] = ", ".join(facts["tags"])
        facts["progress"] = None if self.progress is None else str(self.progress)
        if self.outcome is not None and self.outcome.state.label != facts["state"]:
            facts["state"] = f"{facts['state']} ({self.outcome.state.label})"
        known = {name: value for name, value in facts.items() if value not in (None, "")}
        return "\n".join(f"{name:<10}{shown(str(value))}" for name, value in known.items())

    def _parameters_text(self) -> str:
        text = "" if self.parameters is None else self.parameters.to_text()
        return "parameters\n" + _indented(text) if text else ""

    def _states_text(self) -> str:
        lines: list[str] = []
        before: float | None = None
        for event in self._by_time():
            passed = "" if before is None else f"+{describe_seconds(max(0.0, event.at - before))}"
            before = event.at
            line = f"{_clock(event.at)}  {passed:<12}{event.state:<14}{shown(event.worker)}"
            until = "" if event.until is None else f"  until {_clock(event.until)}"
            said, *more = event.detail.split("\n")
            lines.append(f"{line}{until}  {said}".rstrip())
            lines.extend(f"  {text}" for text in more)
        return "states\n" + _indented("\n".join(lines)) if lines else ""

    def _by_time(self) -> list[Event]:
        # Several processes sent them, so they did not arrive in this order.
        return sorted(self.events, key=lambda event: event.at)

    def _preview(self) -> str | None:
        text = None if self.outcome is None else value_text(self.outcome)
        if text is None or len(text) <= _PREVIEW:
            return text
        return f"{text[:_PREVIEW]}... ({len(text)} characters)"


def value_text(outcome: SettledRun) -> str | None:
    """Return the value of a run as it is stored, or what there is of it; None when it has none."""
    if outcome.state.name not in SUCCESSFUL:
        return None
    if outcome.blob is not None:
        return f"({outcome.blob} bytes, stored separately)"
    if outcome.serializer != "json":
        return f"({len(outcome.payload)} bytes of {outcome.serializer})"
    # Not decoded by the task: who reports on runs has not its code.
    return outcome.payload.decode(errors="replace")


def _needs_text(needs: Needs) -> str:
    lines = [f"{name:<10}{_ids_text(ids)}" for name, ids in needs.arguments.items()]
    if needs.wait_for:
        lines.append(f"{'':<10}{_ids_text(needs.wait_for)}")
    return "waited for\n" + _indented("\n".join(lines))


def _ids_text(run_ids: tuple[str, ...]) -> str:
    more = len(run_ids) - _MOST_IDS
    return ", ".join(run_ids[:_MOST_IDS]) + (f" and {more} more" if more > 0 else "")


def facts_of(summary: RunSummary) -> dict[str, Any]:
    """Return what is known of a run under the names that a stored outcome has, too."""
    facts = asdict(summary) | {"name": summary.name, "ended": summary.ended}
    facts["message"] = facts.pop("detail")
    # With an outcome, `error` is all that is known of it.
    facts["error_type"] = facts.pop("error")
    del facts["at"]
    return facts


def _attempt_json(attempt: AttemptRecord) -> dict[str, Any]:
    failure = attempt.failure
    return asdict(attempt) | {"failure": None if failure is None else failure.to_json()}


def _history_text(history: Any) -> str:
    lines = [
        f"{attempt.number}  {_moment(attempt.started)}  "
        f"{shown(attempt.worker)}  {shown(attempt.reason)}"
        for attempt in history
    ]
    return "earlier attempts\n" + _indented("\n".join(lines))


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.rstrip().splitlines())


def _moment(at: float | None) -> str:
    if at is None:
        return "?"
    return f"{time.strftime('%Y-%m-%d', time.localtime(at))} {_clock(at)}"


def _clock(at: float) -> str:
    return f"{time.strftime('%H:%M:%S', time.localtime(at))}.{int(at % 1 * 1000):03d}"
