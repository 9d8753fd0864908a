"""The arguments of many calls, by column: each is checked in one step, whatever its length.

Importing this imports pydantic: do it where it is first needed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any

from pydantic_core import SchemaValidator, core_schema

from jtask.serialization.json_types import JsonType

_MakeRecords = Callable[[Iterable[tuple[Any, ...]]], Iterator[dict[str, Any]]]


class JsonColumns:
    """Write the arguments of calls that give the same parameters by position.

    Args:
        record: All parameters of the task, of closed types: see `json_safety.is_closed`.
        names: Those that are given; the others can be left out.
    """

    def __init__(self, record: JsonType, names: Sequence[str]) -> None:
        fields, config = record.schema["fields"], record.schema["config"]
        lists = [core_schema.list_schema(fields[name]["schema"]) for name in names]
        self._checks = [
            (itemgetter(place), SchemaValidator(one, config).validate_python)
            for place, one in enumerate(lists)
        ]
        self._records = _record_maker(names)
        self._dump = record.dump

    def encode(self, calls: Sequence[tuple[Any, ...]]) -> list[bytes]:
        """Return the JSON of each call.

        Args:
            calls: Each gives as many arguments as there are names.

        Raises:
            Exception: Something is wrong with one of them.
        """
        # Not zip(*calls), which makes an iterator of each: so many would set off the garbage
        # collector, which looks at all that the program has.
        columns = [check([*map(pick, calls)]) for pick, check in self._checks]
        rows = zip(*columns, strict=True) if columns else calls
        return list(map(self._dump, self._records(rows)))


def _record_maker(names: Sequence[str]) -> _MakeRecords:
    """Return what makes a dict by name of each row.

    Written for the names, as `dataclasses` does: a dict display takes a fifth of `dict(zip())`.
    """
    values = [f"v{place}" for place in range(len(names))]
    pairs = ", ".join(f"{name!r}: {value}" for name, value in zip(names, values, strict=True))
    # One after the other, likewise.
    made: _MakeRecords = eval(f"lambda rows: ({{{pairs}}} for [{', '.join(values)}] in rows)")
    return made
