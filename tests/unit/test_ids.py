"""Run ids: UUIDv7, ascending, unique, and naming the process that made them."""

import os
import threading
import time
import uuid
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jtask import ids
from jtask.ids import RunIds, client_of, created_at, get_run_ids, is_run_id, process_label

CLIENT = "00ff00ff00"


@given(st.integers(min_value=1, max_value=50))
def test_an_id_has_the_shape_of_rfc_9562_version_7(count: int) -> None:
    for run_id in RunIds(CLIENT).new_many(count):
        parsed = uuid.UUID(run_id)
        assert str(parsed) == run_id
        assert parsed.version == 7
        assert parsed.variant == uuid.RFC_4122
        assert client_of(run_id) == CLIENT
        assert is_run_id(run_id)


def test_an_id_tells_when_it_was_made() -> None:
    before = time.time()
    run_id = RunIds().new()
    after = time.time()
    assert int(before * 1000) / 1000 <= created_at(run_id) <= after
    assert created_at(run_id) == (uuid.UUID(run_id).int >> 80) / 1000


def test_ids_ascend_one_by_one_and_in_batches() -> None:
    run_ids = RunIds()
    made = [run_ids.new(), *run_ids.new_many(300), run_ids.new(), *run_ids.new_many(2)]
    assert all(first < second for first, second in pairwise(made))


def test_a_batch_of_any_size_ascends_over_the_counter_fields() -> None:
    # 2**14 and 2**22 are where the counter carries into the next field of the id.
    made = RunIds().new_many((1 << 14) + 3)
    assert made == sorted(set(made))


def test_ids_ascend_when_the_clock_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_700_000_000_000_000_000
    monkeypatch.setattr(ids.time, "time_ns", lambda: now)
    run_ids = RunIds()
    first = run_ids.new()
    now -= 3_600_000_000_000
    second = run_ids.new()
    assert second > first
    assert created_at(second) == created_at(first)


def test_ids_ascend_when_the_counter_of_a_millisecond_is_used_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ids.time, "time_ns", lambda: 1_700_000_000_000_000_000)
    monkeypatch.setattr(ids.secrets, "randbits", lambda bits: (1 << 34) - 4)
    run_ids = RunIds()
    made = [run_ids.new() for _ in range(3)]
    monkeypatch.setattr(ids.secrets, "randbits", lambda bits: 0)
    made += [run_ids.new() for _ in range(3)]
    assert made == sorted(set(made))
    assert created_at(made[-1]) == created_at(made[0]) + 0.001


def test_ids_are_unique_over_eight_threads() -> None:
    run_ids = RunIds()
    made: list[list[str]] = [[] for _ in range(8)]
    start = threading.Barrier(8)

    def make(mine: list[str]) -> None:
        start.wait()
        for _ in range(500):
            mine.append(run_ids.new())
            mine.extend(run_ids.new_many(3))

    threads = [threading.Thread(target=make, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == sorted(mine) for mine in made)
    assert len({run_id for mine in made for run_id in mine}) == 8 * 500 * 4


def test_two_processes_have_names_of_their_own() -> None:
    assert RunIds().client != RunIds().client
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.write(write, get_run_ids().client.encode())
        os._exit(0)
    os.waitpid(child, 0)
    other = os.read(read, 100).decode()
    os.close(read)
    os.close(write)
    assert len(other) == ids.CLIENT_HEX
    assert other != get_run_ids().client


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "7498c4da-a968-417a-a164-d34940ebbed9",  # a UUIDv4
        "01A1FFF5-44EB-7316-BFB5-63CD9960AEF8",
        "01a1fff5-44eb-7316-bfb5-63cd9960aef8\n",
        "01a1fff544eb7316bfb563cd9960aef8",
    ],
)
def test_what_is_no_run_id_is_told_from_one(text: str) -> None:
    assert not is_run_id(text)


def test_the_label_of_a_process_is_its_host_and_pid() -> None:
    assert process_label() == f"{os.uname().nodename}-{os.getpid()}"
