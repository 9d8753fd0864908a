"""Where settings come from: the environment, jtask.toml and pyproject.toml, read once for all."""

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
)

from jtask.errors import ConfigurationError
from jtask.file_owners import current_user, owners_of, user_name

PREFIX = "JTASK_"
ENVIRONMENT = "environment"
_ROOT = 0


class SettingsFile(NamedTuple):
    """A file, and the settings in it by their names, which are in lower case."""

    path: Path
    values: Mapping[str, object]


class Found(NamedTuple):
    """A value as a source has it, not checked.

    Attributes:
        origin: `environment`, or the path of a file.
    """

    value: object
    origin: str


class Sources:
    """The environment and the files, the latter as they were when they were read.

    Several models read them, and reading a large pyproject.toml takes milliseconds.

    Args:
        files: The first that has a name counts; the environment counts above all.
    """

    def __init__(self, files: Sequence[SettingsFile]) -> None:
        self.files = files

    @classmethod
    def read(cls) -> Self:
        """Read the files: of each kind the nearest, in the current folder or above it.

        Raises:
            ConfigurationError: One of them cannot be read, or is somebody else's.
        """
        files = (_read("jtask.toml"), _read("pyproject.toml", "tool", "jtask"))
        return cls([file for file in files if file is not None])

    @classmethod
    def current(cls) -> "Sources":
        """Return what a model that is made now has to read."""
        return _in_use.get() or cls.read()

    @contextmanager
    def in_use(self) -> Generator[None]:
        """Let the models that are made inside read these sources."""
        token = _in_use.set(self)
        try:
            yield
        finally:
            _in_use.reset(token)

    @property
    def variables(self) -> list[str]:
        """The environment variables that look like settings."""
        return [name for name in os.environ if name.startswith(PREFIX)]

    @property
    def names(self) -> set[str]:
        """The names of all settings that any source has, whoever owns them."""
        names = {name.removeprefix(PREFIX).lower() for name in self.variables}
        return names.union(*(file.values for file in self.files))

    def of(self, model: type[BaseSettings]) -> dict[str, PydanticBaseSettingsSource]:
        """Return the sources of a model's fields by their origins, the strongest first."""
        sources: dict[str, PydanticBaseSettingsSource] = {ENVIRONMENT: _Environment(model)}
        for path, values in self.files:
            own = {name: value for name, value in values.items() if name in model.model_fields}
            sources[str(path)] = InitSettingsSource(model, init_kwargs=own)
        return sources

    def found(self, model: type[BaseSettings]) -> dict[str, Found]:
        """Return what is set of a model's fields."""
        found: dict[str, Found] = {}
        for origin, source in reversed(self.of(model).items()):
            found |= {name: Found(value, origin) for name, value in source().items()}
        return found


_in_use: ContextVar[Sources | None] = ContextVar("jtask_settings_sources", default=None)


class _Environment(EnvSettingsSource):
    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Decode JSON; what is none is left as it is, for the model to refuse in words."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


def _read(name: str, *table: str) -> SettingsFile | None:
    """Read the table of the nearest file of a name; None when there is no file."""
    path = _search_upwards(name)
    if path is None:
        return None
    import tomllib  # most processes find no file

    try:
        values: object = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    for key in table:
        values = cast("dict[str, object]", values).get(key, {})
        if not isinstance(values, dict):
            raise ConfigurationError(f"{path} cannot be read: {'.'.join(table)} is not a table")
    found = cast("dict[str, object]", values)
    if found:
        _refuse_foreign(path)
    return SettingsFile(path, {key.lower(): value for key, value in found.items()})


def _refuse_foreign(path: Path) -> None:
    """Refuse a file that anybody may have put above, or into, the folder of somebody else."""
    user = current_user()
    if user is None:
        return
    # Whoever owns the folder decides what is in it: root works in others', in a container say.
    trusted = {user, _ROOT, Path.cwd().stat().st_uid}
    for owner in owners_of(path) - trusted:
        raise ConfigurationError(
            f"{path} belongs to {user_name(owner)}, who must not decide over the settings of "
            f"{user_name(user)}: remove it, make it your own, or work in a folder elsewhere"
        )


def _search_upwards(name: str) -> Path | None:
    here = Path.cwd()
    # The nearest alone counts: files of one name are not merged.
    return next((p for folder in (here, *here.parents) if (p := folder / name).is_file()), None)
