"""The connection against a real nats-server, on asyncio's loop and on uvloop."""

import asyncio
import logging
import socket
import subprocess
from pathlib import Path

import pytest
from free_ports import free_ports
from nats_clients import Connect, Connected, Run, open_connection, reached
from nats_publishing import make_stream, stored
from nats_servers import NatsServer, Proxy, StartNats
from waiting import until

from jtask.errors import (
    BrokerError,
    BrokerTooOld,
    BrokerUnavailable,
    ConfigurationError,
    PermissionDenied,
)
from jtask_nats.access import Access
from jtask_nats.client.connection import Connection
from jtask_nats.client.nats_errors import STREAM_NOT_FOUND, ApiError
from jtask_nats.client.protocol import Parser, header_value, status_of
from jtask_nats.client.publisher import Publisher

USERS = """
authorization { users: [
  { user: boss, password: secret }
  { user: guest, password: guest, permissions: {
      publish: { deny: ["closed.>", "$JS.API.STREAM.DELETE.>"] }, subscribe: { deny: "_PRIVATE.>" }
  } }
] }
"""


async def subjects(connection: Connection) -> dict[str, int]:
    """What the stream holds; a stream that is empty names none."""
    info = await connection.api("STREAM.INFO.S", {"subjects_filter": ">"}, timeout=30)
    return info["state"].get("subjects", {})


def test_what_the_server_says_of_itself_is_known(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        connection = await connect(nats_server)
        assert connection.url == nats_server.url
        assert connection.max_payload == 1 << 20
        assert connection.server_version.startswith("2.")
        assert connection.is_connected
        await connection.close()
        assert not connection.is_connected

    run(main())


def test_request_returns_the_answer_of_a_subscriber(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        def answer(subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
            assert header_value(headers, b"Trace") == b"t1"
            connection.send(reply, subject.encode() + b":" + data, headers=b"Seen: yes\r\n")

        connection.subscribe("ask.*", answer)
        reply = await connection.request("ask.me", b"hello", headers=b"Trace: t1\r\n")
        assert reply.data == b"ask.me:hello"
        assert header_value(reply.headers, b"Seen") == b"yes"
        assert reply.status is None

    connected(main)


def test_request_that_nobody_serves_has_status_503(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        reply = await connection.request("nobody.there")
        assert reply.status == 503

    connected(main)


def test_request_without_answer_raises_broker_unavailable(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        connection.subscribe("silent", lambda *_: None)
        with pytest.raises(BrokerUnavailable, match=r"did not answer on silent within 0\.2 s"):
            await connection.request("silent", timeout=0.2)

    connected(main)


def test_request_fails_at_once_when_the_connection_is_lost(
    connected: Connected, nats_server: NatsServer
) -> None:
    async def main(connection: Connection) -> None:
        received = asyncio.Event()
        connection.subscribe("silent", lambda *_: received.set())
        request = asyncio.ensure_future(connection.request("silent", timeout=1000))
        await received.wait()
        nats_server.kill()
        with pytest.raises(BrokerUnavailable, match="the connection was lost"):
            await request

    connected(main)


def test_request_waits_for_the_connection_to_come_back(
    connected: Connected, nats_server: NatsServer
) -> None:
    async def main(connection: Connection) -> None:
        nats_server.kill()
        await until(lambda: not connection.is_connected)
        request = asyncio.ensure_future(connection.request("nobody", timeout=50))
        await asyncio.sleep(0)
        nats_server.start()
        assert (await request).status == 503

    connected(main)


def test_api_returns_the_answer_and_raises_what_jetstream_refuses(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        await make_stream(connection)
        assert await stored(connection) == 0
        with pytest.raises(ApiError, match="stream not found") as caught:
            await connection.api("STREAM.INFO.NONE")
        assert caught.value.err_code == STREAM_NOT_FOUND
        assert caught.value.code == 404

    connected(main)


def test_unsubscribe_stops_the_messages(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        got: list[bytes] = []
        subscription = connection.subscribe("news", lambda s, r, data, h: got.append(data))
        connection.send("news", b"1")
        await connection.flush()
        subscription.unsubscribe()
        connection.send("news", b"2")
        await connection.flush()
        assert got == [b"1"]

    connected(main)


def test_a_failing_handler_harms_no_other_message(
    connected: Connected, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(connection: Connection) -> None:
        got: list[bytes] = []

        def fail(subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
            got.append(data)
            raise RuntimeError("bad handler")

        connection.subscribe("news", fail)
        connection.send("news", b"1")
        connection.send("news", b"2")
        await connection.flush()
        assert got == [b"1", b"2"]

    connected(main)
    assert "a message on news could not be handled" in caplog.text


def test_subscriptions_and_callbacks_survive_a_killed_server(
    connected: Connected, nats_server: NatsServer
) -> None:
    async def main(connection: Connection) -> None:
        happened: list[str] = []
        got: list[bytes] = []
        connection.on_disconnect(lambda: happened.append("lost"))
        connection.on_reconnect(lambda: happened.append("back"))
        connection.subscribe("news", lambda s, r, data, h: got.append(data))
        for word in (b"1", b"2"):
            nats_server.kill()
            nats_server.start()
            await until(lambda: happened[-1:] == ["back"] and connection.is_connected)
            connection.send("news", word)
            await until(lambda: got[-1:] == [word])  # noqa: B023 - awaited here
            happened.append("checked")
        assert happened == ["lost", "back", "checked"] * 2

    connected(main)


def test_a_log_handler_that_raises_does_not_delay_a_reconnect(
    connected: Connected, nats_server: NatsServer
) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("the disk is full")

    async def main(connection: Connection) -> None:
        happened: list[float] = []
        loop = asyncio.get_running_loop()
        connection.on_reconnect(lambda: happened.append(loop.time()))
        nats_server.kill()
        nats_server.start()
        started = loop.time()
        await until(lambda: happened)
        assert happened[0] - started < 5
        await connection.flush()

    broken, log = Broken(), logging.getLogger("jtask")
    log.addHandler(broken)
    try:
        connected(main)
    finally:
        log.removeHandler(broken)


def test_a_garbled_greeting_does_not_end_the_reconnecting(
    connected: Connected, proxy: Proxy
) -> None:
    async def main(connection: Connection) -> None:
        proxy.greetings = [b"INFO\r\n", b"INFO {\r\n", b"\xff\xfe\r\n", b"", b"x" * 100_000]
        proxy.cut_after_request = b"cut"
        connection.send("x", b"cut")
        await until(lambda: not connection.is_connected)
        await until(lambda: connection.is_connected)
        assert proxy.greetings == []
        assert (await connection.request("nobody")).status == 503

    connected(main, proxy)


def test_a_user_that_is_locked_out_gets_back_in_when_let(
    connected: Connected, start_nats: StartNats
) -> None:
    server = start_nats(config=USERS)

    async def main(connection: Connection) -> None:
        server.reload(USERS.replace("guest", "other"))
        await until(lambda: not connection.is_connected)
        server.reload(USERS)
        await until(lambda: connection.is_connected)
        assert (await connection.request("nobody", timeout=30)).status == 503

    connected(main, server, user="guest", password="guest")


def test_a_question_whose_answer_may_not_be_heard_fails_at_once(
    connected: Connected, start_nats: StartNats
) -> None:
    server = start_nats(config=USERS)

    async def main(connection: Connection) -> None:
        connection.subscribe("mute", lambda *_: None)
        asked = asyncio.ensure_future(connection.request("mute", timeout=600))
        await connection.flush(30)
        server.reload(USERS.replace("_PRIVATE.>", "_INBOX.>"))
        with pytest.raises(BrokerUnavailable, match=r"can be received: .* not permit .* _INBOX"):
            await asked
        with pytest.raises(BrokerUnavailable, match="can be received"):
            await connection.request("mute", timeout=600)
        server.reload(USERS)

        async def is_answered() -> bool:
            try:
                return (await connection.request("nobody", timeout=600)).status == 503
            except BrokerUnavailable:
                return False

        await until(is_answered)

    connected(main, server, user="guest", password="guest")


def test_what_is_sent_while_disconnected_arrives_unless_it_asks(
    connected: Connected, nats_server: NatsServer
) -> None:
    async def main(connection: Connection) -> None:
        await make_stream(connection)
        nats_server.kill()
        await until(lambda: not connection.is_connected)
        connection.send("s.kept", b"an acknowledgement")
        connection.send("s.dropped", b"a question", reply="somewhere")
        nats_server.start()
        await until(lambda: connection.is_connected)
        connection.send("s.last", b"what arrives after all of these")

        async def has_arrived() -> bool:
            return "s.last" in await subjects(connection)

        await until(has_arrived)
        assert await subjects(connection) == {"s.kept": 1, "s.last": 1}

    connected(main)


def test_close_sends_what_is_pending(
    connected: Connected, connect: Connect, nats_server: NatsServer
) -> None:
    async def main(witness: Connection) -> None:
        connection = await connect(nats_server)
        await make_stream(witness)
        for _ in range(1000):
            connection.send("s.x", b"x" * 1000)
        await connection.close()

        async def all_stored() -> bool:
            return await stored(witness) == 1000

        await until(all_stored)

    connected(main)


def test_close_is_clean_while_reconnecting(
    connected: Connected, proxy: Proxy, nats_server: NatsServer
) -> None:
    async def main(connection: Connection) -> None:
        nats_server.kill()
        await until(lambda: proxy.connections > 2)
        assert not connection.is_connected
        await connection.close()
        await connection.close()
        with pytest.raises(BrokerUnavailable, match="closed"):
            await connection.request("x")

    connected(main, proxy)


def test_large_messages_arrive_whole_in_any_number_of_pieces(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        bodies = [bytes([n]) * (1000 * n * n) for n in range(30)]
        got: list[bytes] = []
        connection.subscribe("big", lambda s, r, data, h: got.append(data))
        for body in bodies:
            connection.send("big", body)
        await until(lambda: len(got) == len(bodies))
        assert got == bodies

    connected(main)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
def test_the_parser_does_not_mind_where_the_bytes_are_cut(size: int) -> None:
    wire = (
        b"PING\r\nMSG a.b 7 5\r\nhello\r\nMSG a.c 7 reply.to 0\r\n\r\n"
        b"HMSG a.d 7 reply.to 16 19\r\nNATS/1.0 503\r\n\r\nabc\r\nMSG other 8 1\r\nx\r\nPONG\r\n"
    )
    got: list[object] = []
    lines: list[bytes] = []
    parser = Parser({b"7": lambda *message: got.append(message)}, lines.append)
    for start in range(0, len(wire), size):
        parser.feed(wire[start : start + size])
    assert got == [
        ("a.b", "", b"hello", None),
        ("a.c", "reply.to", b"", None),
        ("a.d", "reply.to", b"abc", b"NATS/1.0 503\r\n\r\n"),
    ]
    assert lines == [b"PING", b"PONG"]


def test_a_header_block_gives_its_status_and_values() -> None:
    block = b"NATS/1.0 404 Message Not Found\r\nNats-Subject: a.b\r\nX:y\r\n\r\n"
    assert status_of(block) == (404, "Message Not Found")
    assert status_of(b"NATS/1.0 503\r\n\r\n") == (503, "")
    assert status_of(b"NATS/1.0\r\nX: 1\r\n\r\n") == (None, "")
    assert header_value(block, b"Nats-Subject") == b"a.b"
    assert header_value(block, b"X") == b"y"
    assert header_value(block, b"Y") is None


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB b 1", "a\tb", "a" * 2000])
def test_a_subject_that_would_break_the_protocol_is_refused(
    connected: Connected, subject: str
) -> None:
    async def main(connection: Connection) -> None:
        for use in (
            lambda: connection.send(subject, b""),
            lambda: connection.subscribe(subject, lambda *_: None),
        ):
            with pytest.raises(BrokerError, match="is not a valid NATS subject"):
                use()

    connected(main)


def test_an_unreachable_server_is_named_without_its_password(run: Run) -> None:
    port = free_ports()[0]

    async def main() -> None:
        with pytest.raises(BrokerUnavailable) as caught:
            await open_connection(f"nats://me:hidden@127.0.0.1:{port}", connect_timeout=0.3)
        text = str(caught.value)
        assert f"nats://127.0.0.1:{port} within 0.3 s" in text
        assert "JTASK_URL" in text
        assert "hidden" not in text

    run(main())


def test_a_server_that_says_nothing_is_unavailable(run: Run) -> None:
    async def main() -> None:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            url = f"nats://127.0.0.1:{listening.getsockname()[1]}"
            with pytest.raises(BrokerUnavailable, match="no NATS server answered"):
                await open_connection(url, connect_timeout=0.3)

    run(main())


def test_the_first_reachable_server_of_several_is_taken(nats_server: NatsServer, run: Run) -> None:
    async def main() -> None:
        servers = [f"nats://127.0.0.1:{free_ports()[0]}", nats_server.url]
        connection = await Connection.open(servers, name="test", connect_timeout=20)
        assert connection.url == nats_server.url
        await connection.close()

    run(main())


def test_a_server_that_starts_late_is_waited_for(
    run: Run, proxy: Proxy, nats_server: NatsServer
) -> None:
    async def main() -> None:
        nats_server.kill()
        async with reached(proxy) as url:
            opening = asyncio.ensure_future(open_connection(url, connect_timeout=30))
            await until(lambda: proxy.connections > 1)
            assert not opening.done()
            nats_server.start()
            connection = await opening
            assert connection.is_connected
            await connection.close()

    run(main())


def test_an_old_server_is_refused(run: Run) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"version":"2.9.0","max_payload":1048576,"headers":true}\r\n')
        while line := await reader.readline():
            if line == b"PING\r\n":
                writer.write(b"PONG\r\n")
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(BrokerTooOld, match=r"2\.9\.0"):
            await open_connection(url)
        server.close()
        await until(lambda: len(asyncio.all_tasks()) == 1)

    run(main())


def test_who_was_too_busy_to_log_in_in_time_tries_again(
    run: Run, proxy: Proxy, nats_server: NatsServer
) -> None:
    async def main() -> None:
        info = b'INFO {"version":"2.15.1","max_payload":1048576,"headers":true}\r\n'
        proxy.greetings = [info + b"-ERR 'Authentication Timeout'\r\n"]
        async with reached(proxy) as url:
            connection = await open_connection(url)
            assert connection.is_connected
            assert proxy.connections == 2
            await connection.close()

    run(main())


def test_a_wrong_password_is_refused_at_once(start_nats: StartNats, run: Run) -> None:
    server = start_nats(config=USERS)

    async def main() -> None:
        url = f"nats://boss:wrong@127.0.0.1:{server.port}"
        with pytest.raises(PermissionDenied, match="refused this user") as caught:
            await open_connection(url, connect_timeout=1000)
        assert "wrong" not in str(caught.value)

    run(main())


def test_user_and_password_may_stand_in_the_url(start_nats: StartNats, run: Run) -> None:
    server = start_nats(config=USERS)

    async def main() -> None:
        url = f"nats://boss:secret@127.0.0.1:{server.port}"
        connection = await open_connection(url)
        assert connection.url == server.url
        await connection.close()

    run(main())


def test_what_is_not_permitted_raises_instead_of_timing_out(
    connected: Connected, start_nats: StartNats
) -> None:
    server = start_nats(config=USERS)

    async def main(connection: Connection) -> None:
        with pytest.raises(PermissionDenied, match=r"publish to closed\.x"):
            await connection.request("closed.x", timeout=1000)
        with pytest.raises(PermissionDenied, match=r"STREAM\.DELETE\.S"):
            await connection.api("STREAM.DELETE.S", timeout=1000)

    connected(main, server, user="guest", password="guest")


def test_an_inbox_that_is_not_permitted_is_noticed_when_opening(
    start_nats: StartNats, run: Run, connect: Connect
) -> None:
    server = start_nats(config=USERS)

    async def main() -> None:
        with pytest.raises(PermissionDenied, match="subscribe to _PRIVATE"):
            await connect(server, user="guest", password="guest", inbox_prefix="_PRIVATE")

    run(main())


@pytest.mark.parametrize(
    "url", ["http://x", "ws://127.0.0.1:1", "nats://", "nats://u:pw@", "x:99999"]
)
def test_what_is_no_nats_url_is_refused(url: str, run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ConfigurationError, match="nats://host:port") as caught:
            await open_connection(url, connect_timeout=1)
        assert "pw" not in str(caught.value)

    run(main())


def test_a_missing_credentials_file_is_named(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(ConfigurationError, match=r"nobody\.creds"):
            await open_connection(
                "nats://127.0.0.1:1", connect_timeout=1, credentials=str(tmp_path / "nobody.creds")
            )

    run(main())


def test_tls_url_refuses_a_server_without_tls(
    nats_server: NatsServer, run: Run, connect: Connect
) -> None:
    async def main() -> None:
        url = f"tls://127.0.0.1:{nats_server.port}"
        with pytest.raises(BrokerUnavailable, match="does not offer TLS"):
            await open_connection(url, connect_timeout=1000)

    run(main())


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subject += ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]  # for Python 3.13
    files = ["-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run([*command.split(), *subject, *files], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return certificate, key


def test_tls_publishes_from_the_loop_and_from_threads_and_reconnects(
    start_nats: StartNats, certificate: tuple[Path, Path], run: Run
) -> None:
    server = start_nats(
        config=f'tls {{ cert_file: "{certificate[0]}", key_file: "{certificate[1]}" }}'
    )

    async def main() -> None:
        url = f"tls://127.0.0.1:{server.port}"
        connection = await open_connection(url, ca=str(certificate[0]))
        await make_stream(connection)
        publisher = Publisher(connection, timeout=40)
        await publisher.publish("s.x", b"x" * 900_000, b"Nats-Msg-Id: 1\r\n")
        server.kill()
        server.start()
        await asyncio.to_thread(publisher.publish_from_thread, "s.x", b"2", b"Nats-Msg-Id: 2\r\n")
        assert await stored(connection) == 2
        await connection.close()

    run(main())


def test_a_certificate_that_cannot_be_trusted_is_the_named_reason(
    start_nats: StartNats, certificate: tuple[Path, Path], run: Run
) -> None:
    server = start_nats(
        config=f'tls {{ cert_file: "{certificate[0]}", key_file: "{certificate[1]}" }}'
    )

    async def main() -> None:
        with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
            await open_connection(f"tls://127.0.0.1:{server.port}", connect_timeout=3)

    run(main())


def test_a_server_that_was_just_lost_is_tried_after_the_others_however_often_those_were_lost(
    start_nats: StartNats, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = {server.url: server for server in (start_nats(), start_nats())}

    async def main() -> None:
        access = Access(list(servers))
        connection = await access.connect("test", 20.0)
        before = servers.pop(connection.url)
        (lost,) = servers.values()
        before.kill()
        await until(lambda: connection.is_connected and connection.url == lost.url)
        before.start()
        monkeypatch.setattr(
            "nats.aio.client.shuffle",
            lambda pool: pool.sort(key=lambda one: one.uri.port != lost.port),
        )
        lost.kill()
        # As one that is frozen: the kernel takes the connection, and nobody says a word.
        with socket.create_server(("127.0.0.1", lost.port)) as frozen:
            frozen.setblocking(False)
            await until(lambda: connection.is_connected and connection.url == before.url)
            with pytest.raises(BlockingIOError):
                frozen.accept()
        await connection.close()

    run(main())
