"""Which runs are meant: one filter for the command line, for URLs and for programs.

`RunFilter.takes` is what a filter means. An index that answers filters in a language of its own
must find the same runs.
"""

import operator
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, urlencode

from jtask.close_names import close_names
from jtask.durations import parse_seconds
from jtask.errors import FilterError
from jtask.ids import is_run_id
from jtask.run_arguments import VALUE_LENGTH, values_of
from jtask.run_summaries import RunSummary, is_of_task
from jtask.states import StateName

ARGUMENTS = "args."
"""What the field of a condition on an argument begins with."""

TEXT_FIELDS = ("error", "detail", "name", "version", "worker", "parent")
NUMBER_FIELDS = ("attempt", "took")
ORDERS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
"""The operators that compare numbers."""

_SHAPE = re.compile(r"\s*([A-Za-z_][^=!<>~]*?)\s*(!=|!~|>=|<=|=|~|>|<)(.*)", re.DOTALL)


@dataclass(frozen=True)
class Condition:
    """One condition, written as `args.tenant=7`, `took>10s` or `args.note~urgent`.

    Attributes:
        field: `args.` and the path to an argument, or one of TEXT_FIELDS and NUMBER_FIELDS.
        op: `=`, `!=`, `~` (contains), `!~`; `>`, `>=`, `<`, `<=` for numbers.
        value: What to compare with. As an argument, a number or true is as text with the same
            letters.
    """

    field: str
    op: str
    value: str

    def __post_init__(self) -> None:
        if self.path is None and self.field not in TEXT_FIELDS + NUMBER_FIELDS:
            known = (*TEXT_FIELDS, *NUMBER_FIELDS, f"{ARGUMENTS}<name>")
            near = close_names(self.field, known)
            hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(known)}"
            raise FilterError(f"runs have no field {self.field!r}: {hint}")
        if self.op in ORDERS or self.field in NUMBER_FIELDS:
            _ = self.number  # or raise
        if self.field in NUMBER_FIELDS and "~" in self.op:
            raise FilterError(f"{self}: {self.field} is a number and contains no text: use =")

    def __str__(self) -> str:
        return f"{self.field}{self.op}{self.value}"

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Read a condition.

        Raises:
            FilterError: It is none; says what one looks like.
        """
        found = _SHAPE.fullmatch(text)
        if found is None:
            raise FilterError(
                f"{text!r} is not a condition: use args.tenant=7, args.note~urgent or took>10s"
            )
        return cls(found[1], found[2], found[3].strip())

    @property
    def path(self) -> str | None:
        """Which argument is meant; None where it is about something else."""
        path = self.field.removeprefix(ARGUMENTS)
        return path[:VALUE_LENGTH] if path and path != self.field else None

    @property
    def is_negated(self) -> bool:
        """Whether it takes those runs that it does not take without the `!`."""
        return self.op.startswith("!")

    @property
    def compared(self) -> str:
        """What an argument is compared with: of those, no more than a beginning is kept."""
        return self.value[:VALUE_LENGTH]

    @cached_property
    def number(self) -> float:
        """The value as a number; a length of time in seconds.

        Raises:
            FilterError: It is none.
        """
        try:
            return parse_seconds(self.value) if self.field == "took" else float(self.value)
        except ValueError:
            what = "a length of time such as 10s" if self.field == "took" else "a number"
            raise FilterError(f"{self}: {self.value!r} is not {what}") from None

    def takes(self, run: RunSummary) -> bool:
        """Tell whether a run meets the condition."""
        return self._finds(run) is not self.is_negated

    def _finds(self, run: RunSummary) -> bool:
        if self.path is not None:
            values = (value for value in values_of(run.arguments) if value.path == self.path)
            return any(self._meets(value.value, value.number, self.compared) for value in values)
        found: Any = run.run_name if self.field == "name" else getattr(run, self.field)
        if self.field in NUMBER_FIELDS:
            return found is not None and self._compares(found)
        return self._meets(found, None, self.value)

    def _meets(self, text: str, number: float | None, wanted: str) -> bool:
        if self.op in ORDERS:
            return number is not None and self._compares(number)
        return wanted in text if "~" in self.op else wanted == text

    def _compares(self, number: float) -> bool:
        compare = ORDERS.get(self.op)
        return number == self.number if compare is None else compare(number, self.number)


@dataclass(frozen=True)
class RunFilter:
    """Which runs are meant: those that meet all that is said, of each list at least one.

    Attributes:
        state: The latest state is one of these.
        task: The task has one of these keys or names.
        queue: It was put on one of these.
        worker: One of these holds or held it.
        tag: It has all of these.
        parent: It was called or enqueued by one of these.
        since: Created at this instant or later: ISO 8601, or so long ago: `2h`.
        until: Created before this instant, likewise.
        where: Conditions, each of which it meets.
        text: Anywhere in its arguments, its name or what was said with its state; case counts.
    """

    state: tuple[str, ...] = ()
    task: tuple[str, ...] = ()
    queue: tuple[str, ...] = ()
    worker: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    parent: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
    where: tuple[Condition, ...] = ()
    text: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", tuple(map(state_named, self.state)))
        since, until = self.bounds()  # or raise
        if since is not None and until is not None and since >= until:
            raise FilterError(
                f"no run is meant: since {self.since!r} is not before until {self.until!r}"
            )
        for parent in self.parent:
            if not is_run_id(parent):
                raise FilterError(f"parent {parent!r} is not a run id")

    @classmethod
    def from_query(cls, query: str | Iterable[tuple[str, str]]) -> "RunFilter":
        """Read a filter from the query of a URL.

        Args:
            query: `state=Failed&task=reports.build&where=args.tenant%3D7`, or its pairs. Names that
                no filter has, such as those of a page, are passed over.

        Raises:
            FilterError: A state, an id, an instant or a condition is none, or no run can be meant.
        """
        pairs = parse_qsl(query.removeprefix("?")) if isinstance(query, str) else query
        given: dict[str, list[str]] = {}
        for name, value in pairs:
            if value:
                given.setdefault(name, []).append(value)
        return cls.of(given)

    @classmethod
    def of(cls, given: Mapping[str, Iterable[str]]) -> "RunFilter":
        """Return the filter whose fields have these texts.

        Raises:
            FilterError: A state, an id, an instant or a condition is none, or no run can be meant.
        """
        values: dict[str, Any] = {}
        for field in fields(cls):
            texts = [text for text in given.get(field.name, ()) if text]
            if not texts:
                continue
            if field.name == "where":
                values["where"] = tuple(map(Condition.parse, texts))
            else:
                values[field.name] = texts[-1] if field.default == "" else tuple(texts)
        return cls(**values)

    def to_query(self) -> str:
        """Return the query of a URL that `from_query` reads as this filter."""
        pairs: list[tuple[str, str]] = []
        for field in fields(self):
            value = getattr(self, field.name)
            pairs += [(field.name, str(one)) for one in ([value] if field.default == "" else value)]
        return urlencode([pair for pair in pairs if pair[1]])

    def __str__(self) -> str:
        """Return it for people; empty where all runs are meant."""
        parts: list[str] = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value and field.name == "where":
                parts += map(str, value)
            elif value:
                parts.append(f"{field.name}={value if field.default == '' else ','.join(value)}")
        return " ".join(parts)

    def bounds(self, now: float | None = None) -> tuple[float | None, float | None]:
        """Return between which instants a run was created, seconds since the epoch.

        Args:
            now: What lengths of time count back from.
        """
        now = time.time() if now is None else now
        return _instant("since", self.since, now), _instant("until", self.until, now)

    def fixed(self, now: float | None = None) -> "RunFilter":
        """Return the same filter with instants in place of lengths of time, to be kept."""
        since, until = self.bounds(now)
        return replace(self, since=_iso(since), until=_iso(until))

    def takes(self, run: RunSummary) -> bool:
        """Tell whether a run is meant."""
        since, until = self.bounds()
        return (
            _is_one_of(run.state, self.state)
            and (not self.task or any(is_of_task(run.task, wanted) for wanted in self.task))
            and _is_one_of(run.queue, self.queue)
            and _is_one_of(run.worker, self.worker)
            and _is_one_of(run.parent, self.parent)
            and set(self.tag) <= set(run.tags)
            and (since is None or run.created >= since)
            and (until is None or run.created < until)
            and all(condition.takes(run) for condition in self.where)
            and any(self.text in text for text in (run.arguments, run.run_name, run.detail))
        )


def state_named(given: str) -> str:
    """Return the name of a state that somebody typed.

    Raises:
        FilterError: There is none; says which is near.
    """
    names = {name.lower(): name.value for name in StateName}
    if given.lower() in names:
        return names[given.lower()]
    near = close_names(given.lower(), names)
    hint = f"did you mean {names[near[0]]}?" if near else f"use one of {', '.join(StateName)}"
    raise FilterError(f"there is no state {given!r}: {hint}")


def _is_one_of(value: str, wanted: tuple[str, ...]) -> bool:
    return not wanted or value in wanted


def _instant(name: str, text: str, now: float) -> float | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        pass
    try:
        return now - parse_seconds(text)
    except ValueError:
        raise FilterError(
            f"{name}: {text!r} is not a date or time: use 2031-05-04T18:30, or 2h for two hours ago"
        ) from None


def _iso(instant: float | None) -> str:
    return "" if instant is None else datetime.fromtimestamp(instant).astimezone().isoformat()
