"""Rules for questions to the processes that live now."""

import asyncio
import time
from collections.abc import Callable

from jtask.testing.contract.base import Contract, rule
from jtask.testing.contract.bench import Bench, until

_LONG = 20.0  # seconds; an answer comes much sooner
_SHORT = 0.5  # seconds


class RequestReplyContract(Contract):
    """Rules for `RequestReply`."""

    @rule
    async def test_who_listens_hears_the_question_and_is_answered_for(self, bench: Bench) -> None:
        listener, asker = await bench.broker(), await bench.broker()
        heard: list[bytes] = []

        def answer(question: bytes) -> bytes:
            heard.append(question)
            return b"\x00 pong \xff"

        await listener.requests.listen("ping", answer)
        said = await asker.requests.ask("ping", b"\x00 ping \xff", timeout=_LONG, answers=1)
        assert (heard, said) == ([b"\x00 ping \xff"], [b"\x00 pong \xff"])

    @rule
    async def test_everybody_who_listens_is_asked(self, bench: Bench) -> None:
        for name in (b"one", b"two", b"three"):
            await (await bench.broker()).requests.listen("who", _says(name))
        asker = await bench.broker()
        said = await asker.requests.ask("who", b"", timeout=_LONG, answers=3)
        assert sorted(said) == [b"one", b"three", b"two"]

    @rule
    async def test_all_answers_within_the_time_are_returned(self, bench: Bench) -> None:
        listener, asker = await bench.broker(), await bench.broker()
        for name in (b"one", b"two"):
            await listener.requests.listen("who", _says(name))
        assert sorted(await asker.requests.ask("who", b"", timeout=_SHORT)) == [b"one", b"two"]

    @rule
    async def test_nobody_who_listens_is_no_reason_to_wait(self, bench: Bench) -> None:
        asker = await bench.broker()
        started = time.monotonic()
        assert await asker.requests.ask("nothing", b"", timeout=3600) == []
        assert time.monotonic() - started < 3600

    @rule
    async def test_enough_answers_are_no_reason_to_wait_for_more(self, bench: Bench) -> None:
        asker = await bench.broker()
        for _ in range(3):
            await (await bench.broker()).requests.listen("who", _says(b"me"))
        assert await asker.requests.ask("who", b"", timeout=3600, answers=2) == [b"me", b"me"]

    @rule
    async def test_who_keeps_silent_is_not_among_the_answers(self, bench: Bench) -> None:
        listener, asker = await bench.broker(), await bench.broker()
        heard: list[bytes] = []
        await listener.requests.listen("who", heard.append)
        await listener.requests.listen("who", _says(b""))
        assert await asker.requests.ask("who", b"you?", timeout=_SHORT) == [b""]
        assert heard == [b"you?"]

    @rule
    async def test_a_process_hears_its_own_questions(self, bench: Bench) -> None:
        broker = await bench.broker()
        await broker.requests.listen("who", _says(b"me"))
        assert await broker.requests.ask("who", b"", timeout=_LONG, answers=1) == [b"me"]

    @rule
    async def test_topics_are_kept_apart(self, bench: Bench) -> None:
        listener, asker = await bench.broker(), await bench.broker()
        for topic in ("who", "Who", "who-1", "who_1"):
            await listener.requests.listen(topic, _says(topic.encode()))
        assert await asker.requests.ask("who-1", b"", timeout=_LONG, answers=1) == [b"who-1"]
        assert await asker.requests.ask("who", b"", timeout=_SHORT) == [b"who"]
        assert await asker.requests.ask("what", b"", timeout=_LONG) == []

    @rule
    async def test_questions_at_the_same_time_get_their_own_answers(self, bench: Bench) -> None:
        listener, asker = await bench.broker(), await bench.broker()
        await listener.requests.listen("echo", lambda question: question)
        questions = [b"%d" % number for number in range(50)]
        said = await asyncio.gather(
            *(asker.requests.ask("echo", one, timeout=_LONG, answers=1) for one in questions)
        )
        assert said == [[one] for one in questions]

    @rule
    async def test_who_listens_no_more_hears_nothing(self, bench: Bench) -> None:
        listener, asker = await bench.broker(), await bench.broker()
        gone = await listener.requests.listen("who", _says(b"gone"))
        await listener.requests.listen("who", _says(b"here"))
        await gone.close()
        assert await asker.requests.ask("who", b"", timeout=_SHORT) == [b"here"]

    @rule
    async def test_a_listener_that_fails_stays_silent_and_keeps_listening(
        self, bench: Bench
    ) -> None:
        listener, asker = await bench.broker(), await bench.broker()
        heard: list[bytes] = []

        def answer(question: bytes) -> bytes:
            heard.append(question)
            return heard[1]

        await listener.requests.listen("who", answer)
        assert await asker.requests.ask("who", b"first", timeout=_SHORT) == []
        await until(lambda: heard, "the first question is heard")
        assert await asker.requests.ask("who", b"second", timeout=_LONG, answers=1) == [b"second"]


def _says(answer: bytes) -> Callable[[bytes], bytes]:
    return lambda _: answer
