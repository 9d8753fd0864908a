"""Arguments and results as bytes: JSON by the annotations, or cloudpickle."""

from typing import TYPE_CHECKING

from jtask.lazy_names import lazy_names

if TYPE_CHECKING:
    from jtask.serialization.codecs import CallCodecs, codecs_of
    from jtask.serialization.local_pickles import LocalPickles

__all__ = ["CallCodecs", "LocalPickles", "codecs_of"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "jtask.serialization.codecs": ["CallCodecs", "codecs_of"],
        "jtask.serialization.local_pickles": ["LocalPickles"],
    },
)
