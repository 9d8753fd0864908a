"""Publishing against a real nats-server that is killed, paused, filled up and cut off."""

import asyncio
import itertools
import os
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from nats_clients import Connected
from nats_publishing import GUEST, PATIENT, Publishing, make_stream, stored
from nats_servers import NatsServer, Proxy, StartNats
from waiting import until

from jtask.errors import BrokerError, BrokerFull, BrokerUnavailable, PermissionDenied
from jtask_nats.client.batches import BatchMessages
from jtask_nats.client.connection import Connection
from jtask_nats.client.nats_errors import DUPLICATE_IN_BATCH, WRONG_LAST_SEQUENCE, ApiError
from jtask_nats.client.pending import PubAck, read_ack, refusal_in
from jtask_nats.client.publisher import BATCH_LIMIT, Publisher


def msg_id(name: object) -> bytes:
    return f"Nats-Msg-Id: {name}\r\n".encode()


def test_a_publish_is_acknowledged_with_its_sequence(publishing: Publishing) -> None:
    async def main(_: Connection, publisher: Publisher) -> None:
        assert await publisher.publish("s.x", b"1", msg_id("a")) == PubAck(1)
        assert await publisher.publish("s.x", b"2", msg_id("b")) == PubAck(2)
        assert await publisher.publish("s.x", b"1", msg_id("a")) == PubAck(1, duplicate=True)

    publishing(main)


def test_pipelined_publishes_are_stored_in_order(publishing: Publishing) -> None:
    async def main(_: Connection, publisher: Publisher) -> None:
        acks = await asyncio.gather(
            *(publisher.publish("s.x", b"%d" % n, msg_id(n)) for n in range(5000))
        )
        assert [ack.seq for ack in acks] == list(range(1, 5001))

    publishing(main)


def test_a_counter_stream_answers_with_its_value(publishing: Publishing) -> None:
    async def main(_: Connection, publisher: Publisher) -> None:
        ack = await publisher.publish("s.n", b"", b"Nats-Incr: +5\r\n" + msg_id(1))
        assert ack.value == 5
        ack = await publisher.publish("s.n", b"", b"Nats-Incr: -7\r\n" + msg_id(2))
        assert ack.value == -2

    publishing(main, allow_msg_counter=True, allow_direct=True)


def test_refusals_keep_the_servers_error_code(publishing: Publishing) -> None:
    async def main(_: Connection, publisher: Publisher) -> None:
        only_first = b"Nats-Expected-Last-Subject-Sequence: 0\r\n"
        await publisher.publish("s.x", b"1", only_first)
        with pytest.raises(ApiError, match="wrong last sequence: 1") as caught:
            await publisher.publish("s.x", b"2", only_first)
        assert caught.value.err_code == WRONG_LAST_SEQUENCE

    publishing(main)


def test_a_full_subject_is_a_refusal_and_not_a_full_broker(publishing: Publishing) -> None:
    async def main(_: Connection, publisher: Publisher) -> None:
        await publisher.publish("s.x", b"1", msg_id(1))
        with pytest.raises(ApiError) as caught:
            await publisher.publish("s.x", b"2", msg_id(2))
        assert caught.value.err_code == 10077
        assert not isinstance(caught.value, BrokerFull)

    publishing(main, discard="new", discard_new_per_subject=True, max_msgs_per_subject=1)


def test_a_full_store_raises_broker_full(publishing: Publishing, start_nats: StartNats) -> None:
    server = start_nats(jetstream="max_file_store: 1MB")

    async def main(_: Connection, publisher: Publisher) -> None:
        many = [publisher.publish("s.x", b"x" * 50_000, msg_id(n)) for n in range(100)]
        answers = await asyncio.gather(*many, return_exceptions=True)
        assert isinstance(answers[0], PubAck)
        assert isinstance(answers[-1], BrokerFull)
        assert "insufficient resources" in str(answers[-1])
        assert "max_file_store" in str(answers[-1])  # a way out
        with pytest.raises(BrokerFull):
            await asyncio.to_thread(
                publisher.publish_from_thread, "s.x", b"x" * 50_000, msg_id("thread")
            )
        with pytest.raises(BrokerFull):
            await publisher.publish_batch([("s.x", msg_id(n), b"x" * 9000) for n in range(9)])

    publishing(main, to=server)


def test_what_is_not_permitted_is_told_before_the_timeout(
    connected: Connected, start_nats: StartNats
) -> None:
    server = start_nats(config=GUEST)

    async def main(connection: Connection) -> None:
        await make_stream(connection, allow_atomic=True)
        publisher = Publisher(connection, timeout=1000)
        with pytest.raises(PermissionDenied, match=r"s\.closed\.x"):
            await publisher.publish("s.closed.x", b"", msg_id(1))
        with pytest.raises(PermissionDenied, match=r"s\.closed\.y"):
            await asyncio.to_thread(publisher.publish_from_thread, "s.closed.y", b"", msg_id(2))
        with pytest.raises(PermissionDenied, match=r"s\.closed\.z"):
            await publisher.publish_batch(
                [("s.open", msg_id(3), b""), ("s.closed.z", msg_id(4), b""), ("s.x", b"", b"")]
            )
        assert await stored(connection) == 0

    connected(main, server, user="guest", password="guest")


def test_headers_count_towards_the_servers_limit(publishing: Publishing) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        lost: list[str] = []
        connection.on_disconnect(lambda: lost.append("lost"))
        headers = msg_id("x" * 100)
        overhead = len(headers) + len(b"NATS/1.0\r\n\r\n")
        body = b"x" * (connection.max_payload - overhead)
        with pytest.raises(BrokerError, match="at most 1048576"):
            await publisher.publish("s.x", body + b"x", headers)
        with pytest.raises(BrokerError, match="at most 1048576"):
            await asyncio.to_thread(publisher.publish_from_thread, "s.x", body + b"x", headers)
        with pytest.raises(BrokerError, match="at most 1048576"):
            await publisher.publish_batch([("s.x", msg_id(1), b""), ("s.x", headers, body)])
        for subject in ("s.with blank", "", "s.x\r\nPING", "s." + "x" * 2000):
            with pytest.raises(BrokerError, match="not a valid NATS subject"):
                publisher.prepare_batch(
                    BatchMessages.of([("s.x", msg_id(1), b""), (subject, msg_id(2), b"")])
                )
        await publisher.publish("s.x", body, headers)
        assert await stored(connection) == 1
        assert lost == []

    publishing(main)


def test_a_publish_while_the_server_is_down_fails_after_the_timeout(
    publishing: Publishing, nats_server: NatsServer
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        nats_server.kill()
        await until(lambda: not connection.is_connected)
        with pytest.raises(BrokerUnavailable, match=r"within 0\.5 s \(not connected\)"):
            await publisher.publish("s.x", b"", msg_id(1))
        with pytest.raises(BrokerUnavailable, match=r"within 0\.5 s \(not connected\)"):
            await asyncio.to_thread(publisher.publish_from_thread, "s.x", b"", msg_id(2))

    publishing(main, timeout=0.5)


@pytest.mark.parametrize("refusal", [None, 10176])
def test_a_message_that_a_living_server_does_not_store_in_time_is_told_with_the_way_out(
    connected: Connected, refusal: int | None
) -> None:
    async def main(connection: Connection) -> None:
        def answer(subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
            if refusal:
                connection.send(reply, b'{"error": {"err_code": %d}}' % refusal)

        # A server whose disk was full does not answer one message, and so refuses a batch.
        connection.subscribe("s.x", answer)
        publisher = Publisher(connection, timeout=0.5)
        with pytest.raises(BrokerUnavailable, match="if its disk was full, make room and restart"):
            await publisher.publish("s.x", b"", msg_id(1))
        with pytest.raises(BrokerUnavailable, match=str(refusal or "no answer")):
            await asyncio.to_thread(publisher.publish_from_thread, "s.x", b"", msg_id(2))

    connected(main)


def test_a_stream_that_comes_late_gets_the_message(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        publisher = Publisher(connection, timeout=PATIENT)
        waiting = publisher.publish("s.x", b"", msg_id(1))
        blocked = asyncio.create_task(
            asyncio.to_thread(publisher.publish_from_thread, "s.y", b"", msg_id(2))
        )
        # Both have been refused once when a request sent later has its answer.
        assert (await connection.request("s.z")).status == 503
        assert not waiting.done()
        await make_stream(connection, allow_atomic=True)
        await asyncio.gather(waiting, blocked)
        assert await stored(connection) == 2

    connected(main)


def test_a_subject_without_stream_is_named_after_the_timeout(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        publisher = Publisher(connection, timeout=0.3)
        with pytest.raises(BrokerUnavailable, match=r"no stream .* for t\.x"):
            await publisher.publish("t.x", b"", msg_id(1))

    connected(main)


def test_a_paused_server_gets_each_message_once(
    publishing: Publishing, nats_server: NatsServer
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        nats_server.pause()
        acks = asyncio.gather(*(publisher.publish("s.x", b"x", msg_id(n)) for n in range(100)))
        await until(
            lambda: all(pending.sent > 1 for pending in publisher._unanswered._pending.values())
        )
        nats_server.resume()
        assert [ack.seq for ack in await acks] == list(range(1, 101))
        assert await stored(connection) == 100

    publishing(main)


def test_killing_the_server_loses_no_pipelined_publish(
    publishing: Publishing, nats_server: NatsServer
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        futures = [publisher.publish("s.x", b"x" * 200, msg_id(n)) for n in range(1000)]
        await futures[300]
        nats_server.pause()  # so that some are surely under way
        futures += [publisher.publish("s.x", b"x" * 200, msg_id(n)) for n in range(1000, 2000)]
        await until(lambda: connection._outbox.is_empty)
        nats_server.kill()
        assert not futures[-1].done()
        nats_server.start()
        acks = await asyncio.gather(*futures)
        assert len({ack.seq for ack in acks}) == 2000
        assert await stored(connection) == 2000

    publishing(main)


def test_a_lost_answer_is_asked_for_again(publishing: Publishing, proxy: Proxy) -> None:
    async def main(_: Connection, publisher: Publisher) -> None:
        proxy.cut_before_answer = b'"seq"'
        assert await publisher.publish("s.x", b"", msg_id(1)) == PubAck(1, duplicate=True)
        proxy.cut_before_answer = b'"seq"'
        ack = await asyncio.to_thread(publisher.publish_from_thread, "s.x", b"", msg_id(2))
        assert ack == PubAck(2, duplicate=True)
        assert proxy.cuts == 2

    publishing(main, proxy)


def test_a_batch_is_stored_whole_and_in_order(publishing: Publishing) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        for size in (1, 2, BATCH_LIMIT):
            before = await stored(connection)
            batch = [(f"s.{n}", msg_id(f"{size}-{n}"), b"%d" % n) for n in range(size)]
            await publisher.publish_batch(batch)
            assert await stored(connection) == before + size

    publishing(main)


@pytest.mark.parametrize("size", [0, BATCH_LIMIT + 1])
def test_a_batch_of_another_size_is_refused_before_anything_is_sent(
    publishing: Publishing, size: int
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        with pytest.raises(BrokerError, match=f"1 to 1000 messages, not {size}"):
            await publisher.publish_batch([("s.x", msg_id(n), b"") for n in range(size)])
        assert await stored(connection) == 0

    publishing(main)


def test_a_batch_with_one_refused_message_stores_nothing(publishing: Publishing) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        bad = b"Nats-Expected-Last-Subject-Sequence: 99\r\n"
        batch = [(f"s.{n}", msg_id(n), b"") for n in range(10)]
        batch[5] = ("s.5", msg_id(5) + bad, b"")
        with pytest.raises(ApiError) as caught:
            await publisher.publish_batch(batch)
        assert caught.value.err_code == WRONG_LAST_SEQUENCE
        assert await stored(connection) == 0

    publishing(main)


def test_a_batch_with_an_id_that_is_stored_is_refused(publishing: Publishing) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        await publisher.publish("s.x", b"", msg_id(3))
        with pytest.raises(ApiError) as caught:
            await publisher.publish_batch([("s.x", msg_id(n), b"") for n in range(5)])
        assert caught.value.err_code == DUPLICATE_IN_BATCH
        assert await stored(connection) == 1

    publishing(main)


def test_many_batches_at_once_stay_within_what_a_stream_allows(publishing: Publishing) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        await asyncio.gather(
            *(
                publisher.publish_batch([("s.x", msg_id(f"{k}-{n}"), b"") for n in range(20)])
                for k in range(100)
            )
        )
        assert await stored(connection) == 2000

    publishing(main)


def test_a_batch_whose_answer_was_lost_is_stored_once(publishing: Publishing, proxy: Proxy) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        proxy.cut_before_answer = b'"batch"'
        await publisher.publish_batch([("s.x", msg_id(n), b"%d" % n) for n in range(50)])
        assert proxy.cuts == 1
        assert await stored(connection) == 50

    publishing(main, proxy)


def test_a_torn_batch_is_stored_once_and_whole(publishing: Publishing, proxy: Proxy) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        proxy.cut_after_request = b"Nats-Batch-Sequence: 25\r\n\r\nx\r\n"
        await publisher.publish_batch([("s.x", msg_id(n), b"x") for n in range(50)])
        assert proxy.cuts == 1
        assert await stored(connection) == 50

    publishing(main, proxy)


def test_a_batch_begun_in_a_thread_is_stored_once_although_its_answer_was_lost(
    publishing: Publishing, proxy: Proxy
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        proxy.cut_before_answer = b'"batch"'
        batch = publisher.prepare_batch(
            BatchMessages.of([("s.x", msg_id(n), b"%d" % n) for n in range(50)])
        )
        finish = await asyncio.to_thread(publisher.begin_from_thread, batch)
        assert finish is not None
        await finish()
        assert proxy.cuts == 1
        assert await stored(connection) == 50

    publishing(main, proxy)


def test_threads_begin_no_more_batches_than_a_stream_allows(publishing: Publishing) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        batches = [
            publisher.prepare_batch(
                BatchMessages.of([("s.x", msg_id(f"{k}-{n}"), b"") for n in range(20)])
            )
            for k in range(60)
        ]
        begun = [await asyncio.to_thread(publisher.begin_from_thread, batch) for batch in batches]
        late = [batch for batch, finish in zip(batches, begun, strict=True) if finish is None]
        assert late
        await asyncio.gather(*(finish() for finish in begun if finish is not None))
        assert await stored(connection) == 20 * (60 - len(late))
        # There is room again.
        finish = await asyncio.to_thread(publisher.begin_from_thread, late[0])
        assert finish is not None
        await finish()

    publishing(main)


def test_killing_the_server_keeps_batches_whole(
    publishing: Publishing, nats_server: NatsServer
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        batches = [
            asyncio.create_task(
                publisher.publish_batch(
                    [(f"s.{k}", msg_id(f"{k}-{n}"), b"x" * 200) for n in range(200)]
                )
            )
            for k in range(20)
        ]
        await asyncio.wait(batches, return_when=asyncio.FIRST_COMPLETED)
        nats_server.kill()
        nats_server.start()
        await asyncio.gather(*batches)
        assert await stored(connection) == 4000

    publishing(main)


def test_a_hundred_threads_publish_at_once(publishing: Publishing) -> None:
    async def main(_: Connection, publisher: Publisher) -> None:
        together = threading.Barrier(100)

        def publish(thread: int) -> list[int]:
            together.wait()
            return [
                publisher.publish_from_thread("s.x", b"x", msg_id(f"{thread}-{n}")).seq
                for n in range(20)
            ]

        sequences = await in_threads(100, publish)
        assert sorted(itertools.chain(*sequences)) == list(range(1, 2001))

    publishing(main)


async def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(count) as pool:
        return await asyncio.gather(
            *(loop.run_in_executor(pool, work, thread) for thread in range(count))
        )


def test_threads_and_loop_never_mix_their_bytes(
    publishing: Publishing, nats_server: NatsServer
) -> None:
    """What the kernel does not take at once must be sent before anything else."""

    async def main(connection: Connection, publisher: Publisher) -> None:
        nats_server.pause()

        def publish(thread: int) -> None:
            body = bytes([thread]) * 500_000
            for n in range(5):
                publisher.publish_from_thread("s.t", body, msg_id(f"t{thread}-{n}"))

        threads = asyncio.create_task(in_threads(10, publish))
        futures = [publisher.publish("s.l", b"x" * 100_000, msg_id(f"l{n}")) for n in range(100)]
        await until(lambda: len(publisher._unanswered._pending) == 10 + len(futures))
        assert connection._socket._carry
        nats_server.resume()
        await asyncio.gather(threads, *futures)
        info = await connection.api("STREAM.INFO.S", {"subjects_filter": ">"})
        assert info["state"]["subjects"] == {"s.t": 50, "s.l": 100}
        assert info["state"]["bytes"] > 50 * 500_000 + 100 * 100_000

    publishing(main)


def test_killing_the_server_twice_loses_nothing_of_publishing_threads(
    publishing: Publishing, nats_server: NatsServer
) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        acked: list[int] = []
        enough = threading.Event()

        def publish(thread: int) -> None:
            for n in itertools.takewhile(lambda _: not enough.is_set(), itertools.count()):
                headers = msg_id(f"{thread}-{n}")
                acked.append(publisher.publish_from_thread("s.x", b"x" * 200, headers).seq)

        threads = asyncio.create_task(in_threads(8, publish))
        for _ in range(2):
            before = len(acked)
            await until(lambda: len(acked) > before + 200)  # noqa: B023 - awaited here
            nats_server.kill()
            nats_server.start()
        before = len(acked)
        await until(lambda: len(acked) > before + 200)
        enough.set()
        await threads
        assert len(set(acked)) == len(acked)
        assert await stored(connection) == len(acked)

    publishing(main)


def test_a_forked_child_cannot_write_to_the_parents_connection(publishing: Publishing) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads, Python 3.12
            child = os.fork()
        if child == 0:
            status = 1
            try:
                publisher.publish_from_thread("s.x", b"", msg_id("child"))
            except BrokerUnavailable as error:
                status = 0 if "after the fork" in str(error) else 2
            finally:
                connection.abandon()
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        await asyncio.to_thread(publisher.publish_from_thread, "s.x", b"", msg_id("parent"))
        assert await stored(connection) == 1

    publishing(main)


def test_closing_tells_whoever_still_waits(publishing: Publishing, nats_server: NatsServer) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        nats_server.kill()
        await until(lambda: not connection.is_connected)
        waiting = publisher.publish("s.x", b"", msg_id(1))
        blocked = asyncio.create_task(
            asyncio.to_thread(publisher.publish_from_thread, "s.x", b"", msg_id(2))
        )
        await until(lambda: len(publisher._unanswered._pending) == 2)
        await connection.close()
        for future in (waiting, blocked):
            with pytest.raises(BrokerUnavailable, match="closed before"):
                await future

    publishing(main)


def test_what_is_published_after_the_close_is_told_so_at_once(publishing: Publishing) -> None:
    async def main(connection: Connection, publisher: Publisher) -> None:
        await connection.close()
        with pytest.raises(BrokerUnavailable, match="closed before"):
            await publisher.publish("s.x", b"", msg_id(1))
        with pytest.raises(BrokerUnavailable, match="closed before"):
            await asyncio.to_thread(publisher.publish_from_thread, "s.x", b"", msg_id(2))
        with pytest.raises(BrokerUnavailable, match="closed before"):
            await publisher.publish_batch([("s.x", msg_id(n), b"") for n in range(3)])
        batch = publisher.prepare_batch(
            BatchMessages.of([("s.x", msg_id(n), b"") for n in range(3)])
        )
        with pytest.raises(BrokerUnavailable, match="closed before"):
            await asyncio.to_thread(publisher.begin_from_thread, batch)

    publishing(main, timeout=1000)


@pytest.mark.parametrize(
    ("answer", "ack"),
    [
        (b'{"stream":"S", "seq":7}', PubAck(7)),
        (b'{"stream":"S","seq":7,"duplicate": true}', PubAck(7, duplicate=True)),
        (b'{"stream":"S","seq":7,"domain":"d"}', PubAck(7)),
        (b'{"stream":"S","seq":7,"batch":"b","count":3}', PubAck(7)),
        (b'{"stream":"S","seq":7,"val":"-12"}', PubAck(7, value=-12)),
    ],
)
def test_answers_are_read(answer: bytes, ack: PubAck) -> None:
    assert refusal_in(answer, "s") is None
    assert read_ack(answer) == ack


@pytest.mark.parametrize("answer", [b"", b"+OK", b'{"error":3}', b"[]", b'{"type":"x"}'])
def test_an_answer_that_is_none_is_an_error(answer: bytes) -> None:
    assert isinstance(refusal_in(answer, "s"), ApiError)
