"""What the console and the command line ask an index, each several times with other values."""

import random
from collections.abc import Callable, Iterator

import many_runs

from jtask.run_filters import Condition, RunFilter
from jtask_index.reader import IndexReader

Question = tuple[str, Callable[[], object]]


class Questions:
    """Makes them.

    Args:
        index: Filled by `many_runs`.
        runs: How many there are in it.
    """

    def __init__(self, index: IndexReader, runs: int) -> None:
        self._index = index
        self._runs = runs
        self._chance = random.Random(1)

    def all(self) -> Iterator[Question]:
        """Return what is asked and what asks it."""
        yield "the newest runs", lambda: self._index.runs(RunFilter())
        for name, make in self._filters():
            yield name, lambda make=make: self._index.runs(make())
            yield f"{name}, far back", lambda make=make: self._index.runs(make(), after=self._id())
        yield from self._counts()
        yield from self._charts()
        yield "a run with its states", self._run
        yield "the family of a run", lambda: self._index.children(self._id(), limit=12)
        oldest = many_runs.run_id(0)
        yield "of a hundred thousand children", lambda: self._index.children(oldest, limit=200)

    def _filters(self) -> Iterator[tuple[str, Callable[[], RunFilter]]]:
        task, tenant = self._task, self._tenant

        def where(*texts: str) -> tuple[Condition, ...]:
            return tuple(map(Condition.parse, texts))

        yield "a task", lambda: RunFilter(task=(task(),))
        yield "a queue", lambda: RunFilter(queue=(f"queue{self._chance.randrange(10)}",))
        yield "a worker", lambda: RunFilter(worker=(self._worker(),))
        yield "a frequent state", lambda: RunFilter(state=("Completed",))
        yield "a rare state", lambda: RunFilter(state=("Expired",))
        yield "a state that only old runs have", lambda: RunFilter(state=("NotReady",))
        yield "a state that no run has", lambda: RunFilter(state=("RolledBack",))
        yield "failed or crashed", lambda: RunFilter(state=("Failed", "Crashed"))
        yield "failed of a task", lambda: RunFilter(task=(task(),), state=("Failed",))
        yield "expired of a queue", lambda: RunFilter(queue=("queue7",), state=("Expired",))
        yield (
            "failed of a worker",
            lambda: RunFilter(worker=(self._worker(),), state=("Failed",)),
        )
        yield "a frequent tag", lambda: RunFilter(tag=("eu",))
        yield "a rare tag", lambda: RunFilter(tag=("rare",))
        yield "a tag that only old runs have", lambda: RunFilter(tag=("old",))
        yield "two tags that no run has both", lambda: RunFilter(tag=("eu", "us"))
        yield "failed with a frequent tag", lambda: RunFilter(tag=("eu",), state=("Failed",))
        yield "expired with a rare tag", lambda: RunFilter(tag=("rare",), state=("Expired",))
        yield "an error", lambda: RunFilter(where=where("error=Error3"))
        yield "a rare error", lambda: RunFilter(where=where("error=RareError"))
        yield (
            "an error of old runs of a task",
            lambda: RunFilter(task=("task0",), where=where("error=OldError")),
        )
        yield "an argument", lambda: RunFilter(where=where(tenant()))
        yield (
            "an argument of one run",
            lambda: RunFilter(where=where(f"args.order.id={self._chance.randrange(self._runs)}")),
        )
        yield "an argument that no run has", lambda: RunFilter(where=where("args.tenant=none"))
        yield "a frequent argument", lambda: RunFilter(where=where("args.order.size=3"))
        yield "two arguments", lambda: RunFilter(where=where(tenant(), "args.order.size=3"))
        yield "an argument, failed", lambda: RunFilter(state=("Failed",), where=where(tenant()))
        yield (
            "an argument, failed, of a task",
            lambda: RunFilter(task=(task(),), state=("Failed",), where=where(tenant())),
        )
        yield (
            "an argument, a tag, crashed",
            lambda: RunFilter(tag=("eu",), state=("Crashed",), where=where("args.order.size=3")),
        )
        yield "the last hour of a task", lambda: RunFilter(task=(task(),), since=self._instant(36))
        yield (
            "a day, failed",
            lambda: RunFilter(
                state=("Failed",), since=self._instant(5_000), until=self._instant(4_000)
            ),
        )
        yield "a number that half exceed", lambda: RunFilter(where=where("took>1s"))
        yield "a number that few exceed", lambda: RunFilter(where=where("took>99s"))
        yield "a number that no run has", lambda: RunFilter(where=where("attempt>=9"))
        yield "an argument as a number", lambda: RunFilter(where=where("args.tenant>9990"))
        yield "a frequent text", lambda: RunFilter(text="urgent")
        yield "a text of one in a million", lambda: RunFilter(text="needle of millions")
        yield "a text that no run has", lambda: RunFilter(text="nowhere")
        yield "a text that no failed run has", lambda: RunFilter(state=("Failed",), text="nowhere")
        yield (
            "a text in an argument, of a task",
            lambda: RunFilter(task=(task(),), where=where("args.note~needle")),
        )
        yield (
            "not an error, not a version",
            lambda: RunFilter(where=where("error!=Error0", "version!=7")),
        )

    def _counts(self) -> Iterator[Question]:
        def counts(name: str, wanted: Callable[[], RunFilter]) -> Question:
            return f"counts: {name}", lambda: self._index.counts(wanted())

        where = (Condition.parse("args.order.size=3"),)
        yield counts("all", RunFilter)
        yield counts("a task", lambda: RunFilter(task=(self._task(),)))
        yield counts("a worker", lambda: RunFilter(worker=(self._worker(),)))
        yield counts("a frequent tag", lambda: RunFilter(tag=("eu",)))
        yield counts("a frequent argument", lambda: RunFilter(where=where))
        yield counts("a day", lambda: RunFilter(since=self._instant(864)))
        yield counts("a text that no run has", lambda: RunFilter(text="nowhere"))

    def _charts(self) -> Iterator[Question]:
        end = many_runs.instant(self._runs)
        index, every = self._index, RunFilter()
        for name, seconds in (("hour", 3600), ("day", 86_400), ("week", 604_800)):
            since = end - seconds
            yield (
                f"the chart of a {name}",
                lambda since=since: index.timeline(every, since=since, until=end),
            )
            yield (
                f"the failures of a {name}",
                lambda since=since: index.failures(every, since=since, until=end),
            )

    def _run(self) -> None:
        run_id = self._id()
        assert self._index.run(run_id)
        assert self._index.states(run_id)

    def _id(self) -> str:
        return many_runs.run_id(self._chance.randrange(self._runs))

    def _instant(self, thousands: int) -> str:
        from datetime import UTC, datetime

        number = self._runs - thousands * 1000
        return datetime.fromtimestamp(many_runs.instant(number), UTC).isoformat()

    def _task(self) -> str:
        return f"task{self._chance.randrange(many_runs.TASKS)}"

    def _tenant(self) -> str:
        return f"args.tenant={self._chance.randrange(many_runs.TENANTS)}"

    def _worker(self) -> str:
        at = self._chance.randrange(self._runs) // many_runs.RUNS_OF_WORKERS
        return f"host-{at}-{self._chance.randrange(many_runs.WORKERS)}"
