"""Facts as HTML: the templates, and how values are written in them."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from jtask.durations import describe_seconds
from jtask.foreign_text import cut, shown, shown_lines
from jtask.run_summaries import name_of
from jtask.states import StateName
from jtask_console.charts import sparkline

_ICONS = {
    StateName.SCHEDULED: "clock",
    StateName.PENDING: "dots",
    StateName.RUNNING: "play",
    StateName.AWAITING_RETRY: "again",
    StateName.RETRYING: "again",
    StateName.COMPLETED: "check",
    StateName.CACHED: "copy",
    StateName.FAILED: "cross",
    StateName.TIMED_OUT: "hourglass",
    StateName.CRASHED: "bolt",
    StateName.CANCELLED: "stop",
    StateName.EXPIRED: "hourglass",
    StateName.NOT_READY: "minus",
    StateName.ROLLED_BACK: "undo",
}
# Which of the few colours a state has; shape and name say the same to who sees none of them.
_TONES = {
    StateName.RUNNING: "live",
    StateName.RETRYING: "live",
    StateName.AWAITING_RETRY: "warn",
    StateName.COMPLETED: "good",
    StateName.CACHED: "good",
    StateName.FAILED: "bad",
    StateName.TIMED_OUT: "bad",
    StateName.CRASHED: "bad",
    StateName.EXPIRED: "bad",
    StateName.NOT_READY: "bad",
}

_Names = Any
_NONE = "\u2013"
_MOST_OF_A_LINE = 200  # characters
_INNER_CAPITAL = re.compile("(?<=.)[A-Z]")


def page_html(template: str, facts: Mapping[str, Any]) -> str:
    """Return a whole page."""
    return _environment().get_template(template).render(facts)


def part_html(template: str, part: str, facts: Mapping[str, Any]) -> str:
    """Return one block of a page."""
    found = _environment().get_template(template)
    return "".join(found.blocks[part](found.new_context(dict(facts)))).strip()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("jtask_console"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    # As plain tables: jinja2's own types list what it comes with, and nothing else.
    filters: _Names = environment.filters
    names: _Names = environment.globals
    filters |= {
        "moment": moment,
        "seconds": _seconds,
        "count": _count,
        "rate": _rate,
        "words": _words,
        "short": _short,
        "line": shown,
        "lines": shown_lines,
        "cut": cut,
        "first_line": _first_line,
        "name": name_of,
    }
    names |= {"icon_of": _icon_of, "tone_of": _tone_of, "spark_points": sparkline}
    # A block that is rendered alone sees globals, and not what its template has imported.
    names["ui"] = environment.get_template("ui.html").module
    return environment


def moment(at: float | None, how: str = "ago") -> Markup:
    """Return an instant, which the page writes in its reader's own time and zone.

    Args:
        at: Seconds since the epoch; None is a dash.
        how: `ago` for a distance from now that keeps counting, `for` for how long ago that is,
            `clock` for a time of day to the millisecond, `date` for a day and a time, `minute` for
            both without seconds.
    """
    if at is None:
        return Markup('<span class="none">{}</span>').format(_NONE)
    when = datetime.fromtimestamp(at, UTC)
    exact = when.isoformat(timespec="milliseconds")
    # For those who run no scripts. Not a distance: what is sent would differ with each look.
    text = f"{when:%H:%M:%S} UTC" if how == "clock" else f"{when:%b} {when.day}, {when:%H:%M} UTC"
    return Markup('<time datetime="{}" data-as="{}">{}</time>').format(exact, how, text)


def _icon_of(state: str) -> str:
    return _ICONS.get(StateName(state), "dots")


def _tone_of(state: str) -> str:
    return _TONES.get(StateName(state), "calm")


def _first_line(text: str) -> str:
    return cut(shown(next(iter(text.splitlines()), "")), _MOST_OF_A_LINE)


def _words(name: str) -> str:
    """Return the name of a state as people write it: `Awaiting retry`."""
    return _INNER_CAPITAL.sub(lambda found: f" {found[0].lower()}", name)


def _rate(per_minute: float) -> str:
    return _count(round(per_minute)) if per_minute >= 10 else f"{per_minute:.1f}".removesuffix(".0")


def _seconds(length: float | None) -> str:
    return _NONE if length is None else describe_seconds(max(0.0, length))


def _count(number: int) -> str:
    return f"{number:,}".replace(",", "\u202f")


def _short(run_id: str) -> str:
    # A UUIDv7 begins with its time, which runs that were made together share.
    return run_id[-12:] if len(run_id) == 36 else run_id
