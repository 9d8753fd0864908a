"""Call a hook of several plugins, each for itself, and log those that fail by their names."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from jtask.errors import BrokerError
from jtask.hooks import wanted_states
from jtask.lifecycle import describe
from jtask.rate_limited_log import RateLimitedLog
from jtask.states import StateName

_PAUSE_SECONDS = 60.0  # a hook that fails for each run would fill the log
_log = logging.getLogger("jtask")


class Implementation(NamedTuple):
    """One plugin's implementation of a hook.

    Attributes:
        plugin: The plugin's name, for the log.
        function: What the plugin has marked with `hookimpl`.
        pick: Takes from the facts those that the function asks for, in its order.
        source: Tells plugins of one name apart.
    """

    plugin: str
    function: Callable[..., Any]
    pick: Callable[[dict[str, Any]], tuple[Any, ...]]
    source: int = 0

    @classmethod
    def of(
        cls, plugin: str, function: Callable[..., Any], argnames: Sequence[str], source: int = 0
    ) -> "Implementation":
        """Return the implementation whose function takes arguments of these names."""
        return cls(plugin, function, _picker(argnames), source)

    def call(self, facts: dict[str, Any]) -> Any:
        """Call the function with what it asks for."""
        return self.function(*self.pick(facts))


class HookFailures:
    """Log failures of hooks: a traceback for the first of a kind, then a line once in a while.

    A kind is the plugin, the hook, the exception's type, and the line of code that raised it. What
    the broker refuses is no defect of the plugin: its sentence needs no traceback.

    Args:
        pause: Seconds of silence about a kind after each line.
        clock: Gives the present instant in seconds.
    """

    def __init__(
        self, pause: float = _PAUSE_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = RateLimitedLog(pause, clock)
        self._lock = threading.Lock()

    def log(
        self, plugin: str, hook: str, error: BaseException, about: str, **fields: object
    ) -> None:
        """Log that a hook of a plugin failed, if it is time to.

        Args:
            plugin: The plugin's name.
            hook: The hook's name.
            error: What it raised.
            about: What the hook was called for, such as `for run ... of task ...`.
            fields: The same for programs, as `extra` of the log record.
        """
        kind = (plugin, hook, type(error), _place(error))
        with self._lock:
            is_first = kind not in self._rate
            count = self._rate.count(kind)
        if count:
            _log.error(
                "plugin %r failed in %s %s: %s%s",
                plugin,
                hook,
                about,
                describe(error),
                f" (and {count - 1} more since the last such line)" if count > 1 else "",
                exc_info=error if is_first and not isinstance(error, BrokerError) else None,
                extra={"action": "hook_failed", "plugin": plugin, "hook": hook, **fields},
            )

    def forget(self) -> None:
        """Log whatever comes next with its traceback."""
        with self._lock:
            self._rate.forget()


class HookCaller:
    """Calls one hook of some plugins with facts by name.

    Args:
        hook: The hook's name.
        implementations: Whom to call, in order.
        failures: Logs those that fail.
    """

    __slots__ = ("_failures", "hook", "implementations")

    def __init__(
        self, hook: str, implementations: Iterable[Implementation], failures: HookFailures
    ) -> None:
        self.hook = hook
        self.implementations = tuple(implementations)
        self._failures = failures

    def __call__(self, **facts: Any) -> list[Any]:
        """Return the answers that are not None; the first failure is raised."""
        answers: list[Any] = []
        for _, function, pick, _ in self.implementations:
            answer = function(*pick(facts))
            if answer is not None:
                answers.append(answer)
        return answers

    def of_state(self, state: StateName) -> "HookCaller | None":
        """Return what calls those that want to be called in a state; None if nobody does."""
        wanted = [
            one
            for one in self.implementations
            if (states := wanted_states(one.function)) is None or state in states
        ]
        return HookCaller(self.hook, wanted, self._failures) if wanted else None

    def notify(self, about: str, **facts: Any) -> None:
        """Call every plugin, and log those that fail.

        Args:
            about: What the hook is called for, for the log.
            facts: The hook's arguments.
        """
        for implementation in self.implementations:
            try:
                implementation.call(facts)
            except Exception as error:
                self.log_failure(implementation, error, about)

    def call_on_io(self, run_id: str, facts: dict[str, Any], origin: str = "") -> list[Any]:
        """Call every plugin on the I/O loop, where one turn does much for other runs as well.

        Whatever gets out of a plugin is logged: a SystemExit would take the rest of the turn away.

        Args:
            run_id: The run that it is about.
            facts: The hook's arguments.
            origin: Where the run comes from, for the log.

        Returns:
            list[Any]: The answers that are not None.
        """
        answers: list[Any] = []
        for implementation in self.implementations:
            try:
                answer = implementation.call(facts)
            except BaseException as error:
                # Only here: every run that ends comes by.
                about = f"for run {run_id}{origin}"
                self.log_failure(implementation, error, about, run_id=run_id)
            else:
                if answer is not None:
                    answers.append(answer)
        return answers

    def log_failure(
        self, implementation: Implementation, error: BaseException, about: str, **fields: object
    ) -> None:
        """Log that one of the plugins failed; the arguments are those of `HookFailures.log`."""
        self._failures.log(implementation.plugin, self.hook, error, about, **fields)


def _place(error: BaseException) -> tuple[str, int] | None:
    """Return the line of code that raised an exception."""
    traceback = error.__traceback__
    if traceback is None:
        return None
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback.tb_frame.f_code.co_filename, traceback.tb_lineno


def _picker(names: Sequence[str]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    if not names:
        return lambda _: ()
    if len(names) > 1:
        return itemgetter(*names)
    only = names[0]
    return lambda facts: (facts[only],)
