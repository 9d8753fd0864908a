"""Who may connect to a real server, and what those who may not are told."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nats_clients import Run, open_connection
from nats_logins import Authority, Key, Operator
from nats_servers import NatsServer, StartNats
from waiting import PATIENCE, until

from jtask.contract import Delivery, Message
from jtask.errors import BrokerUnavailable, ConfigurationError, PermissionDenied
from jtask.ids import RunIds
from jtask.settings import Settings
from jtask_nats.broker import NatsBroker
from jtask_nats.client.blocking_link import BlockingLink
from jtask_nats.client.connection import Connection
from jtask_nats.opening import access_to
from jtask_nats.queues.lease_renewer import open_renewer
from jtask_nats.settings import NatsSettings

GetsIn = Callable[..., None]
Refused = Callable[..., str]


def publish_on_a_link(connection: Connection) -> None:
    inbox = connection.new_inbox() + ".*"
    link = BlockingLink.open(connection.url, connection.greeting, inbox, PATIENCE)
    # Nobody is there to take it, which the server says at once.
    assert link.publish("nobody.there", b"", b"") is None
    link.close()


@pytest.fixture
def gets_in(run: Run) -> GetsIn:
    """Connect and be answered, also on a thread's own link; options as for `open_connection`."""

    async def main(url: str, way: dict[str, Any]) -> None:
        connection = await open_connection(url, **way)
        assert (await connection.request("nobody.there")).status == 503
        await asyncio.to_thread(publish_on_a_link, connection)
        await connection.close()

    def connect(url: str, **way: Any) -> None:
        run(main(url, way))

    return connect


@pytest.fixture
def refused(run: Run) -> Refused:
    """Connect in vain, and return what is said."""

    async def main(url: str, kind: type[Exception], way: dict[str, Any]) -> str:
        with pytest.raises(kind) as caught:
            await open_connection(url, **way)
        return str(caught.value)

    def connect(url: str, kind: type[Exception] = PermissionDenied, **way: Any) -> str:
        # What is refused for good is told at once.
        patience = 1000.0 if kind is not BrokerUnavailable else 2.0
        return run(main(url, kind, {"connect_timeout": patience, **way}))

    return connect


def with_user(server: NatsServer, user: str) -> str:
    return server.url.replace("//", f"//{user}@")


def test_a_token_lets_in_from_a_setting_and_from_the_url(
    start_nats: StartNats, gets_in: GetsIn, refused: Refused
) -> None:
    server = start_nats(config='authorization { token: "s3/cret" }')
    gets_in(server.url, token="s3/cret")
    gets_in(with_user(server, "s3%2Fcret"))
    assert "JTASK_NATS_TOKEN" in refused(server.url, token="wrong")
    told = refused(with_user(server, "wrong"))
    assert "percent-encoded" in told
    assert "wrong" not in told
    assert "wants to know who you are" in refused(server.url)


def test_a_login_in_the_url_counts_before_one_in_the_settings(
    start_nats: StartNats, gets_in: GetsIn
) -> None:
    server = start_nats(config="authorization { user: u, password: pw }")
    gets_in(with_user(server, "u:pw"), token="for another server")


def test_an_nkey_seed_lets_in(
    start_nats: StartNats, gets_in: GetsIn, refused: Refused, tmp_path: Path
) -> None:
    right, other = Key("USER"), Key("USER")
    server = start_nats(config=f"authorization {{ users: [ {{ nkey: {right.public} }} ] }}")
    file = tmp_path / "user.nk"
    file.write_text(right.seed + "\n")
    gets_in(server.url, nkey_seed=str(file))
    file.write_text(other.seed)
    assert "JTASK_NATS_NKEY_SEED" in refused(server.url, nkey_seed=str(file))


@pytest.mark.parametrize(
    "text",
    ["", "no seed", "SUAAAA", Key("ACCOUNT").seed, "\0", "Ü"],
    ids=["empty", "words", "cut off", "of an account", "a null", "not ASCII"],
)
def test_a_file_without_a_users_seed_is_refused_by_name(
    text: str, refused: Refused, tmp_path: Path
) -> None:
    file = tmp_path / "user.nk"
    file.write_text(text)
    told = refused("nats://127.0.0.1:1", ConfigurationError, nkey_seed=str(file))
    assert str(file) in told
    assert "seed" in told


@pytest.mark.parametrize("text", ["", "no credentials", "-----BEGIN NATS USER JWT-----\n"])
def test_a_file_without_credentials_is_refused_by_name(
    text: str, refused: Refused, tmp_path: Path
) -> None:
    file = tmp_path / "user.creds"
    file.write_text(text)
    told = refused("nats://127.0.0.1:1", ConfigurationError, credentials=str(file))
    assert str(file) in told


def test_credentials_let_in_until_they_expire(
    start_nats: StartNats, gets_in: GetsIn, refused: Refused, tmp_path: Path
) -> None:
    operator = Operator()
    server = start_nats(config=operator.config)
    file = tmp_path / "user.creds"
    file.write_text(operator.credentials())
    gets_in(server.url, credentials=str(file))
    for wrong in (operator.credentials(expires_in=-60), Operator().credentials()):
        file.write_text(wrong)
        assert "may have expired" in refused(server.url, credentials=str(file))


def test_credentials_that_are_renewed_let_a_program_that_runs_in_again(
    start_nats: StartNats, run: Run, tmp_path: Path
) -> None:
    operator = Operator()
    server = start_nats(config=operator.config)
    file = tmp_path / "user.creds"
    file.write_text(operator.credentials(expires_in=2))

    async def main() -> None:
        connection = await open_connection(server.url, credentials=str(file))
        await until(lambda: not connection.is_connected)
        file.write_text("nothing for the moment")
        file.write_text(operator.credentials())
        await until(lambda: connection.is_connected)
        assert (await connection.request("nobody.there", timeout=30)).status == 503
        await connection.close()

    run(main())


def test_a_program_whose_login_does_not_let_it_in_again_says_why_once_for_each_reason(
    start_nats: StartNats, run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    operator = Operator()
    server = start_nats(config=operator.config)
    file = tmp_path / "user.creds"
    file.write_text(operator.credentials(expires_in=2))
    renewed = tmp_path / "renewed.creds"
    renewed.write_text(operator.credentials())

    async def main() -> None:
        connection = await open_connection(server.url, credentials=str(file))
        await until(lambda: "which may have expired" in caplog.text)
        file.unlink()
        await until(lambda: "cannot be read" in caplog.text)
        renewed.rename(file)
        await until(lambda: connection.is_connected)
        await connection.close()

    run(main())
    told = [line for line in caplog.messages if line.startswith("cannot reconnect: ")]
    assert len(told) == len(set(told))
    # For the server, it has expired at first, and is wrong from then on.
    *refused, unreadable = told
    for line in refused:
        assert line.endswith(f"check {file} (JTASK_NATS_CREDENTIALS), which may have expired")
    assert unreadable == (
        f"cannot reconnect: the NATS file {file} (JTASK_NATS_CREDENTIALS) cannot be read: "
        "No such file or directory"
    )
    assert "BEGIN" not in caplog.text


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "theirs")


def tls(authority: Authority, name: str = "server", days: int = 2, more: str = "") -> str:
    signed = authority.sign(name, days)
    return f'tls {{ cert_file: "{signed.certificate}", key_file: "{signed.key}"\n{more} }}'


def test_a_server_is_trusted_by_its_own_ca(
    start_nats: StartNats, gets_in: GetsIn, refused: Refused, ours: Authority, theirs: Authority
) -> None:
    server = start_nats(config=tls(ours))
    gets_in(server.url, ca=ours.ca)
    for way in ({}, {"ca": theirs.ca}):
        told = refused(server.url, BrokerUnavailable, **way)
        assert "certificate verify failed" in told
        assert "JTASK_NATS_CA" in told


def test_a_server_whose_certificate_has_expired_is_not_trusted(
    start_nats: StartNats, refused: Refused, ours: Authority
) -> None:
    server = start_nats(config=tls(ours, days=-1))
    told = refused(server.url, BrokerUnavailable, ca=ours.ca)
    assert "has expired" in told
    assert "have it renewed" in told


def test_a_server_under_a_name_that_its_certificate_is_not_for_is_not_trusted(
    start_nats: StartNats, refused: Refused, ours: Authority
) -> None:
    url = start_nats(config=tls(ours)).url.replace("127.0.0.1", "localhost")
    assert "use a name in JTASK_URL" in refused(url, BrokerUnavailable, ca=ours.ca)


def test_a_server_without_tls_is_refused_where_certificates_are_set(
    nats_server: NatsServer, refused: Refused, ours: Authority
) -> None:
    assert "TLS" in refused(nats_server.url, BrokerUnavailable, ca=ours.ca)


def test_a_client_certificate_lets_in(
    start_nats: StartNats, gets_in: GetsIn, refused: Refused, ours: Authority, theirs: Authority
) -> None:
    verify = f'ca_file: "{ours.ca}", verify: true'
    server = start_nats(config=tls(ours, more=verify))
    right = ours.sign("client")
    gets_in(server.url, ca=ours.ca, certificate=right.certificate, key=right.key)
    for wrong in (theirs.sign("client"), ours.sign("expired", days=-1)):
        told = refused(server.url, ca=ours.ca, certificate=wrong.certificate, key=wrong.key)
        assert "JTASK_NATS_CLIENT_CERTIFICATE" in told
    assert "JTASK_NATS_CLIENT_CERTIFICATE" in refused(server.url, ca=ours.ca)


def test_a_certificate_that_is_renewed_lets_a_program_that_runs_in_again(
    start_nats: StartNats, run: Run, ours: Authority, theirs: Authority
) -> None:
    server = start_nats(config=tls(ours, more=f'ca_file: "{ours.ca}", verify: true'))
    signed, other = ours.sign("client"), theirs.sign("client")
    right, wrong = (Path(one.certificate).read_text() + Path(one.key).read_text()
                    for one in (signed, other))  # fmt: skip
    file = Path(signed.certificate)
    file.write_text(right)

    async def main() -> None:
        connection = await open_connection(server.url, ca=ours.ca, certificate=str(file))
        file.write_text(wrong)
        server.kill()
        await until(lambda: not connection.is_connected)
        server.start()
        file.write_text(right)
        await until(lambda: connection.is_connected)
        await connection.close()

    run(main())


def test_files_that_are_no_certificates_are_refused_by_name(
    refused: Refused, ours: Authority, tmp_path: Path
) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    one, other = ours.sign("one"), ours.sign("other")
    for way in (
        {"ca": str(garbage)},
        {"ca": str(tmp_path / "none.pem")},
        {"certificate": str(garbage)},
        {"certificate": one.certificate, "key": other.key},
    ):
        told = refused("nats://127.0.0.1:1", ConfigurationError, **way)
        assert list(way.values())[-1] in told
        assert "JTASK_NATS_C" in told


@pytest.mark.parametrize("password", ["p@ss", "p/ss", "p?ss", "p#ss", "p[ss", "100%", "a b"])
def test_a_password_that_is_not_percent_encoded_is_told_how(
    password: str, refused: Refused
) -> None:
    told = refused(f"nats://user:{password}@127.0.0.1:1", ConfigurationError)
    assert "percent-encoded" in told
    assert "%2F for /" in told
    assert password not in told.replace("100%", "")


INBOXES = """authorization { users: [
  { user: shop, password: pw, permissions: {
      publish: ">", subscribe: { allow: ["_INBOX_shop.>", "jtask.>"] } } }
  { user: mail, password: pw, permissions: {
      publish: ">", subscribe: { allow: ["_INBOX_mail.>", "jtask.>"] } } }
] }"""


def test_an_inbox_prefix_keeps_apart_who_reads_whose_answers(
    start_nats: StartNats, run: Run, refused: Refused, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_nats(config=INBOXES)

    async def main() -> None:
        shop, mail = [await user_of(server, name) for name in ("shop", "mail")]
        overheard: list[bytes] = []
        mail.subscribe("_INBOX_shop.>", lambda s, r, data, h: overheard.append(data))
        await mail.flush()
        assert (await shop.request("nobody.there")).status == 503
        await mail.flush()
        assert overheard == []
        for connection in (shop, mail):
            await connection.close()

    with caplog.at_level(logging.ERROR):
        run(main())
    told = refused(with_user(server, "shop:pw"))
    assert "subscribe to _INBOX" in told
    assert "JTASK_NATS_INBOX_PREFIX" in told


def test_a_run_goes_its_whole_way_with_an_inbox_prefix(start_nats: StartNats, run: Run) -> None:
    server = start_nats(config=INBOXES)
    settings = NatsSettings(nats_inbox_prefix="_INBOX_shop")
    access = access_to(with_user(server, "shop:pw"), settings)

    async def main() -> None:
        connection = await access.connect("test", 20)
        broker = await NatsBroker.open(
            connection, RunIds().client, Settings(), NatsSettings(), access
        )
        taken: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        run_id = RunIds().new()
        await broker.runs.enqueue([Message(run_id, "q", b"{}")])
        await broker.runs.consume(["q"], 1, taken.set_result)
        delivery = await taken
        assert delivery.run_id == run_id
        delivery.ack()
        # As the guard's own process does, which has them as JSON.
        async with open_renewer(access._asdict()) as renew:
            assert renew is not None
        await broker.close()

    run(main())


async def user_of(server: NatsServer, name: str) -> Connection:
    return await open_connection(with_user(server, f"{name}:pw"), inbox_prefix=f"_INBOX_{name}")
