"""Arguments and results as bytes: JSON by the annotations, or cloudpickle."""

from jtask.serialization.codecs import CallCodecs, codecs_of

__all__ = ["CallCodecs", "codecs_of"]
