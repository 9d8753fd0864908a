"""Tasks are functions: you can call them directly, with no broker and no worker.

    python app.py

Options, states, hooks and plugins apply to a direct call as they do in a worker; only the queue is
missing. So you can write and test a program in the foreground, and move it to the background by
replacing the calls with `.delay(...)`.
"""

import asyncio

from jtask import runtime, task


@task
def word_count(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


@task(name="greeting")
async def greet(name: str) -> str:
    """Greet somebody, and say which run did."""
    await asyncio.sleep(0.01)
    return f"Hello, {name}! (attempt {runtime.attempt} of a run of {runtime.task_name!r})"


def main() -> None:
    print(word_count("one two three"))
    print(asyncio.run(greet("Ada")))


if __name__ == "__main__":
    main()
