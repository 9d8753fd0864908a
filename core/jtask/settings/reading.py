"""This process's settings, read once."""

import logging
import os
from collections.abc import Collection
from typing import NamedTuple, TypeVar, cast

from pydantic import ValidationError

from jtask.errors import ConfigurationError, JTaskError
from jtask.settings.complaints import unknown_name, unknown_variable, wrong_value
from jtask.settings.core import Settings
from jtask.settings.model import SettingsModel, owner_of
from jtask.settings.owners import Owners, clash, find_owners
from jtask.settings.sources import PREFIX, Sources
from jtask.singletons import Singleton

M = TypeVar("M", bound=SettingsModel)
_log = logging.getLogger("jtask")


@Singleton
def get_settings() -> Settings:
    """Return this process's settings, read once; `get_settings.cache_clear()` forgets owners' too.

    Raises:
        ConfigurationError: A value or a name is wrong, an owner's too; the message names it.
    """
    sources = Sources.read()
    # To find out whose a setting is means to import all plugins and brokers.
    others = sources.names - Settings.model_fields.keys()
    owners = find_owners(plugins_to_load(sources)) if others else None
    if owners is not None:
        for sentence in unknown_variables(sources, owners):
            _log.warning(sentence)
    settings = load(sources, Settings)
    if owners is not None:
        _check_others(sources, owners, others)
    return settings


def settings_of(model: type[M]) -> M:
    """Return the settings of a plugin, a broker or a store, read once.

    Args:
        model: The class that its `jtask_settings` declares.

    Raises:
        ConfigurationError: A value or a name is wrong; the message names it.
    """
    global _owned
    core = get_settings()
    owned = _owned
    # Core's settings were read anew, so what was read for others is old as well.
    if owned is None or owned.core is not core:
        owned = _owned = _Owned(core, Sources.read(), {Settings: core})
    if model not in owned.models:
        for name in Settings.model_fields.keys() & model.model_fields.keys():
            raise ConfigurationError(clash(name, (Settings, model)))
        owned.models[model] = load(owned.sources, model)
    return cast("M", owned.models[model])


def put_settings(**values: object) -> None:
    """Set something for this process and those that it starts, above all other sources.

    Args:
        values: Settings of core or of an owner, by name.
    """
    # In the environment: it is the strongest source, and child processes have it too.
    os.environ.update({f"{PREFIX}{name.upper()}": str(value) for name, value in values.items()})
    get_settings.cache_clear()


def chosen_plugins() -> list[str] | None:
    """Return the names of the plugins to load; None is all that are installed.

    Unlike `get_settings` it leaves names unchecked: the plugins decide which ones are known, and
    more plugins may be added by hand once these are loaded.

    Raises:
        ConfigurationError: A value of core's is wrong.
    """
    sources = Sources.read()
    load(sources, Settings)
    return plugins_to_load(sources)


def plugins_to_load(sources: Sources) -> list[str] | None:
    """Return what `chosen_plugins` does, from sources that are read and may be wrong."""
    found = sources.found(Settings).get("plugins")
    if found is None or not isinstance(found.value, str):
        return None
    return [name.strip() for name in found.value.split(",") if name.strip()]


def load(sources: Sources, model: type[M]) -> M:
    """Make a model.

    Args:
        sources: Where its fields are read.
        model: Its class.

    Raises:
        ConfigurationError: A value is wrong; the message names its setting.
    """
    made, wrong = try_to_load(sources, model)
    if made is None:
        raise ConfigurationError(next(iter(wrong.values())))
    return made


def try_to_load(sources: Sources, model: type[M]) -> tuple[M | None, dict[str, str]]:
    """Make a model, or say what is wrong.

    Args:
        sources: Where its fields are read.
        model: Its class.

    Returns:
        tuple: The model or None, and a sentence for each setting with a wrong value; one about
            several settings has an empty name.
    """
    try:
        with sources.in_use():
            return model(), {}
    except ValidationError as error:
        wrong: dict[str, str] = {}
        origins = {name: found.origin for name, found in sources.found(model).items()}
        for problem in error.errors(include_url=False):
            name = str(problem["loc"][0]) if problem["loc"] else ""
            wrong.setdefault(name, wrong_value(model, problem, origins))
        return None, wrong
    except JTaskError as error:
        return None, {"": str(error)}
    except Exception as error:
        return None, {"": f"the settings of {owner_of(model)} cannot be read: {error}"}


def unknown_variables(sources: Sources, owners: Owners) -> list[str]:
    """Return a sentence for each environment variable that is nobody's setting."""
    return [
        _maybe_of_others(unknown_variable(variable, owners.by_name), owners)
        for variable in sources.variables
        if variable.removeprefix(PREFIX).lower() not in owners.by_name
    ]


def unknown_names(sources: Sources, owners: Owners) -> list[str]:
    """Return a sentence for each name in a file that is nobody's setting."""
    return [
        _maybe_of_others(unknown_name(name, str(file.path), owners.by_name), owners)
        for file in sources.files
        for name in file.values
        if name not in owners.by_name
    ]


class _Owned(NamedTuple):
    """What owners have asked for since core's settings were read."""

    core: Settings
    sources: Sources
    models: dict[type[SettingsModel], SettingsModel]


_owned: _Owned | None = None


def _check_others(sources: Sources, owners: Owners, names: Collection[str]) -> None:
    """Refuse settings that are nobody's, that two owners have, and those with a wrong value."""
    for sentence in unknown_names(sources, owners):
        raise ConfigurationError(sentence)
    known = [name for name in sorted(names) if name in owners.by_name]
    for name in known:
        if name in owners.clashes:
            raise ConfigurationError(owners.clashes[name])
    for model in {owners.by_name[name]: None for name in known}:
        # Only what is set: what else an owner needs is its own business, and it may not be in use.
        _, wrong = try_to_load(sources, model)
        for name in wrong.keys() & names:
            raise ConfigurationError(wrong[name])


def _maybe_of_others(sentence: str, owners: Owners) -> str:
    """Add who could not be asked to a sentence about a name that is nobody's."""
    if not owners.problems or "did you mean" in sentence:
        return sentence
    return f"{sentence}, or it is a setting of another: {'; '.join(owners.problems)}"
