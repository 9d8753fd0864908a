"""Ask the living workers whether they hold runs, many in one question."""

import asyncio
import contextlib
from collections.abc import Collection, Iterable

from jtask.errors import BrokerUnavailable
from jtask_nats.client.protocol import NO_RESPONDERS, status_of
from jtask_nats.streams.session import Session

_COLLECT = 0.01  # seconds; the runs of a lost worker come together
_MOST = 1000  # run ids in one question
SHORT_PATIENCE = 0.25
"""Seconds to wait for an answer where a person waits for ours: a worker that is not busy answers at
once."""
_LONG_PATIENCE = 1.0
_STALLED = 1.2  # of the patience: a wait that took longer was no wait
_STALLS = 5  # waits, at most
_LEASE_SHARE = 5  # of the lease: short ones are there to be quick


class Holders:
    """Ask which of some runs living processes hold.

    Args:
        session: To the server.
        patience: Seconds to wait for an answer, at most 1; a share of the lease where it is None.

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
        self.inbox = self._connection.new_inbox()
        self._subscription = self._connection.subscribe(self.inbox, self._on_answer)

    async def hold(self, run_id: str) -> bool:
        """Return whether a living process holds a run; False when none says so in time."""
        return bool(await self.held_of((run_id,)))

    async def held_of(self, run_ids: Collection[str]) -> set[str]:
        """Return those of some runs that a living process holds, as far as it says so in time."""
        if not run_ids:
            return set()
        answers = {run_id: self._ask(run_id) for run_id in run_ids}
        try:
            for _ in range(_STALLS):
                if await self._waited_well(answers.values()):
                    break
            return {one for one, answer in answers.items() if answer.done() and answer.result()}
        finally:
            for run_id, answer in answers.items():
                self._forget(run_id, answer)

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

    def _forget(self, run_id: str, answer: "asyncio.Future[bool]") -> None:
        self._asked[run_id].remove(answer)
        if not self._asked[run_id]:
            del self._asked[run_id]

    async def _waited_well(self, answers: "Collection[asyncio.Future[bool]]") -> bool:
        """Wait for answers; False when this process or the server got no time meanwhile."""
        begun = self._loop.time()
        _, missing = await asyncio.wait(answers, timeout=self._patience)
        if not missing:
            return True
        waited = self._loop.time()
        # What the server has had by then is here when it says so.
        with contextlib.suppress(BrokerUnavailable):  # whoever asks looks at the connection
            await self._connection.flush()
        is_prompt = self._loop.time() - waited < self._patience
        return is_prompt and waited - begun < _STALLED * self._patience

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
        else:
            self._answer(data.decode(errors="replace").split(), is_held=True)

    def _answer(self, run_ids: Iterable[str], *, is_held: bool) -> None:
        for run_id in run_ids:
            for answer in self._asked.get(run_id, ()):
                if not answer.done():
                    answer.set_result(is_held)
