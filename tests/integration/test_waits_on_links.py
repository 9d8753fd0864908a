"""Who waits on a connection of its own gets the result, whatever becomes of that connection."""

import os
import resource
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from in_process import StartWorker, on_io
from nats_cluster import StartCluster
from nats_logins import Authority
from nats_servers import StartNats
from waiting import PATIENCE, eventually

from jtask import Run, task
from jtask.client import close_client, get_client, short_waits
from jtask.errors import ResultTimeout
from jtask.settings import get_settings
from jtask_nats.client import blocking_links
from jtask_nats.client.blocking_link import BlockingLink

Use = Callable[..., None]
gate = threading.Event()


@task
def work(n: int) -> int:
    return n


@task
def echo(text: str) -> str:
    return text


@task
def held(n: int) -> int:
    gate.wait(PATIENCE)
    return n


@pytest.fixture
def use(
    start_nats: StartNats, start_cluster: StartCluster, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Use]:
    """Use a server by a URL; more settings. The servers are there longer than the connection."""

    def begin() -> None:
        close_client()
        get_settings.cache_clear()

    def connect_to(url: str, **settings: str) -> None:
        for name, value in {"JTASK_URL": url, **settings}.items():
            monkeypatch.setenv(name, value)
        begin()

    # A moment is as long as it takes, and connections are worth it however slow all is.
    monkeypatch.setattr(short_waits, "_MOMENT", PATIENCE)
    monkeypatch.setattr(blocking_links, "CLOSE_TOGETHER", 3600.0)
    gate.clear()
    yield connect_to
    gate.set()
    begin()


@pytest.fixture
def jtask_broker(use: Use) -> str:
    """What `jtask_worker` uses: that of `use`."""
    del use
    return ""


@pytest.fixture
def other_thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool
        gate.set()


def links() -> list[BlockingLink]:
    runs: Any = get_client().broker.runs
    found: list[BlockingLink] = runs._session.publisher.blocking_links._supply.links(BlockingLink)
    return found


def link_that_listens() -> BlockingLink:
    """Delay runs and wait for them until the next one is listened for as it is sent."""
    while not any(link._is_followed for link in links()):
        assert work.delay(1).result(PATIENCE) == 1
    [link] = links()
    return link


def delay_and_wait(pool: ThreadPoolExecutor, link: BlockingLink) -> "Future[int]":
    """Delay a run that is held, and have another thread wait for it on the link."""
    run: Run[int] = held.delay(3)
    assert link.listens_to.endswith(run.run_id)
    free = get_client().broker.runs._session.publisher.blocking_links._free  # type: ignore[attr-defined]
    waiting = pool.submit(run.result, PATIENCE)
    eventually(lambda: link not in free)
    return waiting


def use_tls(start_nats: StartNats, use: Use, folder: Path) -> None:
    """Use a server that speaks nothing but TLS."""
    ours = Authority(folder, "ours")
    signed = ours.sign("server", 2)
    files = f'cert_file: "{signed.certificate}", key_file: "{signed.key}"'
    use(start_nats(config=f"tls {{ {files} }}").url, JTASK_NATS_CA=str(ours.ca))


@contextmanager
def all_descriptors_taken_up_to(number: int) -> Iterator[None]:
    """Have so many files open that all that follow have higher numbers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * number), hard))
    taken = [os.open(os.devnull, os.O_RDONLY)]
    while taken[-1] < number:
        taken.append(os.dup(taken[0]))
    try:
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_server_that_is_killed_and_comes_back_costs_no_result(
    start_nats: StartNats,
    use: Use,
    jtask_worker: StartWorker,
    other_thread: ThreadPoolExecutor,
) -> None:
    server = start_nats()
    use(server.url)
    jtask_worker(work, held)
    link = link_that_listens()
    waiting = delay_and_wait(other_thread, link)
    server.kill()
    server.start()
    gate.set()
    assert waiting.result(PATIENCE) == 3
    assert [work.delay(n).result(PATIENCE) for n in range(5)] == list(range(5))
    assert link not in links()


def test_a_run_that_was_over_before_its_server_was_killed_is_known(
    start_nats: StartNats, use: Use, jtask_worker: StartWorker
) -> None:
    server = start_nats()
    use(server.url)
    jtask_worker(work)
    link = link_that_listens()
    run = work.delay(7)
    assert link.listens_to.endswith(run.run_id)
    eventually(lambda: run.state.is_final())
    other = get_client().handle(run.run_id, work)
    server.kill()
    server.start()
    assert other.result(PATIENCE) == 7


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_waits_on_a_link_of_its_own(
    start_nats: StartNats, use: Use, jtask_worker: StartWorker
) -> None:
    use(start_nats().url)
    jtask_worker(work)
    link = link_that_listens()
    run = work.delay(7)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            link_that_listens()
            found = [run.result(PATIENCE), *(work.delay(n).result(PATIENCE) for n in range(5))]
            status = 0 if found == [7, *range(5)] and links() != [link] else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert run.result(PATIENCE) == 7
    assert [work.delay(n).result(PATIENCE) for n in range(5)] == list(range(5))
    assert links() == [link]


def keep_to_the_time() -> None:
    """Wait too short for a run that is held, and then long enough."""
    run = held.delay(8)
    with pytest.raises(ResultTimeout):
        run.result(0.2)
    gate.set()
    assert run.result(PATIENCE) == 8


def test_over_tls_who_waits_gets_the_result_or_keeps_to_the_time(
    start_nats: StartNats, use: Use, jtask_worker: StartWorker, tmp_path: Path
) -> None:
    use_tls(start_nats, use, tmp_path)
    jtask_worker(work, held, echo)
    link = link_that_listens()
    assert [work.delay(n).result(PATIENCE) for n in range(5)] == list(range(5))
    large = "x" * 100_000  # more than one record, and than the kernel takes at once
    assert echo.delay(large).result(PATIENCE) == large
    keep_to_the_time()
    assert links() == [link]


def test_over_tls_any_number_of_files_may_be_open(
    start_nats: StartNats, use: Use, jtask_worker: StartWorker, tmp_path: Path
) -> None:
    use_tls(start_nats, use, tmp_path)
    jtask_worker(work, held)
    with all_descriptors_taken_up_to(1024):  # of which `select` knows none
        link = link_that_listens()
        assert link._socket.fileno() > 1023
        keep_to_the_time()
        assert links() == [link]


@pytest.mark.timeout(200)
def test_a_leader_that_dies_costs_no_result(
    start_cluster: StartCluster,
    use: Use,
    jtask_worker: StartWorker,
    other_thread: ThreadPoolExecutor,
) -> None:
    cluster = start_cluster()
    cluster.await_leader()
    use(cluster.url, JTASK_REPLICAS="3", JTASK_CONNECT_TIMEOUT=str(PATIENCE))
    jtask_worker(work, held)
    waiting = delay_and_wait(other_thread, link_that_listens())
    info = on_io(lambda broker: broker._connection.api("STREAM.INFO.JTASK_default_RESULTS"))  # type: ignore[attr-defined]
    cluster.node(info["cluster"]["leader"]).kill()
    gate.set()
    assert waiting.result(PATIENCE) == 3
    assert [work.delay(n).result(PATIENCE) for n in range(5)] == list(range(5))
