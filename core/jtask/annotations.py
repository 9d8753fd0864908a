"""Wrappers that say how an argument is treated: `unmapped`, `allow_failure`, `quote`, `opaque`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class StandIns:
    """What stands for other values in arguments: handles, and what is annotated.

    Attributes:
        exist: Whether this process has made any yet; until then nobody need look for them.
    """

    exist = False


class Handle:
    """What every handle of a run is; here for those who must know one and not what it does."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Annotation(Generic[T]):
    """An argument with a word about it; the function gets the argument alone.

    Attributes:
        value: The argument.
    """

    value: T

    def __post_init__(self) -> None:
        StandIns.exist = True

    def unwrap(self) -> T:
        """Return the argument."""
        return self.value

    def __iter__(self) -> Iterator[Any]:
        # Else `.map(unmapped([1, 2]))` would look like a mapping over a thing of unknown length.
        raise TypeError(f"{type(self).__name__}(...) cannot be iterated: use its .value")


class unmapped(Annotation[T]):  # noqa: N801 - written like a function, as in Prefect
    """Give each run of a `.map()` the whole value instead of one element of it."""

    __slots__ = ()


class allow_failure(Annotation[T]):  # noqa: N801
    """Run although a run that is waited for here does not complete.

    The function gets the exception in the place of the value.
    """

    __slots__ = ()


class quote(Annotation[T]):  # noqa: N801
    """Pass the value as it is: futures in it are neither waited for nor replaced."""

    __slots__ = ()


class opaque(Annotation[T]):  # noqa: N801
    """Wait for the value itself where it is a future, and look for none inside of it."""

    __slots__ = ()
