"""The client of the process: who asks for it while the broker is away."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from waiting import PATIENCE

from jtask.client import process_client
from jtask.client.process_client import close_client, get_client
from jtask.errors import BrokerUnavailable

THREADS = 8


class Attempts:
    """Attempts to connect that fail once so many threads have asked for a client."""

    def __init__(self) -> None:
        self.count = 0
        self.threads = 1
        self._lock = threading.RLock()
        self._asked = threading.Semaphore(0)

    def __enter__(self) -> None:
        self._asked.release()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __call__(self) -> Any:
        for _ in range(self.threads):
            assert self._asked.acquire(timeout=PATIENCE)
        self.threads = 1
        self.count += 1
        raise BrokerUnavailable(f"no answer at attempt {self.count}")


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Attempts]:
    close_client()
    attempts = Attempts()
    monkeypatch.setattr(process_client, "Client", attempts)
    monkeypatch.setattr(process_client, "_lock", attempts)
    yield attempts
    monkeypatch.undo()
    close_client()


def refusal() -> str:
    with pytest.raises(BrokerUnavailable) as refused:
        get_client()
    return str(refused.value)


def test_threads_that_ask_together_share_an_attempt_and_its_failure(attempts: Attempts) -> None:
    attempts.threads = THREADS
    with ThreadPoolExecutor(THREADS) as threads:
        asking = [threads.submit(refusal) for _ in range(THREADS)]
    assert [one.result() for one in asking] == ["no answer at attempt 1"] * THREADS


def test_who_asks_after_a_failure_tries_again(attempts: Attempts) -> None:
    assert [refusal() for _ in range(3)] == [f"no answer at attempt {n}" for n in (1, 2, 3)]
