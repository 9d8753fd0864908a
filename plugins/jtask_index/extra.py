"""The packages that the index needs, which `pip install jtask` alone does not bring."""

from importlib.util import find_spec

from jtask.errors import ConfigurationError


def is_installed() -> bool:
    """Tell whether they are there."""
    return find_spec("sqlalchemy") is not None and find_spec("alembic") is not None


def need_extra() -> None:
    """Refuse to go on without them.

    Raises:
        ConfigurationError: One is missing; says how to install them.
    """
    if not is_installed():
        raise ConfigurationError(
            "the index of runs needs SQLAlchemy and Alembic: pip install 'jtask[console]'"
        )
