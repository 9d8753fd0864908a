"""Streams are made once, brought up to date, and never spoilt."""

import asyncio
import logging
from typing import Any

import pytest
from nats_clients import Connected
from nats_servers import StartNats

from jtask.contract import DEFAULT_PRIORITY
from jtask.errors import BrokerError, BrokerFull, ConfigurationError
from jtask.settings import Settings
from jtask_nats.client.connection import Connection
from jtask_nats.streams.stream_configs import Stream, stream_configs
from jtask_nats.streams.subjects import Subjects
from jtask_nats.streams.topology import Topology

ALL = tuple(Stream)


def topology(connection: Connection, replicas: int = 1, **settings: Any) -> Topology:
    chosen = Settings(namespace="shop", **settings)
    return Topology(connection, Subjects("shop"), chosen, replicas)


async def config_of(connection: Connection, name: str) -> dict[str, Any]:
    return (await connection.api(f"STREAM.INFO.{name}"))["config"]


def test_two_processes_make_the_same_streams(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        await topology(connection).ensure(*ALL)
        await topology(connection).ensure(*ALL)
        names = (await connection.api("STREAM.NAMES", {}))["streams"]
        assert sorted(names) == sorted(topology(connection).stream_name(store) for store in ALL)

    connected(main)


def test_a_stream_that_many_need_at_once_is_made_once(
    connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = Connection.api

    async def count(self: Connection, suffix: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(suffix)
        return await real(self, suffix, *args, **kwargs)

    monkeypatch.setattr(Connection, "api", count)

    async def main(connection: Connection) -> None:
        one = topology(connection)
        given_up = asyncio.create_task(one.ensure(Stream.RECORDS))
        others = asyncio.gather(*(one.ensure(Stream.RECORDS) for _ in range(100)))
        await asyncio.sleep(0)
        given_up.cancel()
        await others
        await one.ensure(Stream.RECORDS)
        assert asked == ["STREAM.CREATE.JTASK_shop_RECORDS"]

    connected(main)


def test_a_stream_that_could_not_be_made_is_made_by_who_needs_it_next(
    connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any, **__: Any) -> Any:
        raise ConfigurationError("no")

    async def main(connection: Connection) -> None:
        one = topology(connection)
        with monkeypatch.context() as patched:
            patched.setattr(Connection, "api", refuse)
            both = (one.ensure(Stream.RECORDS), one.ensure(Stream.RECORDS))
            found = await asyncio.gather(*both, return_exceptions=True)
        assert [type(one) for one in found] == [ConfigurationError] * 2
        await one.ensure(Stream.RECORDS)
        assert await config_of(connection, "JTASK_shop_RECORDS")

    connected(main)


def test_what_is_set_is_what_is_wanted(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        await topology(connection).ensure(*ALL)
        for store, wanted in stream_configs(Subjects("shop"), Settings()).items():
            have = await config_of(connection, topology(connection).stream_name(store))
            have["metadata"] = {"jtask": have["metadata"]["jtask"]}
            assert {key: have.get(key) for key in wanted} == wanted

    connected(main)


def test_the_stream_of_runs_has_no_limit_that_would_drop_one() -> None:
    runs = stream_configs(Subjects("shop"), Settings())[Stream.RUNS]
    assert not {"max_msgs", "max_bytes", "max_age", "max_msgs_per_subject"} & runs.keys()


def test_a_stream_of_other_settings_is_updated(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        await topology(connection, result_ttl=60).ensure(Stream.RESULTS)
        await topology(connection, result_ttl=3600).ensure(Stream.RESULTS)
        config = await config_of(connection, "JTASK_shop_RESULTS")
        assert config["max_age"] == 3600 * 10**9

    connected(main)


def test_what_an_operator_added_to_a_stream_stays(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        await topology(connection, result_ttl=60).ensure(Stream.RESULTS)
        config = await config_of(connection, "JTASK_shop_RESULTS")
        config["description"] = "ours"
        await connection.api("STREAM.UPDATE.JTASK_shop_RESULTS", config)
        await topology(connection, result_ttl=3600).ensure(Stream.RESULTS)
        config = await config_of(connection, "JTASK_shop_RESULTS")
        assert (config["description"], config["max_age"]) == ("ours", 3600 * 10**9)

    connected(main)


def test_a_stream_of_a_newer_version_is_left_alone(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        config = stream_configs(Subjects("shop"), Settings())[Stream.RESULTS]
        newer = config | {"name": "JTASK_shop_RESULTS", "max_age": 10**10}
        newer |= {"metadata": {"jtask": "99"}, "duplicate_window": 10**9}
        await connection.api("STREAM.CREATE.JTASK_shop_RESULTS", newer)
        await topology(connection).ensure(Stream.RESULTS)
        assert (await config_of(connection, "JTASK_shop_RESULTS"))["max_age"] == 10**10

    connected(main)


def test_a_stream_that_would_lose_runs_is_refused(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        config = stream_configs(Subjects("shop"), Settings())[Stream.RUNS]
        await connection.api(
            "STREAM.CREATE.JTASK_shop", config | {"name": "JTASK_shop", "storage": "memory"}
        )
        with pytest.raises(ConfigurationError, match=r"JTASK_shop is not what jtask needs.*memory"):
            await topology(connection).ensure(Stream.RUNS)

    connected(main)


def test_a_difference_that_loses_nothing_is_warned_of(
    connected: Connected, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(connection: Connection) -> None:
        config = stream_configs(Subjects("shop"), Settings())[Stream.EVENTS]
        del config["persist_mode"]
        await connection.api(
            "STREAM.CREATE.JTASK_shop_EVENTS", config | {"name": "JTASK_shop_EVENTS"}
        )
        await topology(connection).ensure(Stream.EVENTS)

    with caplog.at_level(logging.WARNING, "jtask"):
        connected(main)
    assert "JTASK_shop_EVENTS differs from the settings (persist_mode" in caplog.text


def test_another_stream_with_our_subjects_is_named(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        await connection.api("STREAM.CREATE.ALL", {"name": "ALL", "subjects": ["jtask.>"]})
        with pytest.raises(ConfigurationError, match="another stream"):
            await topology(connection).ensure(Stream.RUNS)

    connected(main)


def test_replicas_without_a_cluster_are_a_wrong_setting(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        with pytest.raises(ConfigurationError, match=r"JTASK_REPLICAS is 3, .* is not a cluster"):
            await topology(connection, replicas=3).ensure(Stream.RUNS)

    connected(main)


def test_a_server_that_may_store_too_little_is_told_what_to_raise(
    connected: Connected, start_nats: StartNats
) -> None:
    async def main(connection: Connection) -> None:
        with pytest.raises(BrokerFull, match=r"JTASK_shop_EVENTS: .*raise max_file_store"):
            await topology(connection).ensure(Stream.EVENTS)

    connected(main, start_nats("max_file_store: 100MB"))


def test_a_stream_that_is_there_needs_no_room_of_a_server_that_has_reserved_it_all(
    connected: Connected, start_nats: StartNats
) -> None:
    async def main(connection: Connection) -> None:
        await topology(connection).ensure(Stream.EVENTS)
        another_process = topology(connection)
        await another_process.ensure(Stream.EVENTS)
        await another_process.recheck()
        with pytest.raises(BrokerFull, match="JTASK_shop_LOGS"):
            await another_process.ensure(Stream.LOGS)

    connected(main, start_nats("max_file_store: 300MB"))


def test_a_workers_lease_replaces_the_one_that_a_producer_set(connected: Connected) -> None:
    async def main(connection: Connection) -> None:
        await topology(connection, lease=5).ensure_consumer("mails", 3, owner=False)
        await topology(connection, lease=7).ensure_consumer("mails", 3, owner=True)
        await topology(connection, lease=9).ensure_consumer("mails", 3, owner=False)
        config = (await connection.api("CONSUMER.INFO.JTASK_shop.mails_3"))["config"]
        assert config["ack_wait"] == 7 * 10**9

    connected(main)


async def make_consumers(topology: Topology, count: int) -> None:
    queues = [f"queue{number}" for number in range(count)]
    await topology.ensure_runs(*queues)
    making = (topology.ensure_consumer(queue, DEFAULT_PRIORITY, owner=True) for queue in queues)
    await asyncio.gather(*making)


def test_there_may_be_more_queues_than_a_server_gives_a_stream_by_default(
    connected: Connected, start_nats: StartNats
) -> None:
    server = start_nats("limits { default_max_consumers: 3 }")

    async def main(connection: Connection) -> None:
        await make_consumers(topology(connection), 10)
        info = await connection.api("STREAM.INFO.JTASK_shop")
        assert info["state"]["consumer_count"] == 10
        # A process that comes later leaves it like that.
        await make_consumers(topology(connection), 11)

    connected(main, server)


def test_more_queues_than_somebody_has_allowed_are_refused_with_a_way_out(
    connected: Connected,
) -> None:
    async def main(connection: Connection) -> None:
        await topology(connection).ensure(*ALL)
        config = await config_of(connection, "JTASK_shop")
        await connection.api("STREAM.UPDATE.JTASK_shop", {**config, "max_consumers": 3})
        with pytest.raises(BrokerError, match=r"give tasks a common queue \(`queue=`\)"):
            await make_consumers(topology(connection), 4)
        assert (await config_of(connection, "JTASK_shop"))["max_consumers"] == 3

    connected(main)


def test_more_queues_than_an_account_may_have_are_refused_with_a_way_out(
    connected: Connected, start_nats: StartNats
) -> None:
    limited = "{ jetstream { max_consumers: 3 }, users: [{ user: u, password: p }] }"
    server = start_nats(config=f"accounts {{ A {limited} }}, no_auth_user: u")

    async def main(connection: Connection) -> None:
        with pytest.raises(BrokerError, match=r"raise max_consumers of the stream or account"):
            await make_consumers(topology(connection), 4)

    connected(main, server)
