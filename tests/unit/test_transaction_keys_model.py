"""Of blocks with one key under SERIALIZABLE one executes, whoever dies whenever.

The real blocks, locks and records, under a clock that moves by hand. Processes may die at any time.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from plugin_models import THIS_PROCESS, Process, World

from jtask.settings import get_settings
from jtask_transactions import transaction

KEYS = ["a", "b"]
_SLACK = 0.1  # seconds until who waits looks again after a lease has ended


class Boom(Exception):
    """Raised in a block on purpose."""


class BlocksWorld(World):
    """A world whose processes enter blocks."""

    def _patches(self) -> Iterator[Any]:
        async def this_process() -> Any:
            return THIS_PROCESS.get()

        yield from super()._patches()
        yield mock.patch("jtask.client.connected_client", this_process)


@dataclass(eq=False)
class Visit:
    """One block of one process."""

    key: str
    process: Any
    number: int
    play: "asyncio.Future[bool] | None" = None
    task: Any = None
    saw: list[Any] = field(default_factory=list)
    is_dead: bool = False

    @property
    def is_over(self) -> bool:
        return self.is_dead or bool(self.task.done())

    @property
    def is_inside(self) -> bool:
        return self.play is not None and not self.play.done() and not self.is_over

    @property
    def waits(self) -> bool:
        return self.play is None and not self.is_over


class KeysMachine(RuleBasedStateMachine):
    """Some blocks and two keys, against what is recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.world = BlocksWorld([], lambda *_: None, [])
        self.visits: list[Visit] = []
        self.recorded: dict[str, int] = {}
        self.locked_by_the_dead: dict[str, float] = {}

    def now(self) -> float:
        return self.world.clock.time()

    async def visit(self, visit: Visit) -> None:
        THIS_PROCESS.set(visit.process)
        async with transaction(key=visit.key, isolation_level="SERIALIZABLE") as txn:
            if txn.is_committed():
                visit.saw.append(await txn.aread())
                return
            assert visit.key not in self.recorded, "the work is done again"
            assert not [v for v in self.visits if v.key == visit.key and v.is_inside], "two at once"
            visit.play = asyncio.get_running_loop().create_future()
            if not await visit.play:
                raise Boom
            txn.stage(visit.number)

    @rule(key=st.sampled_from(KEYS), count=st.integers(1, 3))
    def processes_enter(self, key: str, count: int) -> None:
        async def enter() -> None:
            for _ in range(count):
                loop = asyncio.get_running_loop()
                process = Process(self.world.storage, loop)
                process.inline_limit = 500_000  # type: ignore[attr-defined]
                visit = Visit(key, process, len(self.visits))
                visit.task = loop.create_task(self.visit(visit))
                self.visits.append(visit)

        self.world.do(enter())

    @precondition(lambda self: any(visit.is_inside for visit in self.visits))
    @rule(data=st.data(), succeeds=st.sampled_from([True, False, False]))
    def a_block_ends(self, data: st.DataObject, succeeds: bool) -> None:
        inside = [visit for visit in self.visits if visit.is_inside]
        visit = inside[data.draw(st.integers(0, len(inside) - 1))]

        async def end() -> None:
            assert visit.play is not None
            if succeeds:
                self.recorded[visit.key] = visit.number
            visit.play.set_result(succeeds)

        self.world.do(end())
        error = visit.task.exception()
        assert isinstance(error, Boom) if not succeeds else error is None

    @precondition(lambda self: not all(visit.is_over for visit in self.visits))
    @rule(data=st.data())
    def a_process_dies(self, data: st.DataObject) -> None:
        living = [visit for visit in self.visits if not visit.is_over]
        visit = living[data.draw(st.integers(0, len(living) - 1))]
        if visit.is_inside:
            self.locked_by_the_dead[visit.key] = self.now() + get_settings().lease + _SLACK

        async def die() -> None:
            if visit.waits:
                visit.task.cancel()  # it holds nothing
                await asyncio.sleep(0.0001)
            await visit.process.die()

        visit_waits = visit.waits
        self.world.do(die())
        visit.is_dead = not visit_waits

    @rule(seconds=st.sampled_from([1.0, 20.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.do(asyncio.sleep(seconds))

    @invariant()
    def one_executes_and_the_others_see_what_it_recorded(self) -> None:
        for visit in self.visits:
            assert visit.saw in ([], [self.recorded.get(visit.key)])
        for key in KEYS:
            waiting = [visit for visit in self.visits if visit.key == key and visit.waits]
            inside = [visit for visit in self.visits if visit.key == key and visit.is_inside]
            assert len(inside) <= 1
            if waiting and not inside:
                assert self.now() <= self.locked_by_the_dead.get(key, 0.0), "nobody goes on"

    def teardown(self) -> None:
        async def end() -> None:
            left = [visit.task for visit in self.visits if not visit.task.done()]
            for one in left:
                one.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            for visit in self.visits:
                await visit.process.die()

        self.world.do(end())
        self.world.close()


KeysMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, database=None
)
TestKeys = KeysMachine.TestCase
