"""`@task` and what it makes: functions that can also be run in the background.

`Task` is `TaskInfo`, the facts, with its verbs: call, delay, serve.
"""

from jtask.retries import exponential_backoff  # where Prefect has it
from jtask.tasks.decorator import task  # eager: the name is that of a module here too
from jtask.tasks.kinds import AsyncGeneratorTask, AsyncTask, GeneratorTask, SyncTask
from jtask.tasks.task import Task

__all__ = [
    "AsyncGeneratorTask",
    "AsyncTask",
    "GeneratorTask",
    "SyncTask",
    "Task",
    "exponential_backoff",
    "task",
]
