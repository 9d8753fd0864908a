"""Ask the living workers whether they hold runs, many in one question."""

import asyncio
import contextlib
from collections.abc import Iterable

from jtask.errors import BrokerUnavailable
from jtask_nats.client.protocol import NO_RESPONDERS, status_of
from jtask_nats.streams.session import Session

_COLLECT = 0.01  # seconds; the runs of a lost worker come together
_MOST = 1000  # run ids in one question
_PATIENCE = (
    0.25,
    1.0,
)  # seconds; least and most. A living worker answers at once, if it is not busy
_STALLED = 1.2  # of the patience: a wait that took longer was no wait
_STALLS = 5  # waits, at most
_LEASE_SHARE = 5  # of the lease: short ones are there to be quick


class Holders:
    """Ask which of some runs others hold; this process's own answer is not counted.

    Args:
        session: To the server.
        patience: Seconds to wait for an answer, at most 1; a share of the lease where it is None.

    Attributes:
        inbox: Where the answers arrive: who asks knows its own questions by it.
    """

    def __init__(self, session: Session, patience: float | None = None) -> None:
        self._connection = session.connection
        self._subject = session.subjects.held
        least, most = _PATIENCE
        self._patience = patience or min(most, max(least, session.settings.lease / _LEASE_SHARE))
        self._loop = asyncio.get_running_loop()
        self._asked: dict[str, list[asyncio.Future[bool]]] = {}
        self._unsent: list[str] = []
        self.inbox = self._connection.new_inbox()
        self._subscription = self._connection.subscribe(self.inbox, self._on_answer)

    async def hold(self, run_id: str) -> bool:
        """Return whether a living process holds a run; False when none says so in time."""
        # One future each: two messages of a run may be in question.
        answer: asyncio.Future[bool] = self._loop.create_future()
        self._asked.setdefault(run_id, []).append(answer)
        if not self._unsent:
            self._loop.call_later(_COLLECT, self._send)
        self._unsent.append(run_id)
        try:
            for _ in range(_STALLS):
                if await self._waited_well(answer):
                    break
            return answer.done() and answer.result()
        finally:
            self._asked[run_id].remove(answer)
            if not self._asked[run_id]:
                del self._asked[run_id]

    async def _waited_well(self, answer: "asyncio.Future[bool]") -> bool:
        """Wait for an answer; False when this process or the server got no time meanwhile."""
        begun = self._loop.time()
        await asyncio.wait([answer], timeout=self._patience)
        waited = self._loop.time()
        # What the server has had by then is here when it says so.
        if not answer.done():
            with contextlib.suppress(BrokerUnavailable):  # whoever asks looks at the connection
                await self._connection.flush()
        is_prompt = self._loop.time() - waited < self._patience
        return answer.done() or (is_prompt and waited - begun < _STALLED * self._patience)

    def close(self) -> None:
        """Listen no more."""
        self._subscription.unsubscribe()

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
