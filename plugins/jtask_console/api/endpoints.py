"""What can be asked under `/api`: the same as the pages show, by the same filters."""

import time
from asyncio import to_thread
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

from starlette.datastructures import QueryParams

from jtask.cli.run_report import facts_of
from jtask.client import get_client
from jtask.client.living_workers import living_workers
from jtask.errors import FilterError
from jtask.run_filters import RunFilter
from jtask_console.pages.dead_letters import grouped
from jtask_console.pages.limits import find_limits
from jtask_console.pages.page import Asked
from jtask_console.pages.queues import find_queues
from jtask_console.pages.run import find_run, result_text
from jtask_console.pages.schedules import find_schedules
from jtask_dead_letters.operations import list_letters

_MOST = 1000  # runs of a page
_DAY = 86_400.0
_MOST_BUCKETS = 500
FILTER = tuple(field.name for field in fields(RunFilter))
"""The parameters of a filter, see `jtask.run_filters`."""

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Something that can be asked.

    Attributes:
        path: Its address below `/api`.
        said: What it answers, one sentence.
        answer: Finds it.
        parameters: Of the query.
    """

    path: str
    said: str
    answer: Callable[[Asked], Awaitable[Answer]]
    parameters: tuple[str, ...] = ()


async def _runs(asked: Asked) -> Answer:
    wanted, limit = _filter_of(asked), _number(asked.query, "limit", 50, _MOST)
    after = asked.query.get("after")
    page = await asked.index.ask(lambda index: index.runs(wanted, after=after, limit=limit))
    return {
        "runs": [facts_of(run) for run in page.runs],
        "after": page.after,
        "reached": page.reached,
    }


async def _counts(asked: Asked) -> Answer:
    wanted = _filter_of(asked)
    counts = await asked.index.ask(lambda index: index.counts(wanted))
    return {"states": dict(counts), "is_exact": counts.is_exact}


async def _run(asked: Asked) -> Answer:
    found = await find_run(asked, asked.path["run_id"])
    outcome = found.outcome
    failure = None if outcome is None else outcome.failure
    return facts_of(found.summary) | {
        "states": [
            {"state": str(e.state), "at": e.at, "attempt": e.attempt, "worker": e.worker}
            | {"detail": e.detail, "until": e.until}
            for e in found.events
        ],
        "result": None if outcome is None else result_text(outcome),
        "error": None if failure is None else failure.to_json(),
    }


async def _timeline(asked: Asked) -> Answer:
    wanted, now = _filter_of(asked), time.time()
    since, until = wanted.bounds(now)
    buckets = _number(asked.query, "buckets", 60, _MOST_BUCKETS)
    found = await asked.index.ask(
        lambda index: index.timeline(
            wanted,
            since=now - _DAY if since is None else since,
            until=now if until is None else until,
            buckets=buckets,
        )
    )
    return {
        "buckets": [
            {"start": one.start, "seconds": one.seconds, "runs": one.runs}
            | {"p50": one.percentile(0.5), "p95": one.percentile(0.95)}
            for one in found
        ]
    }


async def _failures(asked: Asked) -> Answer:
    wanted, now = _filter_of(asked), time.time()
    since, until = wanted.bounds(now)
    found = await asked.index.ask(
        lambda index: index.failures(
            wanted,
            since=now - _DAY if since is None else since,
            until=now if until is None else until,
        )
    )
    return {"failures": [asdict(group) for group in found]}


async def _queues(asked: Asked) -> Answer:
    return {
        "queues": [
            {
                "name": row.info.name,
                "waiting": row.info.waiting,
                "executing": row.info.executing,
                "delayed": row.info.delayed,
                "paused": row.info.pause is not None,
                "paused_until": row.info.paused_until,
                "served": row.is_served,
                "oldest": row.oldest,
                "ended_per_minute": row.rate.per_minute,
                "ended_by_minute": list(row.rate.minutes),
            }
            for row in await find_queues(asked.index)
        ]
    }


async def _workers(asked: Asked) -> Answer:
    del asked
    client = get_client()
    return {"workers": await client.bridge(living_workers(client.broker))}


async def _schedules(asked: Asked) -> Answer:
    del asked
    return {
        "schedules": [
            {
                "name": row.schedule.declaration.name,
                "task": row.schedule.key,
                "queue": row.schedule.declaration.queue,
                "when": row.schedule.trigger.describe(),
                "timezone": row.schedule.declaration.timezone,
                "paused": row.schedule.paused,
                "next": row.next_times,
                "last": row.schedule.last,
                "orphaned": row.is_orphaned,
            }
            for row in await find_schedules()
        ]
    }


async def _limits(asked: Asked) -> Answer:
    del asked
    return {
        "limits": [
            asdict(row.limit) | {"holders": [one._asdict() for one in row.holders]}
            for row in await find_limits()
        ]
    }


async def _dead_letters(asked: Asked) -> Answer:
    task, error = asked.query.get("task") or None, asked.query.get("error") or None
    letters = await to_thread(list_letters, task=task, error=error)
    return {
        "groups": [
            {
                "task": group.task,
                "name": group.name,
                "error": group.error,
                "letters": [
                    {"run_id": one.run_id, "queue": one.queue, "reason": one.reason, "at": one.at}
                    for one in group.letters
                ],
            }
            for group in grouped(letters)
        ]
    }


ENDPOINTS = (
    Endpoint(
        "/runs",
        "A page of runs, newest first; `after` leads to the next one, even from a short page.",
        _runs,
        (*FILTER, "after", "limit"),
    ),
    Endpoint("/runs/{run_id}", "One run: its states, and its result or error.", _run),
    Endpoint("/counts", "How many runs are in which state.", _counts, FILTER),
    Endpoint(
        "/timeline",
        "How many runs ended when, and how long they took.",
        _timeline,
        ("task", "queue", "state", "since", "until", "buckets"),
    ),
    Endpoint(
        "/failures",
        "What failed, by task and error.",
        _failures,
        ("task", "queue", "state", "since", "until"),
    ),
    Endpoint("/queues", "The queues: how much waits, and how many runs end.", _queues),
    Endpoint("/workers", "The workers that live, and what each executes.", _workers),
    Endpoint("/schedules", "The schedules, and when each is due.", _schedules),
    Endpoint("/limits", "The limits that have names, and who holds their slots.", _limits),
    Endpoint(
        "/dead-letters",
        "The runs that failed for good, by task and error.",
        _dead_letters,
        ("task", "error"),
    ),
)
"""All that can be asked."""


def _filter_of(asked: Asked) -> RunFilter:
    return RunFilter.from_query(asked.query.multi_items())


def _number(query: QueryParams, name: str, default: int, most: int) -> int:
    text = query.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise FilterError(f"{name}={text}: that must be a number from 1 to {most}")
    return int(text)
