"""What the memory broker promises beyond the contract: its own clock, threads, and names."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable

import pytest

import jtask_memory
from jtask.contract import Delivery, Event, Message, OutcomeRecord
from jtask.errors import BrokerError, BrokerUnavailable
from jtask.ids import RunIds
from jtask.settings import Settings
from jtask_memory import MemoryBroker, Storage, VirtualClock

RUN_IDS = RunIds()


def message(queue: str = "reports", **options: float | None) -> Message:
    return Message(RUN_IDS.new(), queue, b"body", **options)  # type: ignore[arg-type]


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def settle_down() -> None:
    """Let the loop do everything that is ready, and what that makes ready."""
    for _ in range(5):
        await asyncio.sleep(0)


def on_a_loop(main: Callable[[Storage, VirtualClock, MemoryBroker], Awaitable[None]]) -> None:
    """Run a test with a storage of its own whose clock stands still."""

    async def run() -> None:
        clock = VirtualClock(1_000_000.0)
        storage = Storage(clock, Settings(result_ttl=100, event_ttl=100, dead_letter_ttl=100))
        broker = MemoryBroker("memory://test", storage, asyncio.get_running_loop())
        await main(storage, clock, broker)
        await broker.close()

    asyncio.run(run())


def test_a_delayed_run_comes_when_the_clock_reaches_its_instant_and_not_before() -> None:
    async def main(storage: Storage, clock: VirtualClock, broker: MemoryBroker) -> None:
        got: list[Delivery] = []
        await broker.runs.consume(["reports"], 10, got.append)
        await broker.runs.enqueue([message(at=clock.time() + 3600)])
        await settle_down()
        clock.advance(3599)
        await settle_down()
        assert got == []
        clock.advance(1)
        assert len(got) == 1

    on_a_loop(main)


def test_advancing_past_many_instants_delivers_each_run_at_its_own() -> None:
    async def main(storage: Storage, clock: VirtualClock, broker: MemoryBroker) -> None:
        seen: list[float] = []
        start = clock.time()
        await broker.runs.consume(["reports"], 10, lambda _: seen.append(clock.time() - start))
        await broker.runs.enqueue([message(at=start + delay) for delay in (30, 10, 20)])
        await settle_down()
        clock.advance(86_400)
        assert seen == [10, 20, 30]

    on_a_loop(main)


def test_an_expired_run_waits_for_a_worker_to_settle_it() -> None:
    async def main(storage: Storage, clock: VirtualClock, broker: MemoryBroker) -> None:
        got: list[Delivery] = []
        await broker.runs.enqueue([run := message(expires=clock.time() + 10)])
        clock.advance(3600)
        assert await broker.queues.depth("reports") == 1
        await broker.runs.consume(["reports"], 10, got.append)
        await settle_down()
        assert [delivery.run_id for delivery in got] == [run.run_id]

    on_a_loop(main)


def test_a_paused_queue_goes_on_when_the_clock_reaches_the_end_of_its_pause() -> None:
    async def main(storage: Storage, clock: VirtualClock, broker: MemoryBroker) -> None:
        seen: list[float] = []
        start = clock.time()
        await broker.queues.pause("reports", start + 60)
        await broker.runs.consume(["reports"], 10, lambda _: seen.append(clock.time() - start))
        await broker.runs.enqueue([message(), message(at=start + 30), message(at=start + 90)])
        await settle_down()
        clock.advance(59.999)
        assert seen == []
        clock.advance(100)
        assert seen == [60, 60, 90]

    on_a_loop(main)


def test_a_queue_paused_for_ever_stays_paused_however_far_the_clock_goes() -> None:
    async def main(storage: Storage, clock: VirtualClock, broker: MemoryBroker) -> None:
        got: list[Delivery] = []
        await broker.queues.pause("reports")
        await broker.runs.consume(["reports"], 10, got.append)
        await broker.runs.enqueue([message()])
        await settle_down()
        clock.advance(100 * 365 * 86_400)
        assert got == []

    on_a_loop(main)


def test_a_question_needs_no_clock_to_move() -> None:
    async def main(storage: Storage, clock: VirtualClock, broker: MemoryBroker) -> None:
        await broker.requests.listen("who", lambda _: None)
        await broker.requests.listen("who", lambda _: b"me")
        assert await broker.requests.ask("who", b"", timeout=3600) == [b"me"]

    on_a_loop(main)


def test_a_delayed_run_is_no_part_of_the_depth_until_it_is_due() -> None:
    async def main(storage: Storage, clock: VirtualClock, broker: MemoryBroker) -> None:
        await broker.runs.enqueue([message(at=clock.time() + 10)])
        assert await broker.queues.depth("reports") == 0
        clock.advance(10)
        assert await broker.queues.depth("reports") == 1

    on_a_loop(main)


def test_runs_of_one_priority_come_in_the_order_in_which_they_could_first_come() -> None:
    async def main(storage: Storage, clock: VirtualClock, broker: MemoryBroker) -> None:
        delayed = message(at=clock.time() + 5)
        first, last = message(), message()
        await broker.runs.enqueue([delayed, first])
        clock.advance(10)
        await broker.runs.enqueue([last])
        got: list[Delivery] = []
        await broker.runs.consume(["reports"], 10, got.append)
        await settle_down()
        assert [it.run_id for it in got] == [first.run_id, delayed.run_id, last.run_id]

    on_a_loop(main)


def test_a_run_id_may_be_stored_again_after_the_dedup_window() -> None:
    async def main(storage: Storage, clock: VirtualClock, broker: MemoryBroker) -> None:
        got: list[Delivery] = []
        await broker.runs.consume(["reports"], 10, got.append)
        run = message()
        for advance, expected in ((29, 1), (1, 2)):
            await broker.runs.enqueue([run])
            await settle_down()
            for delivery in got:
                delivery.ack()
            clock.advance(advance)
            await broker.runs.enqueue([run])
            await settle_down()
            assert len(got) == expected

    on_a_loop(main)


def test_an_ack_after_the_claim_was_released_takes_the_run_off_if_nobody_has_it() -> None:
    async def main(storage: Storage, clock: VirtualClock, broker: MemoryBroker) -> None:
        got: list[Delivery] = []
        consumption = await broker.runs.consume(["reports"], 10, got.append)
        await broker.runs.enqueue([message()])
        await settle_down()
        await consumption.close()
        assert await broker.queues.depth("reports") == 1
        got[0].ack()
        assert await broker.queues.depth("reports") == 0

    on_a_loop(main)


def test_a_late_ack_leaves_a_run_alone_that_another_worker_has() -> None:
    async def main(storage: Storage, clock: VirtualClock, broker: MemoryBroker) -> None:
        lost: list[Delivery] = []
        heir: list[Delivery] = []
        consumption = await broker.runs.consume(["reports"], 10, lost.append)
        await broker.runs.enqueue([message()])
        await settle_down()
        await consumption.close()
        await broker.runs.consume(["reports"], 10, heir.append)
        await settle_down()
        lost[0].ack()
        await lost[0].reschedule(clock.time() + 5)
        assert await broker.queues.depth("reports") == 1
        heir[0].ack()
        assert await broker.queues.depth("reports") == 0

    on_a_loop(main)


def test_a_run_handed_back_goes_to_another_worker_if_one_has_room() -> None:
    async def main(storage: Storage, clock: VirtualClock, broker: MemoryBroker) -> None:
        one: list[Delivery] = []
        other: list[Delivery] = []
        await broker.runs.consume(["reports"], 1, one.append)
        await broker.runs.enqueue([message()])
        await until(lambda: one)
        await broker.runs.consume(["reports"], 1, other.append)
        await settle_down()
        await one[0].release()
        await settle_down()
        assert (len(one), len(other)) == (1, 1)

    on_a_loop(main)


def test_a_worker_that_stops_before_its_loop_turns_gets_nothing() -> None:
    async def main(storage: Storage, clock: VirtualClock, broker: MemoryBroker) -> None:
        got: list[Delivery] = []
        consumption = await broker.runs.consume(["reports"], 10, got.append)
        await broker.runs.enqueue([message()])
        await consumption.stop()
        await settle_down()
        assert got == []
        assert await broker.queues.depth("reports") == 1

    on_a_loop(main)


def test_a_watch_that_is_closed_before_its_loop_turns_sees_nothing() -> None:
    async def main(storage: Storage, clock: VirtualClock, broker: MemoryBroker) -> None:
        run_id = RUN_IDS.new()
        seen: list[OutcomeRecord] = []
        watch = await broker.results.watch(run_id, seen.append, lambda: None)
        await broker.results.put(OutcomeRecord(run_id, b"done"))
        await watch.close()
        await settle_down()
        assert seen == []

    on_a_loop(main)


def test_outcomes_events_and_dead_letters_are_forgotten_after_their_time_to_live() -> None:
    async def main(storage: Storage, clock: VirtualClock, broker: MemoryBroker) -> None:
        got: list[Delivery] = []
        await broker.runs.consume(["reports"], 10, got.append)
        await broker.runs.enqueue([run := message()])
        await settle_down()
        await got[0].dead_letter("Poison.", b"")
        await broker.results.put(OutcomeRecord(run.run_id, b"done"))
        broker.events.append([Event(run.run_id, "Failed", clock.time(), "build")])

        async def kept() -> tuple[bool, int, int]:
            letters = [letter async for letter in broker.dead_letters.read()]
            events = [event async for event in broker.events.read()]
            return await broker.results.get(run.run_id) is not None, len(events), len(letters)

        clock.advance(99)
        assert await kept() == (True, 1, 1)
        clock.advance(1.5)
        assert await kept() == (False, 0, 0)
        assert await broker.results.put(OutcomeRecord(run.run_id, b"anew")) is True

    on_a_loop(main)


def test_slots_and_workers_are_forgotten_when_their_lease_ends() -> None:
    async def main(storage: Storage, clock: VirtualClock, broker: MemoryBroker) -> None:
        await broker.slots.acquire("api", "one", 1, 10)
        await broker.heartbeats.beat("worker", b"", 10)
        clock.advance(9)
        assert await broker.slots.acquire("api", "two", 1, 10) is None
        await broker.slots.acquire("api", "one", 1, 10)
        clock.advance(9)
        assert await broker.heartbeats.living() == []
        assert await broker.slots.acquire("api", "two", 1, 10) is None
        clock.advance(1)
        assert await broker.slots.acquire("api", "two", 1, 10)

    on_a_loop(main)


def test_a_body_beyond_the_inline_limit_is_refused_and_the_way_out_is_named() -> None:
    async def main(storage: Storage, clock: VirtualClock, broker: MemoryBroker) -> None:
        big = bytes(broker.inline_limit + 1)
        with pytest.raises(BrokerError, match="put it in a blob"):
            await broker.runs.enqueue([Message(RUN_IDS.new(), "reports", big)])
        with pytest.raises(BrokerError, match="put it in a blob"):
            await broker.results.put(OutcomeRecord(RUN_IDS.new(), big))

    on_a_loop(main)


def test_a_closed_client_says_so() -> None:
    async def main(storage: Storage, clock: VirtualClock, broker: MemoryBroker) -> None:
        await broker.close()
        assert repr(broker) == "<MemoryBroker memory://test, closed>"
        with pytest.raises(BrokerUnavailable, match="this client of memory://test is closed"):
            await broker.runs.enqueue([message()])
        broker.events.append([Event("id", "Running", 0.0, "build")])

    on_a_loop(main)


def test_brokers_of_one_url_share_what_is_stored_and_those_of_another_do_not() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        urls = ["memory://shared-name", "memory://shared-name/", "memory://another-name"]
        one, same, other = [await jtask_memory.open_broker(url, "", loop) for url in urls]
        await one.counters.add("built")
        assert await same.counters.add("built") == 2
        assert await other.counters.add("built") == 1
        for broker in (one, same, other):
            await broker.close()

    asyncio.run(main())


def test_what_is_stored_outlives_the_client_that_stored_it() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        broker = await jtask_memory.open_broker("memory://outlives", "", loop)
        await broker.runs.enqueue([message()])
        await broker.close()
        broker = await jtask_memory.open_broker("memory://outlives", "", loop)
        assert await broker.queues.depth("reports") == 1
        await broker.close()

    asyncio.run(main())


def test_a_fresh_space_is_empty_and_has_the_given_clock() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        before = await jtask_memory.open_broker("memory://fresh", "", loop)
        await before.runs.enqueue([message()])
        clock = VirtualClock()
        jtask_memory.fresh_storage("memory://fresh", clock)
        broker = await jtask_memory.open_broker("memory://fresh", "", loop)
        assert await broker.queues.depth("reports") == 0
        await broker.runs.enqueue([message(at=clock.time() + 60)])
        clock.advance(60)
        assert await broker.queues.depth("reports") == 1
        await before.close()
        await broker.close()

    asyncio.run(main())


def test_clients_on_loops_of_several_threads_share_the_work() -> None:
    storage = Storage()
    runs = [message() for _ in range(2000)]
    done: list[str] = []

    async def work() -> None:
        broker = MemoryBroker("memory://test", storage, asyncio.get_running_loop())

        def receive(delivery: Delivery) -> None:
            done.append(delivery.run_id)
            delivery.ack()

        await broker.runs.consume(["reports"], 3, receive)
        while len(done) < len(runs):
            await asyncio.sleep(0.001)
        await broker.close()

    def produce(part: list[Message]) -> None:
        loop = asyncio.new_event_loop()
        broker = MemoryBroker("memory://test", storage, loop)
        for run in part:
            broker.runs.enqueue_from_thread(run)
        loop.close()

    threads = [threading.Thread(target=lambda: asyncio.run(work())) for _ in range(3)]
    threads += [threading.Thread(target=produce, args=(runs[part::2],)) for part in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [run.run_id for run in runs]


def test_the_runs_of_a_worker_whose_loop_ended_go_to_another() -> None:
    storage = Storage()
    lost: list[Delivery] = []
    heir: list[Delivery] = []

    async def vanish() -> None:
        broker = MemoryBroker("memory://test", storage, asyncio.get_running_loop())
        await broker.runs.enqueue([message()])
        await broker.runs.consume(["reports"], 10, lost.append)
        await until(lambda: lost)

    async def inherit() -> None:
        broker = MemoryBroker("memory://test", storage, asyncio.get_running_loop())
        await broker.runs.consume(["reports"], 10, heir.append)
        await broker.runs.enqueue([message()])
        await until(lambda: len(heir) == 2)
        await broker.close()

    asyncio.run(vanish())
    asyncio.run(inherit())
    assert lost[0].run_id in {delivery.run_id for delivery in heir}


def test_a_watch_on_a_loop_that_ended_is_forgotten() -> None:
    storage = Storage()
    run_id = RUN_IDS.new()

    async def vanish() -> None:
        broker = MemoryBroker("memory://test", storage, asyncio.get_running_loop())
        await broker.results.watch(run_id, lambda _: None, lambda: None)

    async def store() -> None:
        broker = MemoryBroker("memory://test", storage, asyncio.get_running_loop())
        await broker.results.put(OutcomeRecord(run_id, b"done"))

    asyncio.run(vanish())
    assert storage.watchers.of([run_id]) != []
    asyncio.run(store())
    assert storage.watchers.of([run_id]) == []


def test_a_forked_child_begins_with_nothing() -> None:
    url = "memory://forked"
    parent = jtask_memory.storage_of(url)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if jtask_memory.storage_of(url) is not parent else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_delivery_shows_its_run_queue_and_count() -> None:
    async def main(storage: Storage, clock: VirtualClock, broker: MemoryBroker) -> None:
        got: list[Delivery] = []
        await broker.runs.consume(["reports"], 10, got.append)
        await broker.runs.enqueue([run := message()])
        await until(lambda: got)
        assert repr(got[0]) == f"<MemoryDelivery {run.run_id} of 'reports', delivery 1>"

    on_a_loop(main)
