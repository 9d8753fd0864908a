"""`jtask enqueue`: put one run on its queue."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from inspect import Parameter
from typing import TYPE_CHECKING, Any, cast

import click

from jtask.cli.output import say, say_json
from jtask.cli.parameters import SECONDS, as_json
from jtask.cli.result import print_end
from jtask.close_names import close_names
from jtask.errors import ArgumentError, ConfigurationError, TargetError

if TYPE_CHECKING:
    from jtask.runs import Run
    from jtask.tasks import Task

# DOTALL: a value may have line breaks.
_NAMED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


@click.command()
@click.argument("name")
@click.argument("arguments", nargs=-1, metavar="[ARGS]...")
@click.option("--queue", help="Queue for this run, instead of the task's own.")
@click.option(
    "--delay", type=SECONDS, metavar="S", help="How long to wait before the run may start."
)
@click.option(
    "--wait",
    is_flag=True,
    help="Wait for the run to end and print its result, like `jtask result`.",
)
@as_json
@click.pass_context
def enqueue(
    ctx: click.Context,
    name: str,
    arguments: tuple[str, ...],
    queue: str | None,
    delay: float | None,
    *,
    wait: bool,
    as_json: bool,
) -> None:
    """Put a run on its queue and print its id.

    NAME is a target (`module:task` or `file.py:task`; the code is loaded and the arguments are
    checked) or a task's key (the run is sent without loading code).

    ARGS are `name=value` pairs. With a target, bare values work too. A value is parsed as JSON,
    otherwise taken as text. Put `--` before bare values that begin with a minus.
    """
    _refuse_unshared_broker()
    if _is_target(name):
        run, key, on = _enqueue_target(name, arguments, queue, delay)
    else:
        run, key, on = _enqueue_key(name, arguments, queue, delay)
    if wait or queue is not None or not _is_target(name):
        _say_if_unserved(on)
    if wait:
        say(f"run {run.run_id} is on queue {on}", err=True)
        print_end(ctx, run, None, as_json=as_json)
    elif as_json:
        say_json({"run_id": run.run_id, "task": key, "queue": on})
    else:
        say(run.run_id)


def parse_value(text: str) -> Any:
    """Return what a string on the command line means: JSON, or else the string itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _refuse_unshared_broker() -> None:
    from jtask.client.opening import find_unshared
    from jtask.settings import get_settings

    scheme = find_unshared(get_settings().url)
    if scheme is not None:
        raise ConfigurationError(
            f"a run in {scheme}:// would end with this program: "
            f"unset JTASK_URL, or set it to a server"
        )


def _say_if_unserved(queue: str) -> None:
    """Say that the run may wait for long: a queue that was named by hand may be misspelt."""
    from jtask.client.process_client import get_client
    from jtask.run_summaries import name_of
    from jtask.wire.fields import known_fields

    client = get_client()
    living = client.io.run(client.broker.heartbeats.living())
    infos = [known_fields(info).get("queues") for _, info in living]
    lists = [cast("list[object]", queues) for queues in infos if isinstance(queues, list)]
    served = {queue for queues in lists for queue in queues if isinstance(queue, str)}
    if queue not in served:
        near = [other for other in served if name_of(other) == queue]
        near = near or close_names(queue, served)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        say(f"no worker serves queue {queue!r} now, the run waits for one{hint}", err=True)


def _is_target(name: str) -> bool:
    return ":" in name or "/" in name or name.endswith(".py")


def _enqueue_target(
    target: str, arguments: Sequence[str], queue: str | None, delay: float | None
) -> "tuple[Run[Any], str, str]":
    from jtask.worker.targets import load_task

    task = cast("Task[..., Any]", load_task(target))  # whatever `@task` makes is one
    args, kwargs = _typed(task, *_split(arguments))
    # Not its countdown: what is wrong with the delay is to be said of that.
    run = task.with_options(delay=delay).apply_async(args, kwargs, queue=queue)
    return run, task.key, queue or task.queue


def _split(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    positional: list[str] = []
    named: dict[str, str] = {}
    for argument in arguments:
        if found := _NAMED.fullmatch(argument):
            if found[1] in named:
                raise ArgumentError(
                    f"there are two values for argument {found[1]!r}: leave out one"
                )
            named[found[1]] = found[2]
        else:
            positional.append(argument)
    return positional, named


def _typed(
    task: "Task[..., Any]", positional: list[str], named: dict[str, str]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments as the task's annotations have them, read like those of a message."""
    try:
        texts = task.signature.bind(*positional, **named).arguments
    except TypeError:
        # They do not fit, which enqueueing says in its own words.
        return tuple(positional), named
    record = {name: _read(task.signature.parameters[name], text) for name, text in texts.items()}
    if task.serializer == "json":
        # As a worker reads them, so that "2031-05-04" becomes the date that the annotation asks
        # for.
        return task.codecs.arguments.decode(json.dumps(record).encode())
    bound = task.signature.bind_partial()
    bound.arguments.update(record)
    return bound.args, bound.kwargs


def _read(parameter: Parameter, text: Any) -> Any:
    # Before JSON is tried: 007 for a string stays 007. Annotations may be strings (PEP 563).
    if parameter.annotation in (str, "str"):
        return text
    if isinstance(text, str):
        return parse_value(text)
    if isinstance(text, Mapping):
        return {name: parse_value(value) for name, value in text.items()}  # pyright: ignore
    return [parse_value(value) for value in text]


def _enqueue_key(
    key: str, arguments: Sequence[str], queue: str | None, delay: float | None
) -> "tuple[Run[Any], str, str]":
    from jtask.client.enqueueing import OutgoingRun
    from jtask.client.process_client import get_client
    from jtask.contract import is_name
    from jtask.declaration.definition import Definition
    from jtask.declaration.keys import check_name
    from jtask.settings import get_settings
    from jtask.wire.envelope import Envelope

    if not is_name(key) and "." in key:
        place, _, last = key.rpartition(".")
        # A dot is in no key, but in every module:task that was written the Python way.
        raise TargetError(f"{key!r} is not a task key; did you mean {place}:{last}?")
    check_name("task key", key)
    positional, named = _split(arguments)
    if positional:
        raise ArgumentError(
            f"{positional[0]!r} has no name: with a task key, arguments must be name=value pairs; "
            f"use a target such as module:task for bare values"
        )
    on = check_name("queue", queue or get_settings().queue or key)
    payload = json.dumps({name: parse_value(text) for name, text in named.items()}).encode()
    client = get_client()
    now = time.time()
    run_id = client.ids.new()
    # Written here and not by `RunBuilder`, which needs the task's code.
    envelope = Envelope(run_id, key, key, "json", payload, now)
    prepared = OutgoingRun(
        run_id,
        on,
        envelope.encode(),
        at=Definition(delay=delay).not_before(now),
        handle=client.handle(run_id),
        task_key=key,
        created=now,
    )
    return client.enqueue_blocking(prepared), key, on
