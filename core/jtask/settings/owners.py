"""Whose a setting is: core's, or that of an installed plugin, broker or store.

What is installed is found by the same entry points as its plugins and brokers are, and asked for
the models of its settings by calling `jtask_settings`: a function of the plugin, or of the module
in which the factory of a broker or of a store is.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from itertools import chain
from typing import NamedTuple, cast

from jtask.settings.core import Settings
from jtask.settings.model import SettingsModel

DECLARATION = "jtask_settings"
_PLUGINS = "jtask.plugins"
# Stores for one part of a broker: the group `jtask.results` for the setting `results_url`, ....
_PARTS = [name.removesuffix("_url") for name in Settings.model_fields if name.endswith("_url")]
_BROKERS = ["jtask.brokers", *(f"jtask.{part}" for part in _PARTS)]

_added: list[object] = []


class Declared(NamedTuple):
    """A model, and whether what declares it is in use here."""

    model: type[SettingsModel]
    is_in_use: bool


class Owners:
    """Everybody who has settings.

    Args:
        declared: The models, each once.
        problems: Who could not be asked, and why, in one sentence each.
    """

    def __init__(self, declared: Sequence[Declared], problems: Sequence[str]) -> None:
        self.declared = declared
        self.problems = problems
        self.clashes: dict[str, str] = {}
        """Names that more than one owner has, with a sentence about it."""
        self.by_name: dict[str, type[SettingsModel]] = {}
        """The model of each setting."""
        claims: dict[str, list[Declared]] = {}
        for claim in declared:
            for name in claim.model.model_fields:
                claims.setdefault(name, []).append(claim)
        for name, claimants in claims.items():
            self._decide(name, claimants)

    def _decide(self, name: str, claimants: Sequence[Declared]) -> None:
        # A plugin that is not loaded yields: leaving one out must be a way out of a clash.
        in_use = [claim for claim in claimants if claim.is_in_use] or claimants
        self.by_name[name] = in_use[0].model
        if len(in_use) > 1:
            self.clashes[name] = clash(name, [claim.model for claim in in_use])


def clash(name: str, models: Iterable[type[SettingsModel]]) -> str:
    """Say that several models have a setting of one name."""
    places = " and ".join(sorted(f"{model.__module__}.{model.__qualname__}" for model in models))
    return (
        f"the setting {name!r} is declared by {places}: uninstall one of them, or name the plugins "
        f"to load in JTASK_PLUGINS to go on without it"
    )


def add_owner(plugin: object) -> None:
    """Let a plugin that no entry point names have settings; it has `jtask_settings`."""
    _added.append(plugin)


def remove_owner(plugin: object) -> None:
    """Undo `add_owner`."""
    _added[:] = [added for added in _added if added is not plugin]


def find_owners(plugins: Collection[str] | None) -> Owners:
    """Ask everything that is installed for its settings, which imports it.

    Args:
        plugins: The names of those that are loaded; None is all.
    """
    is_in_use: dict[type[SettingsModel], bool] = {Settings: True}
    problems: list[str] = []
    for declarer in _declarers(plugins):
        try:
            for model in _ask(declarer):
                is_in_use[model] = is_in_use.get(model, False) or declarer.is_in_use
        except Exception as error:
            problems.append(f"{declarer.label} cannot be asked for its settings: {error}")
    return Owners([Declared(model, used) for model, used in is_in_use.items()], problems)


class _Declarer(NamedTuple):
    """Who may have settings.

    Attributes:
        load: Imports it, where that is still to be done.
    """

    label: str
    load: Callable[[], object]
    is_in_use: bool


def _declarers(plugins: Collection[str] | None) -> Iterator[_Declarer]:
    installed = entry_points()
    for point in installed.select(group=_PLUGINS):
        in_use = plugins is None or point.name in plugins
        yield _Declarer(f"plugin {point.name!r} ({point.value})", point.load, in_use)
    brokers = chain.from_iterable(installed.select(group=group) for group in _BROKERS)
    # One module often has the factories of several schemes.
    for module in {point.module: None for point in brokers}:
        yield _Declarer(module, partial(import_module, module), is_in_use=True)
    for plugin in _added:
        yield _Declarer(f"plugin {plugin!r}", partial(_itself, plugin), is_in_use=True)


def _itself(plugin: object) -> object:
    return plugin


def _ask(declarer: _Declarer) -> list[type[SettingsModel]]:
    declare = getattr(declarer.load(), DECLARATION, None)
    return [] if declare is None else _models(declare())


def _models(answer: object) -> list[type[SettingsModel]]:
    if answer is None:
        return []
    models = [answer] if isinstance(answer, type) else list(cast("Iterable[object]", answer))
    for model in models:
        if not isinstance(model, type) or not issubclass(model, SettingsModel):
            raise TypeError(f"{model!r} is not derived from jtask.settings.SettingsModel")
    return cast("list[type[SettingsModel]]", models)
