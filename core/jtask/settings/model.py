"""What the settings of core, of each plugin and of each broker are: a model."""

import contextlib
from typing import Annotated, Any, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from jtask.durations import LONGEST, parse_seconds
from jtask.settings.sources import PREFIX, Sources

NAME_PATTERN = "^[A-Za-z0-9_-]{1,"
"""How the pattern of a name that every broker can use begins; its length and `}$` follow."""
# Each would give a setting another name than its field's.
_FIXED = ("alias_generator", "case_sensitive", "env_nested_delimiter", "env_prefix")


def _seconds_of(value: object) -> object:
    if not isinstance(value, str):
        return value
    for read in (float, parse_seconds):
        with contextlib.suppress(ValueError):
            return read(value)
    raise ValueError("must be a number of seconds, or one with a unit: 1.5s, 10m, 1h, 7d")


def _at_most_a_century(seconds: float) -> float:
    if seconds > LONGEST:
        raise ValueError("must be at most 100 years, in seconds or with a unit: 1.5s, 10m, 1h, 7d")
    return seconds


Seconds = Annotated[float, BeforeValidator(_seconds_of), AfterValidator(_at_most_a_century)]
"""The type of a setting that is a length of time: `90`, or `"1.5s"`, `"10m"`, `"1h"`, `"7d"`."""


def _kinds(annotation: Any) -> set[Any]:
    parts = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return _kinds(parts[0])
    return {annotation}.union(*map(_kinds, parts)) if parts else {annotation}


class SettingsModel(BaseSettings):
    """Base class of all settings: each field is one, read from the same sources as core's.

    A field `bell_volume` is the variable `JTASK_BELL_VOLUME`, and `bell_volume` in jtask.toml and
    in `[tool.jtask]` of pyproject.toml. So that no two packages mean different things by one name,
    names begin with the package's own.

    A package declares its class in a function `jtask_settings` and reads it with `settings_of`.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse what would give a setting another name than its field's.

        Raises:
            TypeError: The class does so.
        """
        super().__pydantic_init_subclass__(**kwargs)
        for key in _FIXED:
            if cls.model_config.get(key) != SettingsModel.model_config.get(key):
                raise TypeError(f"{cls.__qualname__} must not change {key!r} of its model_config")
        for name, field in cls.model_fields.items():
            if name != name.lower() or field.alias or field.validation_alias:
                raise TypeError(
                    f"the setting {name!r} of {cls.__qualname__} must be in lower case and have no "
                    f"alias: its variable is {PREFIX}{name.upper()}"
                )

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_true_for_one(cls, value: object, info: ValidationInfo) -> object:
        # Pydantic makes 1 of it: `lease = true` in a file would be a lease of one second.
        if isinstance(value, bool) and info.field_name is not None:
            kinds = _kinds(cls.model_fields[info.field_name].annotation)
            if bool not in kinds and kinds & {int, float}:
                raise ValueError("must be a number")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, the strongest first."""
        del env_settings, dotenv_settings, file_secret_settings
        return (init_settings, *Sources.current().of(settings_cls).values())


def owner_of(model: type[SettingsModel]) -> str:
    """Return the name of the package whose settings a model has."""
    return model.__module__.partition(".")[0]
