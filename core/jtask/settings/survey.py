"""All settings that are known here, with their values and where these come from; for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jtask.settings.masking import MASK, masked, may_hold_secret
from jtask.settings.model import SettingsModel, owner_of
from jtask.settings.owners import Declared, Owners, find_owners
from jtask.settings.reading import plugins_to_load, try_to_load, unknown_names, unknown_variables
from jtask.settings.sources import PREFIX, Found, Sources

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class SurveyedSetting:
    """A setting as it may be shown.

    Attributes:
        value: As JSON has it, secrets masked; None is not set.
        origin: `environment`, the path of a file, or `default`.
        owner: The package that has it.
        loaded: False for a setting of a plugin that is installed and not loaded.
    """

    name: str
    variable: str
    value: Any
    origin: str
    owner: str
    loaded: bool


@dataclass(frozen=True, slots=True)
class Survey:
    """All settings, core's first.

    Attributes:
        errors: Why programs refuse to start with these settings, a sentence each.
        warnings: What is wrong besides.
    """

    settings: list[SurveyedSetting]
    errors: list[str]
    warnings: list[str]


def take_survey() -> Survey:
    """Read the settings of core and of everything that is installed.

    Whatever is wrong is a sentence in the survey and keeps nothing else out of it.

    Raises:
        ConfigurationError: A file cannot be read.
    """
    sources = Sources.read()
    owners = find_owners(plugins_to_load(sources))
    survey = Survey([], unknown_names(sources, owners), unknown_variables(sources, owners))
    survey.warnings.extend(owners.problems)
    for name, sentence in owners.clashes.items():
        (survey.errors if name in sources.names else survey.warnings).append(sentence)
    for claim in sorted(owners.declared, key=_core_first):
        _add(survey, sources, owners, claim)
    return survey


def _core_first(claim: Declared) -> tuple[bool, str]:
    owner = owner_of(claim.model)
    return owner != "jtask", owner


def _add(survey: Survey, sources: Sources, owners: Owners, claim: Declared) -> None:
    model, is_in_use = claim
    found = sources.found(model)
    made, wrong = try_to_load(sources, model)
    values = _unchecked(model, found) if made is None else dict(made)
    for name in model.model_fields:
        if owners.by_name[name] is model:
            value = masked(name, values.get(name))
            origin = found[name].origin if name in found else DEFAULT
            variable = f"{PREFIX}{name.upper()}"
            survey.settings.append(
                SurveyedSetting(name, variable, value, origin, owner_of(model), is_in_use)
            )
    for name, sentence in wrong.items():
        if name in found:
            survey.errors.append(sentence)
        elif is_in_use:
            # Only the owner refuses this, once it reads its settings.
            survey.warnings.append(sentence)


def _unchecked(model: type[SettingsModel], found: Mapping[str, Found]) -> dict[str, object]:
    """Return the values of a model that cannot be made, because some of them are wrong."""
    values: dict[str, object] = {}
    for name, field in model.model_fields.items():
        if name in found:
            is_secret = may_hold_secret(field.annotation)
            values[name] = MASK if is_secret else found[name].value
        elif field.default_factory is None and not field.is_required():
            values[name] = field.get_default()
    return values
