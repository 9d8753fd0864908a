"""What stands in the place of names that Celery, Dramatiq, RQ, arq, taskiq, Huey and Prefect have.

Each text goes on a sentence after a colon. Imported when somebody has used such a name.
"""

from collections.abc import Mapping

from jtask.errors import ArgumentError

OPTION_NAMES = {
    "actor_name": "name",
    "autoretry_for": "retry_on",
    "concurrency": "limit",
    "crontab": "cron",
    "default_retry_delay": "retry_delay_seconds",
    "flow_run_name": "task_run_name",
    "job_id": "idempotency_key",
    "job_timeout": "timeout_seconds",
    "lock": "limit",
    "max_attempts": "retries",
    "max_concurrency": "limit",
    "max_retries": "retries",
    "max_tries": "retries",
    "min_backoff": "retry_delay_seconds",
    "on_success": "on_completion",
    "once": "unique",
    "queue_name": "queue",
    "retry": "retries",
    "retry_backoff": "retry_delay_seconds",
    "retry_jitter": "retry_jitter_factor",
    "retry_kwargs": "retries",
    "retry_on_error": "retries",
    "retry_when": "retry_condition_fn",
    "routing_key": "queue",
    "run_every": "every",
    "schedule": "cron",
    "shadow": "task_run_name",
    "singleton": "unique",
    "soft_time_limit": "soft_timeout_seconds",
    "task_id": "idempotency_key",
    "task_name": "name",
    "time_limit": "timeout_seconds",
}
"""What options are called elsewhere, where no likeness tells."""

_ALWAYS = "it is always so: leave it out"
_OUTCOMES = "each run has an outcome, which is kept for JTASK_RESULT_TTL: leave it out"
_NO_APP = "there is no app: JTASK_URL names the broker"
_NO_RETRY_CAP = "give retry_delay_seconds a list, whose last number repeats"
_HOOKS = "a plugin's hooks, such as jtask_around, do what it does for many tasks"
_AFTER = "pass the run to what follows, as in after.delay(run), or give that wait_for=[run]"
NO_OPTIONS = {
    "acks_late": _ALWAYS,
    "asset_deps": "jtask has no assets",
    "backend": _NO_APP,
    "base": _HOOKS,
    "bind": "jtask.runtime tells what self.request does, such as runtime.run_id",
    "broker": _NO_APP,
    "cache_result_in_memory": "a handle keeps the value that it has read: leave it out",
    "compression": "large arguments are kept beside the message: leave it out",
    "connection": _NO_APP,
    "context": "jtask.runtime knows the run, such as runtime.run_id",
    "depends_on": "it belongs to a call: pass runs as arguments, or use .apply_async(wait_for=...)",
    "exchange": "name a queue=",
    "failure_ttl": "outcomes are kept for JTASK_RESULT_TTL, dead letters for JTASK_DEAD_LETTER_TTL",
    "ignore_result": _OUTCOMES,
    "keep_result": _OUTCOMES,
    "keep_result_forever": _OUTCOMES,
    "labels": "use tags=[...], or options that a plugin declares",
    "link": _AFTER,
    "link_error": "use on_failure=[...], or pass allow_failure(run) to what follows",
    "max_age": "it belongs to a call: use .with_options(expires=...).delay(...)",
    "max_backoff": _NO_RETRY_CAP,
    "meta": "use runtime.progress(done, total, message) in the task, or tags=[...]",
    "on_retry_exhausted": "use on_failure=[...]",
    "rate_limit": "make a limit with a name, such as `jtask limits create api 100 --per minute`",
    "reject_on_worker_lost": _ALWAYS,
    "result_ttl": _OUTCOMES,
    "retry_backoff_max": _NO_RETRY_CAP,
    "send_events": _ALWAYS,
    "shared": "every task can be used anywhere: leave it out",
    "store_errors_even_if_ignored": _ALWAYS,
    "store_results": _OUTCOMES,
    "throws": "all failures are logged alike: leave it out",
    "track_started": _ALWAYS,
    "typing": "arguments are always checked: leave it out",
    "viz_return_value": "jtask draws no flows",
}
"""What stands in the place of an option that only another library has."""

_SENDING = "a call is repeated for JTASK_ENQUEUE_TIMEOUT: leave it out"
AT_A_CALL = {
    "add_to_parent": "the run has the run that calls as its parent: leave it out",
    "chord": "pass the list of runs to what follows, as in after.delay(runs)",
    "dependencies": "use wait_for=[...], or pass runs as arguments",
    "group_id": "call .delay_many([...]), and keep the list that it returns",
    "headers": "pass it as an argument, or use .with_options(tags=[...]).delay(...)",
    "producer": _NO_APP,
    "publisher": _NO_APP,
    "retry": _SENDING,
    "retry_policy": _SENDING,
    "serializer": "it belongs to the task: @task(serializer=...)",
}
"""What stands in the place of what calls elsewhere take."""

_HANDLES = "pass runs as arguments, as in g.delay(f.delay(1))"
_MANY = "use .map(..., deferred=True) or .delay_many([...])"
_LATER = "use .apply_async(args, countdown=...) or .with_options(eta=...).delay(...)"
_ON_COMMIT = "use transaction.on_commit(lambda: a_task.delay(...)) of Django"
_DELAY = "use .delay(...)"
_FOR_ONE_RUN = "use .with_options(...).delay(...)"
ON_TASKS = {
    "AsyncResult": "use jtask.get_run(run_id, a_task)",
    "add_to_chord": _HANDLES,
    "adefer": "use await a_task.adelay(...)",
    "aio": "an asynchronous task is awaited as it is",
    "amap": "map returns at once: use .map(...), and await the futures",
    "app": _NO_APP,
    "apply": "call the task itself",
    "apply_async_on_commit": _ON_COMMIT,
    "asubmit": "submit returns at once: use .submit(...), and await the future",
    "backend": _NO_APP,
    "broker": _NO_APP,
    "call_local": "call the task itself",
    "chunks": _MANY,
    "configure": _FOR_ONE_RUN,
    "defer": _DELAY,
    "deploy": "serve it, with `jtask serve` or .serve()",
    "delay_on_commit": _ON_COMMIT,
    "enqueue": _DELAY,
    "enqueue_at": _LATER,
    "enqueue_in": _LATER,
    "from_source": "import the module that it is in",
    "isasync": "use a_task.is_async",
    "kicker": _FOR_ONE_RUN,
    "kiq": "use await a_task.adelay(...)",
    "logger": "use logging.getLogger(__name__)",
    "message": _HANDLES,
    "message_with_options": _HANDLES,
    "on_success": "use on_completion",
    "perform_async": _DELAY,
    "perform_in": _LATER,
    "pipe": _HANDLES,
    "replace": "return the id of the run that goes on, or wait for it in the task",
    "request": "jtask.runtime has it, such as runtime.run_id and runtime.attempt",
    "retry": "raise the error, or RetryAfter(seconds) of jtask.errors: retries= does the rest",
    "run": "call the task itself, or a_task.fn, the function alone",
    "s": _HANDLES,
    "schedule": _LATER,
    "send": _DELAY,
    "send_with_options": _FOR_ONE_RUN,
    "si": "use .apply_async(args, wait_for=[run])",
    "starmap": _MANY,
    "subtask": _HANDLES,
    "task_key": "use a_task.key",
    "then": _HANDLES,
    "update_state": "use runtime.progress(done, total, message)",
    "visualize": "jtask draws no flows",
    "xmap": _MANY,
}
"""What stands in the place of attributes of a task."""

_RESULT = "use run.result(timeout=...)"
_STATE = "use run.state.name"
_OVER = "use run.state.is_final()"
ON_RUNS = {
    "abort": "use run.cancel()",
    "aresult": "use await run.result_async()",
    "children": "`jtask runs show ID` has the runs that it has started",
    "collect": _RESULT,
    "date_done": "use run.end_time",
    "delete": "use run.cancel(); outcomes are kept for JTASK_RESULT_TTL",
    "error": "use run.exception()",
    "exc_info": "use run.exception()",
    "failed": "use run.state.is_failed()",
    "fetch": _RESULT,
    "get": _RESULT,
    "get_result": _RESULT,
    "get_state": _STATE,
    "get_status": _STATE,
    "id": "use run.run_id",
    "is_finished": _OVER,
    "is_ready": _OVER,
    "job_id": "use run.run_id",
    "join": _RESULT,
    "message_id": "use run.run_id",
    "ready": _OVER,
    "retries": "use run.attempt once it is over, or run.info.history",
    "return_value": _RESULT,
    "revoke": "use run.cancel()",
    "status": _STATE,
    "successful": "use run.state.is_completed()",
    "task_id": "use run.run_id",
    "then": _HANDLES,
    "traceback": "use run.info.failure.traceback once it is over",
    "wait_result": "use await run.result_async(timeout=...)",
}
"""What stands in the place of attributes of a handle on a run."""

_LIST_RESULT = "use runs.result(timeout=...)"
ON_RUN_LISTS = {
    "cancel": "use run.cancel() of each",
    "completed_count": "use jtask.futures.wait(runs, timeout=0).done",
    "failed": "use run.state.is_failed() of each",
    "get": _LIST_RESULT,
    "get_results": _LIST_RESULT,
    "join": _LIST_RESULT,
    "join_native": _LIST_RESULT,
    "ready": "use runs.wait(timeout=0)",
    "results": _LIST_RESULT,
    "revoke": "use run.cancel() of each",
    "successful": "use run.state.is_completed() of each",
}
"""What stands in the place of attributes of a list of handles."""

IMPORTS = {
    "AsyncResult": "use jtask.get_run(run_id)",
    "Celery": "a task needs no app: use @task, and JTASK_URL for the broker",
    "Flow": "use SyncFlow and AsyncFlow",
    "Retry": "import RetryAfter from jtask.errors",
    "actor": "use @task",
    "as_completed": "import it from jtask.futures",
    "aserve": "import it from jtask.task_worker",
    "chain": _HANDLES,
    "chord": "pass the list of runs to what follows, as in after.delay(runs)",
    "concurrency": "import it from jtask_limits",
    "cron": "use @task(cron=...)",
    "current_task": "use jtask.runtime",
    "get_client": "use jtask.get_run(run_id), or jtask_cancellation.bulk.find_runs(...)",
    "group": _MANY,
    "opaque": "import it from jtask.annotations",
    "pipeline": _HANDLES,
    "quote": "import it from jtask.annotations",
    "rate_limit": "import it from jtask_limits",
    "serve": "import it from jtask.task_worker",
    "shared_task": "use @task",
    "signature": _HANDLES,
    "transaction": "import it from jtask_transactions",
    "wait": "import it from jtask.futures",
}
"""What stands in the place of what is imported elsewhere."""

COMMANDS = {
    "beat": "workers run schedules, `jtask schedules ls` shows them",
    "call": "use `jtask enqueue`",
    "concurrency-limit": "use `jtask limits`",
    "control": "use `jtask cancel`, `jtask queues` or `jtask limits`",
    "events": "use `jtask runs ls`, or `jtask runs show -f`",
    "flow-run": "use `jtask runs`",
    "flower": "use `jtask console`",
    "gcl": "use `jtask limits`",
    "inspect": "use `jtask runs ls`, `jtask queues ls` or `jtask workers ls`",
    "purge": "use `jtask queues purge`",
    "revoke": "use `jtask cancel`",
    "scheduler": "workers run schedules, `jtask schedules ls` shows them",
    "status": "use `jtask workers ls`",
    "task": "use `jtask serve`",
    "task-run": "use `jtask runs`",
    "worker": "use `jtask serve`",
}
"""What stands in the place of commands."""

_TARGETS = "name modules, files or tasks to serve, as in `jtask serve tasks`"
_QUEUES = "a worker takes runs from the queues of the tasks that it serves"
_POOLS = 'use --concurrency and --processes, and isolation="process" on tasks'
SERVE_OPTIONS = {
    "-A": _TARGETS,
    "--app": _TARGETS,
    "-B": "workers run schedules anyway",
    "--beat": "workers run schedules anyway",
    "-P": _POOLS,
    "--autoscale": _POOLS,
    "--pool": _POOLS,
    "-Q": _QUEUES,
    "--queue": _QUEUES,
    "--queues": _QUEUES,
    "--max-tasks-per-child": _POOLS,
    "--threads": "use --concurrency",
    "--workers": "use --processes",
    "-l": "use --log-level",
    "--loglevel": "use --log-level",
    "-m": _TARGETS,
    "--module": _TARGETS,
}
"""What stands in the place of options of a worker."""


_SCHEDULES = "it belongs to the task: @task(cron=...) or @task(every=...)"
SERVE_ARGUMENTS = {
    "cron": _SCHEDULES,
    "interval": _SCHEDULES,
    "limit": "use concurrency=...",
    "name": "it belongs to the task: @task(name=...) or @flow(name=...)",
    "parameters": "a flow that runs on a schedule takes its defaults",
    "pause_on_shutdown": "use `jtask schedules pause`",
    "schedule": _SCHEDULES,
    "schedules": _SCHEDULES,
    "status_server_port": "use `jtask serve --health-port`",
    "tags": "they belong to the task: @task(tags=[...]) or @flow(tags=[...])",
    "timeout": "a worker works until it is stopped",
}
"""What stands in the place of what is given to `serve` elsewhere."""

ON_RUNTIME = {
    "context": "jtask.runtime is the context of the run, as in runtime.run_id",
    "deployment": "jtask has no deployments",
    "enqueue_time": "use runtime.created_at",
    "id": "use runtime.run_id",
    "job_id": "use runtime.run_id",
    "job_try": "use runtime.attempt",
    "request": "jtask.runtime has it, such as runtime.run_id and runtime.attempt",
    "retries": "use runtime.attempt - 1",
    "run_count": "use runtime.attempt",
    "task_id": "use runtime.run_id",
    "update_state": "use runtime.progress(done, total, message)",
}
"""What stands in the place of what is known of a run elsewhere."""


def no_attribute(owner: str, name: str, ways: Mapping[str, str]) -> AttributeError | None:
    """Return what to raise for a name that another library has; None if none is known to.

    Args:
        owner: What has no such attribute.
        name: The attribute.
        ways: What to do instead, by name.
    """
    way = ways.get(name)
    return AttributeError(f"{owner} has no {name!r}: {way}") if way else None


def no_argument_of_serve(name: str) -> ArgumentError:
    """Return what to raise for what `serve` does not take.

    Args:
        name: The keyword.
    """
    way = SERVE_ARGUMENTS.get(name, "it takes concurrency=..., see jtask.task_worker.serve")
    return ArgumentError(f"serve has no argument {name!r}: {way}")
