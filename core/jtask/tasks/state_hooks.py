"""The verbs of a task that add to what is called when its runs change their states."""

from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar, cast

from jtask.declaration.definition import Definition
from jtask.declaration.task_info import TaskInfo
from jtask.options import check_options

P = ParamSpec("P")
R = TypeVar("R")
HookT = TypeVar("HookT", bound=Callable[..., object])


class HookedTask(TaskInfo[P, R]):
    """A task that functions can be added to as hooks."""

    def on_running(self, hook: HookT, /) -> HookT:
        """Call a function at the start of each attempt: `@a_task.on_running`.

        The function takes the task, the run (`jtask.runtime.RunContext`) and the state, and may be
        asynchronous; likewise for the next five, each of which does what the option of the same
        name does. Whatever it raises is logged and changes nothing.
        """
        return self._add_hook("on_running", hook)

    def on_completion(self, hook: HookT, /) -> HookT:
        """Call a function when a run has completed."""
        return self._add_hook("on_completion", hook)

    def on_failure(self, hook: HookT, /) -> HookT:
        """Call a function when a run has failed for good, or timed out."""
        return self._add_hook("on_failure", hook)

    def on_crashed(self, hook: HookT, /) -> HookT:
        """Call a function when a run has crashed, on the worker that finds it."""
        return self._add_hook("on_crashed", hook)

    def on_cancellation(self, hook: HookT, /) -> HookT:
        """Call a function when a run has been cancelled."""
        return self._add_hook("on_cancellation", hook)

    def on_retry(self, hook: HookT, /) -> HookT:
        """Call a function when a run has failed and will be retried."""
        return self._add_hook("on_retry", hook)

    def on_commit(self, hook: HookT, /) -> HookT:
        """Call a function when the transaction commits that a run is part of: `@a_task.on_commit`.

        The function takes the transaction (`jtask_transactions.Transaction`), and may be
        asynchronous; likewise for `on_rollback`. If it raises, the transaction is rolled back.
        """
        return self._add_hook("on_commit", hook)

    def on_rollback(self, hook: HookT, /) -> HookT:
        """Call a function to undo a run that has completed, when its transaction is rolled back.

        Whatever it raises is logged.
        """
        return self._add_hook("on_rollback", hook)

    def _add_hook(self, option: str, hook: HookT) -> HookT:
        if self.unbound is not None:
            return cast("HookedTask[..., R]", self.unbound)._add_hook(option, hook)
        # The hook goes to the definition too, so that copies made later have it.
        given = dict(self.definition.options)
        given[option] = [*cast("Iterable[Any]", given.get(option) or ()), hook]
        changed = self.definition.changed(options=given)
        self.options = checked_options(changed, self.fn)
        self.definition = changed
        if self.original is not None:
            # As if `with_options` had been given it: no run of the copy can carry it.
            self.overrides = {**self.overrides, option: self.options[option]}
        self.kept = {}  # worked out anew at the next use, with the new option
        return hook


def checked_options(definition: Definition, fn: Callable[..., Any]) -> dict[str, object]:
    """Return the options that plugins declare, checked; see `jtask.options.check_options`."""
    # Without options nothing is asked, so that a mere `@task` does not load the plugins.
    if not definition.options:
        return {}
    from jtask.plugins import get_plugins

    plugins = get_plugins()
    name = definition.name_for(fn)
    return check_options(definition.options, plugins.options, name, fn, plugins.find_unloaded)
