"""Three runs for two workers: two start immediately, the third when a worker is free.

    jtask serve tasks.py --concurrency 1 --prefetch 0      # terminals 1 and 2
    python caller.py                                       # terminal 3

With `--concurrency 1`, a worker executes one run at a time. With `--prefetch 0`, it holds no other
run in the meantime. Kill one of the workers while it brews (kill -9): its run moves to the other
one within the lease of 15 seconds (JTASK_LEASE).
"""

from tasks import brew


def main() -> None:
    runs = [brew.delay(drink) for drink in ("tea", "coffee", "cocoa")]
    for run in runs:
        print(run.result(timeout=60))


if __name__ == "__main__":
    main()
