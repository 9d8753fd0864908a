"""The way to a server, as another process gets it and as it may be shown."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from jtask.errors import ConfigurationError
from jtask_nats.access import Access
from jtask_nats.client.addresses import Address, servers_of
from jtask_nats.client.logins import as_user, with_token
from jtask_nats.opening import access_to
from jtask_nats.settings import NatsSettings

URL = "nats://me:hush@one:1,two:2"


def test_the_settings_go_to_the_lease_guard_as_json() -> None:
    settings = NatsSettings(
        nats_token="hush",  # type: ignore[arg-type]
        nats_ca=Path("ca.pem"),
        nats_client_certificate=Path("~/me.pem"),
        nats_client_key=Path("/keys/me.key"),
        nats_inbox_prefix="_INBOX_shop",
    )
    access = access_to(URL, settings)
    assert access.ca == str(Path("ca.pem").absolute())
    assert access.certificate == str(Path.home() / "me.pem")
    assert (access.token, access.inbox_prefix) == ("hush", "_INBOX_shop")
    read = json.loads(json.dumps(access._asdict()))
    assert Access(**read)._asdict() == {**access._asdict(), "servers": list(access.servers)}


def test_no_credential_is_in_a_repr() -> None:
    access = Access(servers_of(URL), user="me", password="hush", token="hush")
    assert repr(access) == "<Access to one:1, two:2>"
    settings = NatsSettings(nats_token="hush")  # type: ignore[arg-type]
    shown = (access, settings, Address.parse("nats://me:hush@one"), as_user("me", "hush"))
    assert "hush" not in f"{shown!r}{with_token('hush')!r}"


@pytest.mark.parametrize("prefix", ["", ".", "a..b", "a.>", "a.*", "a b", "a."])
def test_a_prefix_that_is_no_subject_is_refused(prefix: str) -> None:
    with pytest.raises(ValidationError, match="nats_inbox_prefix"):
        NatsSettings(nats_inbox_prefix=prefix)


def test_a_key_without_its_certificate_is_refused() -> None:
    with pytest.raises(ValidationError, match="JTASK_NATS_CLIENT_KEY needs"):
        NatsSettings(nats_client_key=Path("me.key"))


@pytest.mark.parametrize(
    "url",
    ["nats://me:hu@sh@host", "nats://me:hu/sh@host", "nats://hu#sh@host", "nats://hu%sh@host"],
)
def test_what_is_not_percent_encoded_is_explained_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="must be percent-encoded: %40 for @") as caught:
        Address.parse(url)
    assert "sh@" not in str(caught.value)
    assert "'host'" in str(caught.value)
