"""`@task(office_hours=(9, 17))`: runs start Monday to Friday, between 9:00 and 17:00."""

from datetime import datetime, timedelta
from time import time

from jtask import errors, hooks, lifecycle, options


def opening(at, first, last):
    """Return `at` if the office is open then, otherwise when it next opens."""
    moment = datetime.fromtimestamp(at)
    while moment.weekday() > 4 or not first <= moment.hour < last:
        moment = moment.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        at = moment.timestamp()
    return at


@hooks.hookimpl
def jtask_options():
    return [options.Option("office_hours", check=tuple, help="The first hour and the last.")]


@hooks.hookimpl
def jtask_applies(task):
    return task.options["office_hours"] is not None


@hooks.hookimpl
def jtask_enqueue(request):
    start = max(request.at or 0, time())
    if opening(start, *request.task.options["office_hours"]) > start:
        raise errors.RunRefused("the office is closed: give the run an eta in business hours")


@hooks.hookimpl
def jtask_admit(run):
    now = time()
    opens = opening(now, *run.task.options["office_hours"]) if run.queue else now
    return lifecycle.Retry(opens, "the office is closed") if opens > now else None
