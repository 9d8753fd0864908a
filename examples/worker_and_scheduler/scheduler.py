"""The scheduler: it enqueues runs for now and for later, and may exit before they start.

    python worker.py            # terminal 1
    python scheduler.py         # terminal 2

The broker keeps track of the time: neither this program nor the worker has to run until then.
"""

from datetime import UTC, datetime, timedelta

from worker import remind


def main() -> None:
    now = remind.delay("Ada", "the run that starts at once")
    soon = remind.with_options(delay=1.0).delay("Ada", "a second later")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    later = remind.with_options(eta=tomorrow).delay("Ada", "the same time tomorrow")

    print(now.result(timeout=30))
    print(soon.result(timeout=30))
    print(f"{later.run_id} is {later.state.name} for {tomorrow:%Y-%m-%d %H:%M}")


if __name__ == "__main__":
    main()
