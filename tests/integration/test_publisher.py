"""Publishing against a real nats-server that is killed, paused, filled up and cut off."""

import asyncio
import itertools
import os
import threading
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jtask.errors import BrokerError, BrokerFull, BrokerUnavailable, PermissionDenied
from jtask_nats.connection import Connection
from jtask_nats.nats_errors import DUPLICATE_IN_BATCH, WRONG_LAST_SEQUENCE, ApiError
from jtask_nats.pending import PubAck, read_ack
from jtask_nats.publisher import BATCH_LIMIT, Publisher

NatsServer = Any  # the classes in conftest.py, which tests cannot import
Proxy = Any
Run = Callable[[Coroutine[Any, Any, Any]], Any]
Connect = Callable[..., Awaitable[Connection]]

GUEST = """
authorization { users: [
  { user: guest, password: guest, permissions: { publish: { deny: "s.closed.>" } } }
] }
"""
PATIENT = 50.0  # seconds


def msg_id(name: object) -> bytes:
    return f"Nats-Msg-Id: {name}\r\n".encode()


async def make_stream(connection: Connection, **config: Any) -> None:
    settings = {"name": "S", "subjects": ["s.>"], "allow_atomic": True, **config}
    await connection.api("STREAM.CREATE.S", settings)


async def stored(connection: Connection) -> int:
    info = await connection.api("STREAM.INFO.S", timeout=30)
    return info["state"]["messages"]


async def open_publisher(
    connect: Connect, server: NatsServer, timeout: float = PATIENT, **config: Any
) -> tuple[Connection, Publisher]:
    connection = await connect(server)
    await make_stream(connection, **config)
    return connection, Publisher(connection, timeout=timeout)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_publish_is_acknowledged_with_its_sequence(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection, publisher = await open_publisher(connect, nats_server)
        assert await publisher.publish("s.x", b"1", msg_id("a")) == PubAck(1)
        assert await publisher.publish("s.x", b"2", msg_id("b")) == PubAck(2)
        assert await publisher.publish("s.x", b"1", msg_id("a")) == PubAck(1, duplicate=True)
        await connection.close()

    run(main())


def test_pipelined_publishes_are_stored_in_order(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection, publisher = await open_publisher(connect, nats_server)
        acks = await asyncio.gather(
            *(publisher.publish("s.x", b"%d" % n, msg_id(n)) for n in range(5000))
        )
        assert [ack.seq for ack in acks] == list(range(1, 5001))
        await connection.close()

    run(main())


def test_a_counter_stream_answers_with_its_value(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection, publisher = await open_publisher(
            connect, nats_server, allow_msg_counter=True, allow_direct=True
        )
        ack = await publisher.publish("s.n", b"", b"Nats-Incr: +5\r\n" + msg_id(1))
        assert ack.value == 5
        ack = await publisher.publish("s.n", b"", b"Nats-Incr: -7\r\n" + msg_id(2))
        assert ack.value == -2
        await connection.close()

    run(main())


def test_refusals_keep_the_servers_error_code(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection, publisher = await open_publisher(connect, nats_server)
        only_first = b"Nats-Expected-Last-Subject-Sequence: 0\r\n"
        await publisher.publish("s.x", b"1", only_first)
        with pytest.raises(ApiError, match="wrong last sequence: 1") as caught:
            await publisher.publish("s.x", b"2", only_first)
        assert caught.value.err_code == WRONG_LAST_SEQUENCE
        await connection.close()

    run(main())


def test_a_full_subject_is_a_refusal_and_not_a_full_broker(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection, publisher = await open_publisher(
            connect,
            nats_server,
            discard="new",
            discard_new_per_subject=True,
            max_msgs_per_subject=1,
        )
        await publisher.publish("s.x", b"1", msg_id(1))
        with pytest.raises(ApiError) as caught:
            await publisher.publish("s.x", b"2", msg_id(2))
        assert caught.value.err_code == 10077
        assert not isinstance(caught.value, BrokerFull)
        await connection.close()

    run(main())


def test_a_full_store_raises_broker_full(
    start_nats: Callable[..., NatsServer], run: Run, connect: Connect
) -> None:
    server = start_nats(jetstream="max_file_store: 1MB")

    async def main() -> None:
        connection, publisher = await open_publisher(connect, server)
        many = [publisher.publish("s.x", b"x" * 50_000, msg_id(n)) for n in range(100)]
        answers = await asyncio.gather(*many, return_exceptions=True)
        assert isinstance(answers[0], PubAck)
        assert isinstance(answers[-1], BrokerFull)
        assert "insufficient resources" in str(answers[-1])
        with pytest.raises(BrokerFull):
            await asyncio.to_thread(
                publisher.publish_from_thread, "s.x", b"x" * 50_000, msg_id("thread")
            )
        with pytest.raises(BrokerFull):
            await publisher.publish_batch([("s.x", msg_id(n), b"x" * 9000) for n in range(9)])
        await connection.close()

    run(main())


def test_what_is_not_permitted_is_told_before_the_timeout(
    start_nats: Callable[..., NatsServer], run: Run, connect: Connect
) -> None:
    server = start_nats(config=GUEST)

    async def main() -> None:
        connection = await connect(server, user="guest", password="guest")
        await make_stream(connection)
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
        await connection.close()

    run(main())


def test_headers_count_towards_the_servers_limit(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection, publisher = await open_publisher(connect, nats_server)
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
        await publisher.publish("s.x", body, headers)
        assert await stored(connection) == 1
        assert lost == []
        await connection.close()

    run(main())


def test_a_publish_while_the_server_is_down_fails_after_the_timeout(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection, publisher = await open_publisher(connect, nats_server, timeout=0.5)
        nats_server.kill()
        await eventually(lambda: not connection.is_connected)
        with pytest.raises(BrokerUnavailable, match=r"within 0\.5 s \(not connected\)"):
            await publisher.publish("s.x", b"", msg_id(1))
        with pytest.raises(BrokerUnavailable, match=r"within 0\.5 s \(not connected\)"):
            await asyncio.to_thread(publisher.publish_from_thread, "s.x", b"", msg_id(2))
        await connection.close()

    run(main())


def test_a_stream_that_comes_late_gets_the_message(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection = await connect(nats_server)
        publisher = Publisher(connection, timeout=PATIENT)
        waiting = publisher.publish("s.x", b"", msg_id(1))
        blocked = asyncio.create_task(
            asyncio.to_thread(publisher.publish_from_thread, "s.y", b"", msg_id(2))
        )
        # Both have been refused once when a request sent later has its answer.
        assert (await connection.request("s.z")).status == 503
        assert not waiting.done()
        await make_stream(connection)
        await asyncio.gather(waiting, blocked)
        assert await stored(connection) == 2
        await connection.close()

    run(main())


def test_a_subject_without_stream_is_named_after_the_timeout(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection = await connect(nats_server)
        publisher = Publisher(connection, timeout=0.3)
        with pytest.raises(BrokerUnavailable, match=r"no stream .* for t\.x"):
            await publisher.publish("t.x", b"", msg_id(1))
        await connection.close()

    run(main())


def test_a_paused_server_gets_each_message_once(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection, publisher = await open_publisher(connect, nats_server)
        nats_server.pause()
        acks = asyncio.gather(*(publisher.publish("s.x", b"x", msg_id(n)) for n in range(100)))
        await asyncio.sleep(3)  # longer than the publisher waits before it sends again
        nats_server.resume()
        assert [ack.seq for ack in await acks] == list(range(1, 101))
        assert await stored(connection) == 100
        await connection.close()

    run(main())


def test_killing_the_server_loses_no_pipelined_publish(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection, publisher = await open_publisher(connect, nats_server)
        futures = [publisher.publish("s.x", b"x" * 200, msg_id(n)) for n in range(1000)]
        await futures[300]
        nats_server.pause()  # so that some are surely under way
        futures += [publisher.publish("s.x", b"x" * 200, msg_id(n)) for n in range(1000, 2000)]
        await asyncio.sleep(0.1)
        nats_server.kill()
        assert not futures[-1].done()
        nats_server.start()
        acks = await asyncio.gather(*futures)
        assert len({ack.seq for ack in acks}) == 2000
        assert await stored(connection) == 2000
        await connection.close()

    run(main())


def test_a_lost_answer_is_asked_for_again(nats_server: NatsServer, run: Run, proxy: Proxy) -> None:
    async def main() -> None:
        connection = await Connection.open([await proxy.start()], name="test", connect_timeout=20)
        await make_stream(connection)
        publisher = Publisher(connection, timeout=PATIENT)
        proxy.cut_before_answer = b'"seq"'
        assert await publisher.publish("s.x", b"", msg_id(1)) == PubAck(1, duplicate=True)
        proxy.cut_before_answer = b'"seq"'
        ack = await asyncio.to_thread(publisher.publish_from_thread, "s.x", b"", msg_id(2))
        assert ack == PubAck(2, duplicate=True)
        assert proxy.cuts == 2
        await connection.close()
        await proxy.stop()

    run(main())


def test_a_batch_is_stored_whole_and_in_order(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection, publisher = await open_publisher(connect, nats_server)
        for size in (1, 2, BATCH_LIMIT):
            before = await stored(connection)
            batch = [(f"s.{n}", msg_id(f"{size}-{n}"), b"%d" % n) for n in range(size)]
            await publisher.publish_batch(batch)
            assert await stored(connection) == before + size
        await connection.close()

    run(main())


@pytest.mark.parametrize("size", [0, BATCH_LIMIT + 1])
def test_a_batch_of_another_size_is_refused_before_anything_is_sent(
    size: int, nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection, publisher = await open_publisher(connect, nats_server)
        with pytest.raises(BrokerError, match=f"1 to 1000 messages, not {size}"):
            await publisher.publish_batch([("s.x", msg_id(n), b"") for n in range(size)])
        assert await stored(connection) == 0
        await connection.close()

    run(main())


def test_a_batch_with_one_refused_message_stores_nothing(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection, publisher = await open_publisher(connect, nats_server)
        bad = b"Nats-Expected-Last-Subject-Sequence: 99\r\n"
        batch = [(f"s.{n}", msg_id(n), b"") for n in range(10)]
        batch[5] = ("s.5", msg_id(5) + bad, b"")
        with pytest.raises(ApiError) as caught:
            await publisher.publish_batch(batch)
        assert caught.value.err_code == WRONG_LAST_SEQUENCE
        assert await stored(connection) == 0
        await connection.close()

    run(main())


def test_a_batch_with_an_id_that_is_stored_is_refused(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection, publisher = await open_publisher(connect, nats_server)
        await publisher.publish("s.x", b"", msg_id(3))
        with pytest.raises(ApiError) as caught:
            await publisher.publish_batch([("s.x", msg_id(n), b"") for n in range(5)])
        assert caught.value.err_code == DUPLICATE_IN_BATCH
        assert await stored(connection) == 1
        await connection.close()

    run(main())


def test_many_batches_at_once_stay_within_what_a_stream_allows(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection, publisher = await open_publisher(connect, nats_server)
        await asyncio.gather(
            *(
                publisher.publish_batch([("s.x", msg_id(f"{k}-{n}"), b"") for n in range(20)])
                for k in range(100)
            )
        )
        assert await stored(connection) == 2000
        await connection.close()

    run(main())


def test_a_batch_whose_answer_was_lost_is_stored_once(
    nats_server: NatsServer, run: Run, proxy: Proxy
) -> None:
    async def main() -> None:
        connection = await Connection.open([await proxy.start()], name="test", connect_timeout=20)
        await make_stream(connection)
        publisher = Publisher(connection, timeout=PATIENT)
        proxy.cut_before_answer = b'"batch"'
        await publisher.publish_batch([("s.x", msg_id(n), b"%d" % n) for n in range(50)])
        assert proxy.cuts == 1
        assert await stored(connection) == 50
        await connection.close()
        await proxy.stop()

    run(main())


def test_a_torn_batch_is_stored_once_and_whole(
    nats_server: NatsServer, run: Run, proxy: Proxy
) -> None:
    async def main() -> None:
        connection = await Connection.open([await proxy.start()], name="test", connect_timeout=20)
        await make_stream(connection)
        publisher = Publisher(connection, timeout=PATIENT)
        proxy.cut_after_request = b"Nats-Batch-Sequence: 25\r\n\r\nx\r\n"
        await publisher.publish_batch([("s.x", msg_id(n), b"x") for n in range(50)])
        assert proxy.cuts == 1
        assert await stored(connection) == 50
        await connection.close()
        await proxy.stop()

    run(main())


def test_killing_the_server_keeps_batches_whole(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection, publisher = await open_publisher(connect, nats_server)
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
        await connection.close()

    run(main())


def test_a_hundred_threads_publish_at_once(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection, publisher = await open_publisher(connect, nats_server)
        together = threading.Barrier(100)

        def publish(thread: int) -> list[int]:
            together.wait()
            return [
                publisher.publish_from_thread("s.x", b"x", msg_id(f"{thread}-{n}")).seq
                for n in range(20)
            ]

        sequences = await in_threads(100, publish)
        assert sorted(itertools.chain(*sequences)) == list(range(1, 2001))
        await connection.close()

    run(main())


async def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(count) as pool:
        return await asyncio.gather(
            *(loop.run_in_executor(pool, work, thread) for thread in range(count))
        )


def test_threads_and_loop_never_mix_their_bytes(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    """What the kernel does not take at once must be sent before anything else."""

    async def main() -> None:
        connection, publisher = await open_publisher(connect, nats_server)
        nats_server.pause()

        def publish(thread: int) -> None:
            body = bytes([thread]) * 500_000
            for n in range(5):
                publisher.publish_from_thread("s.t", body, msg_id(f"t{thread}-{n}"))

        threads = asyncio.create_task(in_threads(10, publish))
        futures = [publisher.publish("s.l", b"x" * 100_000, msg_id(f"l{n}")) for n in range(100)]
        await asyncio.sleep(0.5)
        nats_server.resume()
        await asyncio.gather(threads, *futures)
        info = await connection.api("STREAM.INFO.S", {"subjects_filter": ">"})
        assert info["state"]["subjects"] == {"s.t": 50, "s.l": 100}
        assert info["state"]["bytes"] > 50 * 500_000 + 100 * 100_000
        await connection.close()

    run(main())


def test_killing_the_server_twice_loses_nothing_of_publishing_threads(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection, publisher = await open_publisher(connect, nats_server)
        acked: list[int] = []
        enough = threading.Event()

        def publish(thread: int) -> None:
            for n in itertools.takewhile(lambda _: not enough.is_set(), itertools.count()):
                headers = msg_id(f"{thread}-{n}")
                acked.append(publisher.publish_from_thread("s.x", b"x" * 200, headers).seq)

        threads = asyncio.create_task(in_threads(8, publish))
        for _ in range(2):
            before = len(acked)
            await eventually(lambda: len(acked) > before + 200)  # noqa: B023 - awaited here
            nats_server.kill()
            nats_server.start()
        before = len(acked)
        await eventually(lambda: len(acked) > before + 200)
        enough.set()
        await threads
        assert len(set(acked)) == len(acked)
        assert await stored(connection) == len(acked)
        await connection.close()

    run(main())


def test_a_forked_child_cannot_write_to_the_parents_connection(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection, publisher = await open_publisher(connect, nats_server)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads, Python 3.12
            child = os.fork()
        if child == 0:
            status = 1
            try:
                publisher.publish_from_thread("s.x", b"", msg_id("child"))
            except BrokerUnavailable as error:
                status = 0 if "forked" in str(error) else 2
            finally:
                connection.abandon()
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        await asyncio.to_thread(publisher.publish_from_thread, "s.x", b"", msg_id("parent"))
        assert await stored(connection) == 1
        await connection.close()

    run(main())


def test_closing_tells_whoever_still_waits(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection, publisher = await open_publisher(connect, nats_server)
        nats_server.kill()
        await eventually(lambda: not connection.is_connected)
        waiting = publisher.publish("s.x", b"", msg_id(1))
        blocked = asyncio.create_task(
            asyncio.to_thread(publisher.publish_from_thread, "s.x", b"", msg_id(2))
        )
        await eventually(lambda: len(publisher._pending) == 2)
        await connection.close()
        for future in (waiting, blocked):
            with pytest.raises(BrokerUnavailable, match="closed before"):
                await future

    run(main())


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
    assert read_ack(answer, "s") == ack


@pytest.mark.parametrize("answer", [b"", b"+OK", b'{"error":3}', b"[]", b'{"type":"x"}'])
def test_an_answer_that_is_none_is_an_error(answer: bytes) -> None:
    assert isinstance(read_ack(answer, "s"), ApiError)
