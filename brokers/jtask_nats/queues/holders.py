"""Ask the living workers whether they hold runs, many in one question."""

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Iterator

from jtask.errors import BrokerUnavailable
from jtask_nats.client.protocol import NO_RESPONDERS, status_of
from jtask_nats.streams.session import Session

_COLLECT = 0.01  # seconds; the runs of a lost worker come together
_MOST = 1000  # run ids in one message
_ALL = "*"  # asks for all
_FRESH = 3.0  # seconds in which the answers to a question for all are believed
SHORT_PATIENCE = 0.25
"""Seconds to wait for an answer where a person waits for ours: a worker that is not busy answers at
once."""
_LONG_PATIENCE = 1.0
_BUSY_SHARE = 3  # of the lease
_STALLED = 1.2  # of the patience: a wait that took longer was no wait
_STALLS = 5  # waits, at most
_LEASE_SHARE = 5  # of the lease: short ones are there to be quick


def busy_patience(lease: float) -> float:
    """Return the seconds to wait where much depends on it that nobody holds a run.

    C code in a task can keep a worker from answering for a while, and so can a machine that is
    busy.
    """
    return max(lease / _BUSY_SHARE, _LONG_PATIENCE)


class Holders:
    """Ask which of some runs living processes hold.

    Args:
        session: To the server.
        patience: Seconds to wait for an answer; a share of the lease where it is None.

    Attributes:
        inbox: Where the answers arrive: who is not to answer its own questions knows them by it.
    """

    def __init__(self, session: Session, patience: float | None = None) -> None:
        self._connection = session.connection
        self._subject = session.subjects.held
        of_lease = session.settings.lease / _LEASE_SHARE
        self._patience = patience or min(_LONG_PATIENCE, max(SHORT_PATIENCE, of_lease))
        self._loop = asyncio.get_running_loop()
        self._asked: dict[str, list[asyncio.Future[bool]]] = {}
        self._unsent: list[str] = []
        self._listing: asyncio.Task[frozenset[str]] | None = None
        self._listed_at = 0.0
        self._heard: set[str] = set()
        self._nobody: asyncio.Future[bool] | None = None
        self.inbox = self._connection.new_inbox()
        self._subscription = self._connection.subscribe(self.inbox, self._on_answer)

    async def hold(self, run_id: str, patience: float | None = None) -> bool:
        """Return whether a living process holds a run; False when none says so in time.

        Args:
            run_id: The run.
            patience: Seconds, where they are others for this one.
        """
        return bool(await self.held_of((run_id,), patience))

    async def held_of(self, run_ids: Collection[str], patience: float | None = None) -> set[str]:
        """Return those of some runs that a living process holds, as far as it says so in time."""
        if not run_ids:
            return set()
        answers = {run_id: self._ask(run_id) for run_id in run_ids}
        try:
            await self._wait(answers.values(), patience or self._patience)
            return {one for one, answer in answers.items() if answer.done() and answer.result()}
        finally:
            for run_id, answer in answers.items():
                self._forget_question(run_id, answer)

    async def all_held(self) -> frozenset[str]:
        """Return all runs that living processes held a moment ago: one question for many runs.

        What is missing is held by nobody, unless it was delivered since. What is there may have
        been settled since: ask for it alone.
        """
        now = self._loop.time()
        if self._listing is None or (self._listing.done() and now - self._listed_at > _FRESH):
            self._listed_at = now
            self._listing = self._loop.create_task(self._list())
        return await asyncio.shield(self._listing)

    def forget(self) -> None:
        """Believe no answer of before: the connection was lost."""
        self._listing = None

    def close(self) -> None:
        """Listen no more."""
        self._subscription.unsubscribe()

    def _ask(self, run_id: str) -> "asyncio.Future[bool]":
        # One future each: two messages of a run may be in question.
        answer: asyncio.Future[bool] = self._loop.create_future()
        self._asked.setdefault(run_id, []).append(answer)
        if not self._unsent:
            self._loop.call_later(_COLLECT, self._send)
        self._unsent.append(run_id)
        return answer

    def _forget_question(self, run_id: str, answer: "asyncio.Future[bool]") -> None:
        self._asked[run_id].remove(answer)
        if not self._asked[run_id]:
            del self._asked[run_id]

    async def _list(self) -> frozenset[str]:
        self._heard, self._nobody = set(), self._loop.create_future()
        self._connection.send(self._subject, _ALL.encode(), reply=self.inbox)
        await self._wait((self._nobody,), self._patience)
        return frozenset(self._heard)

    async def _wait(self, answers: "Collection[asyncio.Future[bool]]", patience: float) -> None:
        for _ in range(_STALLS):
            if await self._waited_well(answers, patience):
                return

    async def _waited_well(
        self, answers: "Collection[asyncio.Future[bool]]", patience: float
    ) -> bool:
        """Wait for answers; False when this process or the server got no time meanwhile."""
        begun = self._loop.time()
        _, missing = await asyncio.wait(answers, timeout=patience)
        if not missing:
            return True
        waited = self._loop.time()
        # What the server has had by then is here when it says so.
        with contextlib.suppress(BrokerUnavailable):  # whoever asks looks at the connection
            await self._connection.flush()
        is_prompt = self._loop.time() - waited < min(patience, _LONG_PATIENCE)
        return is_prompt and waited - begun < _STALLED * patience

    def _send(self) -> None:
        run_ids, self._unsent = self._unsent, []
        for start in range(0, len(run_ids), _MOST):
            question = " ".join(run_ids[start : start + _MOST]).encode()
            self._connection.send(self._subject, question, reply=self.inbox)

    def _on_answer(self, subject: str, reply: str, data: bytes, block: bytes | None) -> None:
        del subject, reply
        if status_of(block)[0] == NO_RESPONDERS:
            # No process lives that could hold any.
            self._answer(self._asked, is_held=False)
            if self._nobody is not None and not self._nobody.done():
                self._nobody.set_result(False)
        else:
            run_ids = data.decode(errors="replace").split()
            self._heard.update(run_ids)
            self._answer(run_ids, is_held=True)

    def _answer(self, run_ids: Iterable[str], *, is_held: bool) -> None:
        for run_id in run_ids:
            for answer in self._asked.get(run_id, ()):
                if not answer.done():
                    answer.set_result(is_held)


def answers_to(question: bytes, held: Iterable[str]) -> Iterator[bytes]:
    """Yield what a process answers that is asked for runs; nothing where it has none of them.

    Args:
        question: Run ids with spaces between; or the sign for all.
        held: Those that it holds.
    """
    asked = set(question.decode(errors="replace").split())
    mine = list(held if _ALL in asked else asked.intersection(held))
    for start in range(0, len(mine), _MOST):
        yield " ".join(mine[start : start + _MOST]).encode()
