"""Arguments and results as bytes: JSON by the annotations, or cloudpickle."""

from jtask.serialization.codecs import CallCodecs, codecs_of
from jtask.serialization.local_pickles import LocalPickles

__all__ = ["CallCodecs", "LocalPickles", "codecs_of"]
