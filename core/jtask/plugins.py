"""Find, load and ask the plugins."""

import inspect
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import copy
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, cast

import pluggy

import jtask.hooks
from jtask.close_names import close_names
from jtask.declaration.kept_facts import kept_in_task
from jtask.declaration.task_info import TaskInfo
from jtask.errors import ConfigurationError
from jtask.hook_callers import HookCaller, HookFailures, Implementation
from jtask.options import Option
from jtask.singletons import Singleton
from jtask.states import StateName

if TYPE_CHECKING:
    from jtask.runtime import RunContext

GROUP = "jtask.plugins"
_IN_STATES = {"jtask_state", "jtask_settled"}
_READ_UNMARKED = {"jtask_settings"}  # by its name, for brokers too
_PLAIN = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_log = logging.getLogger("jtask")


class Plugins:
    """The loaded plugins, the options they declare, and which headers concern which of them."""

    def __init__(self, names: Iterable[str] | None = None) -> None:
        """Load plugins by the names of their entry points.

        Args:
            names: Which to load; None loads all that are installed.

        Raises:
            ConfigurationError: A name that is not installed, or a plugin that cannot be loaded.
        """
        self.manager = pluggy.PluginManager(jtask.hooks.PROJECT)
        self.manager.add_hookspecs(jtask.hooks)
        self._failures = HookFailures()
        for point in _chosen({p.name: p for p in entry_points(group=GROUP)}, names):
            self._load(point)
        self._ask_what_they_declare()

    @property
    def names(self) -> list[str]:
        """The names of the loaded plugins."""
        return sorted(name for name, _ in self.manager.list_name_plugin())

    def add(self, plugin: object) -> None:
        """Load a plugin that no entry point names, such as a test's own.

        Tasks that have been used keep to the plugins that they found.

        Raises:
            ConfigurationError: It cannot be loaded, has no hook, or is loaded already.
        """
        if not any(name.startswith("jtask_") for name in dir(plugin)):
            raise ConfigurationError(f"{plugin!r} is no plugin: it has none of jtask's hooks")
        if self.manager.is_registered(plugin):
            raise ConfigurationError(f"plugin {plugin!r} is loaded already")
        try:
            self._register(plugin)
            self._ask_what_they_declare()
        except Exception as error:
            if self.manager.is_registered(plugin):
                self.manager.unregister(plugin)
            raise ConfigurationError(f"plugin {plugin!r} cannot be loaded: {error}") from error
        if hasattr(plugin, "jtask_settings"):
            from jtask.settings.owners import add_owner

            add_owner(plugin)

    def remove(self, plugin: object) -> None:
        """Undo `add`."""
        self.manager.unregister(plugin)
        self._failures.forget()
        self._ask_what_they_declare()
        if hasattr(plugin, "jtask_settings"):
            from jtask.settings.owners import remove_owner

            remove_owner(plugin)

    def caller(
        self, hook: str, without: Iterable[object] = (), headers: Collection[str] = ()
    ) -> HookCaller | None:
        """Return what calls a hook of all plugins but some.

        Args:
            hook: The hook's name.
            without: The plugins to leave out.
            headers: What runs carry, for those that are called only for runs with one.

        Returns:
            HookCaller | None: Calls the one that was registered last first; None when no plugin
            implements the hook, so that asking costs nothing.
        """
        impls = self.manager.subset_hook_caller(hook, list(without)).get_hookimpls()
        # Called here and not by pluggy: a fifth of the cost, and each plugin for itself. Reversed,
        # for pluggy keeps the one that is called first at the end.
        implementations = [
            Implementation.of(self._name(impl), impl.function, impl.argnames, id(impl.plugin))
            for impl in reversed(impls)
            if (wanted := jtask.hooks.wanted_header(impl.function)) is None or wanted in headers
        ]
        return HookCaller(hook, implementations, self._failures) if implementations else None

    def callers_by_state(
        self, hook: str, without: Iterable[object] = (), headers: Collection[str] = ()
    ) -> Mapping[StateName, HookCaller]:
        """Return what calls a hook in each state of a run; a state is missing if nobody wants it.

        Args:
            hook: One that may be called `only_in` some states.
            without: The plugins to leave out.
            headers: What runs carry.
        """
        caller = self.caller(hook, without, headers)
        callers = {} if caller is None else {state: caller.of_state(state) for state in StateName}
        return {state: caller for state, caller in callers.items() if caller is not None}

    def single(self, hook: str, function: Callable[..., Any]) -> HookCaller:
        """Return what calls a function with a run as a hook is called."""
        implementation = Implementation.of(hook, function, ("run",))
        return HookCaller(hook, [implementation], self._failures)

    def uninterested(self, task: TaskInfo[..., Any]) -> list[object]:
        """Return the plugins that have nothing to do with a task."""
        impls = self.manager.hook.jtask_applies.get_hookimpls()
        # An implementation may leave out the arguments that it has no use for.
        answers = ((i.plugin, i.function(task) if i.argnames else i.function()) for i in impls)
        return [plugin for plugin, answer in answers if answer is False]

    def find_unloaded(self, option: str) -> str | None:
        """Return the name of an installed plugin that is not loaded and declares an option."""
        installed = {point.name for point in entry_points(group=GROUP)}
        for name in sorted(installed.difference(self.names)):
            try:
                # In plugins of its own: to look for one must not change what this process has
                # loaded.
                if option in Plugins([name]).options:
                    return name
            except Exception as error:
                _log.debug("plugin %r cannot be loaded: %s", name, error)
        return None

    def _load(self, point: EntryPoint) -> None:
        try:
            self._register(point.load(), point.name)
        except Exception as error:
            raise ConfigurationError(
                f"plugin {point.name!r} ({point.value}) cannot be loaded: {error}; "
                f"name the plugins to load in JTASK_PLUGINS to go on without it"
            ) from error

    def _register(self, plugin: object, name: str | None = None) -> None:
        _check_marks(plugin, self.manager)
        self.manager.register(plugin, name)
        # Or a hook with a misspelt name would just never be called.
        self.manager.check_pending()
        for caller in self.manager.get_hookcallers(plugin) or ():
            for impl in caller.get_hookimpls():
                if impl.plugin is plugin:
                    _check_callable(caller.name, impl)

    def _name(self, impl: pluggy.HookImpl) -> str:
        """Return the name of a plugin's entry point; for an object added by hand, its class's."""
        is_anonymous = impl.plugin_name == str(id(impl.plugin))
        return type(impl.plugin).__name__ if is_anonymous else impl.plugin_name

    def _ask_what_they_declare(self) -> None:
        self.options = self._declared_options()
        self.headers: dict[str, list[object]] = {}
        for impl in self.manager.hook.jtask_headers.get_hookimpls():
            for name in _names_of(impl):
                if name in self.headers and name != jtask.hooks.TAGGED:
                    raise ConfigurationError(f"two plugins have the header {name!r}")
                self.headers.setdefault(name, []).append(impl.plugin)

    def _declared_options(self) -> dict[str, Option]:
        declared: dict[str, Option] = {}
        for options in self.manager.hook.jtask_options():
            if not isinstance(options, Iterable):
                raise ConfigurationError(f"jtask_options must give a list, got {options!r}")
            for option in cast("Iterable[object]", options):
                if not isinstance(option, Option):
                    raise ConfigurationError(f"jtask_options must give Options, got {option!r}")
                if option.name in declared:
                    raise ConfigurationError(f"two plugins declare the option {option.name!r}")
                declared[option.name] = option
        return declared


class TaskHooks:
    """The hooks that concern one task, resolved once; one that nobody implements is None.

    Args:
        plugins: Whose hooks.
        task: The task.
        without: Plugins to leave out; those that have nothing to do with the task unless given.
        headers: What the runs carry, of what plugins name.

    Attributes:
        state: By the state that is entered.
        settled: By the state that the run has ended in.
        asks_first: Whether any is called before a run is admitted.
        asks_to_admit: Whether any admits runs, or hears that their attempts are over.
    """

    __slots__ = (
        "_by_headers",
        "_headers",
        "_plugins",
        "_stand_in",
        "_task",
        "_without",
        "admit",
        "around",
        "asks_first",
        "asks_to_admit",
        "attempt_over",
        "completed",
        "enqueue",
        "failed",
        "invoke",
        "lookup",
        "run_name",
        "settled",
        "state",
    )

    def __init__(
        self,
        plugins: Plugins,
        task: TaskInfo[..., Any],
        without: Sequence[object] | None = None,
        headers: tuple[str, ...] = (),
    ) -> None:
        if without is None:
            without = plugins.uninterested(task)
        self._plugins = plugins
        self._task = task
        self._without = without
        self._headers = headers
        self._by_headers: dict[tuple[str, ...], TaskHooks] = {}
        self._stand_in: Callable[[RunContext], Callable[..., Any]] | None = None

        def caller(hook: str) -> HookCaller | None:
            return plugins.caller(hook, without, headers)

        self.enqueue: HookCaller | None = caller("jtask_enqueue")
        self.run_name: HookCaller | None = caller("jtask_run_name")
        self.lookup: HookCaller | None = caller("jtask_lookup")
        self.admit: HookCaller | None = caller("jtask_admit")
        self.attempt_over: HookCaller | None = caller("jtask_attempt_over")
        self.around: HookCaller | None = caller("jtask_around")
        self.invoke: HookCaller | None = caller("jtask_invoke")
        self.failed: HookCaller | None = caller("jtask_failed")
        self.completed: HookCaller | None = caller("jtask_completed")
        self.state = plugins.callers_by_state("jtask_state", without, headers)
        self.settled = plugins.callers_by_state("jtask_settled", without, headers)
        self.asks_first = any((self.state, self.run_name, self.lookup))
        self.asks_to_admit = self.admit is not None or self.attempt_over is not None

    def isolation(self) -> "Callable[[RunContext], Callable[..., Any]] | None":
        """Return what a plugin executes a suspect with, or None; see `jtask_isolate`."""
        # Of all plugins: it concerns runs, not tasks.
        caller = self._plugins.caller("jtask_isolate")
        answers = [] if caller is None else caller(task=self._task)
        return answers[0] if answers else None

    def invoking(self, invoke: "Callable[[RunContext], Callable[..., Any]]") -> "TaskHooks":
        """Return these hooks with something else that stands in for the task's function."""
        hooks = copy(self)
        hooks._stand_in = invoke
        hooks.invoke = self._plugins.single("jtask_isolate", invoke)
        return hooks

    def concerning(self, headers: Iterable[str]) -> "TaskHooks":
        """Return the hooks for a run with some headers, which may concern more plugins."""
        known = tuple(name for name in headers if name in self._plugins.headers)
        if not known:
            return self
        if known not in self._by_headers:
            concerned = [plugin for name in known for plugin in self._plugins.headers[name]]
            without = [plugin for plugin in self._without if plugin not in concerned]
            carried = (*self._headers, *known)
            self._by_headers[known] = TaskHooks(self._plugins, self._task, without, carried)
        hooks = self._by_headers[known]
        return hooks if self._stand_in is None else hooks.invoking(self._stand_in)

    def concerned_with(self, run: "RunContext") -> "TaskHooks":
        """Return these hooks, with those of plugins that were drawn into a run meanwhile."""
        return self.concerning(run.concerns) if run.concerns else self


@kept_in_task
def hooks_of(task: TaskInfo[..., Any]) -> TaskHooks:
    """Return the plugins' hooks that concern a task; resolved once per task."""
    if task.unbound is not None:
        hooks, task.options = hooks_of(task.unbound), task.unbound.options
        return hooks
    if task.original is not None and task.is_alike:
        # A copy that differs in when and where its runs start is often made for one call.
        hooks, task.options = hooks_of(task.original), task.original.options
        return hooks
    from jtask.settings.reading import get_settings

    plugins = get_plugins()
    get_settings()  # checks names, which loading the plugins does not: more may have been added
    defaults = {option.name: option.default for option in plugins.options.values()}
    task.options = defaults | task.options
    return TaskHooks(plugins, task)


def _check_marks(plugin: object, manager: pluggy.PluginManager) -> None:
    """Refuse a function with the name of a hook that is not marked as one."""
    hooks = vars(manager.hook).keys() & vars(jtask.hooks).keys() - _READ_UNMARKED
    for name in hooks.intersection(dir(plugin)):
        if not inspect.isroutine(getattr(plugin, name)):
            continue
        if manager.parse_hookimpl_opts(plugin, name) is None:
            raise TypeError(f"{name} is not marked: put @hookimpl above it")
        if isinstance(plugin, type) and inspect.isfunction(vars(plugin).get(name)):
            raise TypeError(f"{name} takes an object of the class: load {plugin.__name__}()")
        _check_arguments(name, getattr(plugin, name))


def _check_arguments(hook: str, function: Callable[..., Any]) -> None:
    """Refuse a function that asks for what its hook does not have; pluggy takes three lines."""
    known = inspect.signature(getattr(jtask.hooks, hook)).parameters
    for parameter in inspect.signature(function).parameters.values():
        is_asked_for = parameter.default is parameter.empty and parameter.kind not in _REST
        if is_asked_for and parameter.name not in known:
            may_take = f"it may take {', '.join(known)}" if known else "it takes nothing"
            raise TypeError(f"{hook} has no argument {parameter.name!r}: {may_take}")
        if parameter.name in known and not (is_asked_for and parameter.kind in _PLAIN):
            # Arguments are given by position, and those only that have no default.
            raise TypeError(
                f"{hook} would not get {parameter.name!r}: make it a plain argument without default"
            )
    if inspect.ismethod(function):
        first = next(iter(inspect.signature(function.__func__).parameters))
        if first in known:
            raise TypeError(f"{hook} is a method: name self before {first!r}")


def _check_callable(hook: str, impl: pluggy.HookImpl) -> None:
    """Refuse a plugin's function that would just never be called."""
    if impl.wrapper or impl.hookwrapper:
        raise TypeError(f"{hook} is a hook wrapper, which jtask does not call")
    answer = str(getattr(jtask.hooks, hook).__annotations__["return"])
    if inspect.iscoroutinefunction(impl.function) and "Awaitable" not in answer:
        raise TypeError(f"{hook} is asynchronous, and jtask does not await it: make it a plain one")
    if inspect.isasyncgenfunction(impl.function) or (
        inspect.isgeneratorfunction(impl.function) and "Iterable" not in answer
    ):
        raise TypeError(f"{hook} is a generator, which jtask does not execute: let it return")
    if hook not in _IN_STATES and jtask.hooks.wanted_states(impl.function) is not None:
        raise TypeError(f"{hook} is not about a state, so it cannot be called in some only")
    wanted = jtask.hooks.wanted_header(impl.function)
    if wanted is not None:
        named: Iterable[str] = getattr(impl.plugin, "jtask_headers", tuple)() or ()
        if wanted not in named:
            raise TypeError(
                f"{hook} is for runs with the header {wanted!r}, which jtask_headers does not name"
            )


def _names_of(impl: pluggy.HookImpl) -> list[str]:
    named: object = impl.function() or ()
    if isinstance(named, Iterable) and not isinstance(named, str):
        names = list(cast("Iterable[object]", named))
        if all(isinstance(name, str) for name in names):
            return cast("list[str]", names)
    raise ConfigurationError(f"jtask_headers must give a list of names, got {named!r}")


def _chosen(installed: dict[str, EntryPoint], names: Iterable[str] | None) -> list[EntryPoint]:
    if names is None:
        return list(installed.values())
    wanted = list(names)
    for name in wanted:
        if name not in installed:
            near = close_names(name, installed)
            hint = f"did you mean {near[0]!r}?" if near else f"installed: {sorted(installed)}"
            raise ConfigurationError(f"JTASK_PLUGINS names {name!r}, which is not there: {hint}")
    return [installed[name] for name in wanted]


@Singleton
def get_plugins() -> Plugins:
    """Return this process's plugins, loaded once, restricted by JTASK_PLUGINS."""
    from jtask.settings.reading import chosen_plugins

    return Plugins(chosen_plugins())
