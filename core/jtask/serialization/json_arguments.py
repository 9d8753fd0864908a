"""Arguments as JSON, checked by their annotations.

Importing this imports pydantic: do it where it is first needed.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from jtask.errors import ArgumentError, JTaskError, SerializationError
from jtask.nested_values import find_nested
from jtask.serialization.holes import Fillings, Hole
from jtask.serialization.iterables import refuse_to_read_again
from jtask.serialization.json_columns import JsonColumns
from jtask.serialization.json_holes import losses_around_holes, open_tree
from jtask.serialization.json_losses import (
    OTHERWISE,
    cannot_dump,
    loss,
    losses,
    named,
    others,
)
from jtask.serialization.json_safety import NEVER, is_closed, lossless_up_to
from jtask.serialization.json_types import (
    JsonType,
    at,
    brief,
    buildable,
    class_reference,
    describe,
    dropped_key,
    record_type,
)
from jtask.serialization.round_trip import Difference
from jtask.serialization.signatures import BY_POSITION, CallSignature
from jtask.serialization.tagged_json import (
    split_arguments,
    tagged_arguments,
    with_tags,
    with_trees,
)
from jtask.serialization.tags import untagged

_GROUP = 1000  # calls that are checked together: what is made of more falls out of the caches


class JsonArguments:
    """The arguments of one task as one JSON object by parameter name.

    Args:
        call: The task function's signature.
        owner: The class that a method belongs to.
    """

    def __init__(self, call: CallSignature, owner: type | None = None) -> None:
        self._call = call
        self._owner = owner
        self._fields = _field_annotations(call, owner)
        self._optional = _optional_names(call)
        self._record = self._build()
        self._load = self._record.load
        fields: Mapping[str, Any] = self._record.schema["fields"]
        self._lossless = {n: lossless_up_to(fields[n]["schema"]) for n in self._fields}
        self._all_lossless = min(self._lossless.values(), default=lossless_up_to({"type": "none"}))
        # Of closed types the check of a column says what those of all its values would say.
        self._fits_columns = self._call.plain_names is not None and is_closed(self._record.schema)
        self._columns_of: dict[int, JsonColumns] = {}

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Check and serialise the arguments of one call.

        Raises:
            ArgumentError: They do not fit the signature.
            SerializationError: One would not survive the trip.
        """
        # It may be incomplete: the check finds that, and `_refusal` then says it in words.
        record = self._call.bind(args, kwargs)
        payload = self._encode(self._record, record, args, kwargs)
        return self._with_count(payload, record, args) if self._call.tells_apart else payload

    def encode_many(self, calls: Sequence[tuple[Any, ...]]) -> list[bytes]:
        """Do `encode` for many calls, each given by its positional arguments.

        Raises:
            ArgumentError: As for `encode`.
            SerializationError: As for `encode`.
        """
        if not self._fits_columns:
            return [self.encode(args, {}) for args in calls]
        groups = (calls[begun : begun + _GROUP] for begun in range(0, len(calls), _GROUP))
        return [payload for group in groups for payload in self._encode_group(group)]

    def _encode_group(self, calls: Sequence[tuple[Any, ...]]) -> list[bytes]:
        # A value's own methods may raise anything, which `encode` then says.
        with suppress(Exception):
            (count,) = set(map(len, calls))
            payloads = self._columns(count).encode(calls)
            if max(map(len, payloads)) <= self._all_lossless:
                return payloads
        refuse_to_read_again(self._call.task_name, calls)
        return [self.encode(args, {}) for args in calls]

    def _columns(self, count: int) -> JsonColumns:
        if count not in self._columns_of:
            names = self._call.plain_names or []
            left_out = self._fields.keys() - {*names[:count]}
            if count > len(names) or not left_out <= self._optional:
                raise ValueError(f"{count} arguments do not fit")
            self._columns_of[count] = JsonColumns(self._record, names[:count])
        return self._columns_of[count]

    def encode_open(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Do `encode` for arguments with holes; those without are checked as ever.

        Raises:
            ArgumentError: They do not fit the signature.
            SerializationError: One would not survive the trip.
        """
        record = self._call.bind_strictly(args, kwargs)
        open_ones = {name: value for name, value in record.items() if find_nested(value, Hole)}
        others = {name: value for name, value in record.items() if name not in open_ones}
        payload = self._encode(self._partial, others, args, kwargs)
        trees = {name: self._open_tree(name, value) for name, value in open_ones.items()}
        payload = with_trees(payload, trees)
        return self._with_count(payload, record, args) if self._call.tells_apart else payload

    def _open_tree(self, name: str, value: Any) -> Any:
        try:
            tree = open_tree(value)
        except Exception as error:  # a value's own methods may raise anything
            text = cannot_dump(value, error, self._ways(name))
            raise SerializationError(f"{self._subject(name)} {text}") from None
        has_more = not isinstance(value, Hole) and self._lossless[name] == NEVER
        if has_more and (refusal := self._loss_around_holes(name, value, tree)):
            raise refusal
        return tree

    def _loss_around_holes(self, name: str, value: Any, tree: Any) -> SerializationError | None:
        """Return why an argument with holes would not come back, as far as that is known before."""
        holes = {hole.run_id: hole for hole in find_nested(value, Hole)}
        try:
            sent = self._partial.check({name: value})
            back = self._partial.check({name: untagged(tree, holes)})
        except Exception:  # the annotation takes no holes, and reads the rest when they are filled
            return None
        return self._loss_of_arguments(list(losses_around_holes(sent, back)))

    def _with_count(
        self, payload: bytes, record: Mapping[str, Any], args: tuple[Any, ...]
    ) -> bytes:
        if len(args) < len(self._call.leading(record)):
            return b'%b,"%b":%d}' % (payload[:-1], BY_POSITION.encode(), len(args))
        return payload

    def _encode(
        self,
        kind: JsonType,
        record: dict[str, Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> bytes:
        try:
            checked = kind.check(record)
        except Exception as error:  # a validator in an annotation may raise anything
            raise self._refusal(error, args, kwargs) from None
        # One is the record itself, which leaves nothing out.
        if self._record.typed_dicts > 1 and (place := dropped_key(record, checked)):
            name, *steps, key = place
            text = f"argument {name!r} has a key {key!r} that its TypedDict does not declare"
            raise self._call.error(f"{text}{at(tuple(steps), before=' ')}")
        try:
            payload = kind.dump(checked)
        except Exception as error:  # so may a serializer
            return self._with_tags(checked, self._undumpable(checked, error))
        if len(payload) > self._all_lossless:
            refusal = self._try_the_trip(checked, payload)
            return payload if refusal is None else self._with_tags(checked, refusal)
        return payload

    def decode(self, payload: bytes, fillings: Fillings) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what to call the function with.

        Args:
            payload: The JSON.
            fillings: What goes into its holes.

        Raises:
            ArgumentError: The payload does not fit the signature.
            SerializationError: It is not JSON.
        """
        parts = self._split(payload, fillings)
        try:
            record = self._load(payload) if parts is None else self._load_parts(*parts)
        except Exception as error:  # a validator in an annotation may raise anything
            raise self._wrong_values(error) from None
        return self._call.spread(record)

    def _split(
        self, payload: bytes, fillings: Fillings
    ) -> tuple[bytes, dict[str, Any], dict[str, Any]] | None:
        try:
            return split_arguments(payload, fillings)
        except Exception as error:  # of whatever type a tag names
            task = self._call.task_name
            raise SerializationError(
                f"the arguments of task {task!r} have tags that cannot be read: {named(error)}"
            ) from None

    def _load_parts(
        self, plain: bytes, values: dict[str, Any], failed: dict[str, Any]
    ) -> dict[str, Any]:
        record = {**self._partial.load(plain), **self._partial.check(values)}
        for name, value in failed.items():
            record |= self._with_exception(name, value)
        for name in self._fields:
            if name not in record and name not in self._optional:
                raise self._call.missing(name)
        return record

    def _with_exception(self, name: str, value: Any) -> dict[str, Any]:
        """Return an argument with an exception inside, which its annotation need not allow for."""
        argument: dict[str, Any] = {name: value}
        try:
            argument = self._partial.check(argument)
        except Exception:  # a validator in an annotation may raise anything
            return argument
        return argument

    def _with_tags(self, checked: dict[str, Any], refusal: SerializationError) -> bytes:
        """Write the arguments that plain JSON would change with tags, or raise the refusal."""
        plain: dict[str, Any] = {}
        tagged: dict[str, bytes] = {}
        for name, value in checked.items():
            if self._travels_plain(name, value):
                plain[name] = value
                continue
            written = with_tags(self._partial, {name: value})
            if not isinstance(written, bytes):
                raise self._loss_of_arguments(written) or refusal
            tagged[name] = written
        return tagged_arguments(self._partial.dump(plain), tagged)

    def _travels_plain(self, name: str, value: Any) -> bool:
        one = {name: value}
        try:
            payload = self._partial.dump(one)
            return len(payload) <= self._lossless[name] or not losses(self._partial, one, payload)
        except Exception:  # it cannot be written or read
            return False

    def _build(self) -> JsonType:
        try:
            return _record_type(self._fields, self._optional)
        except Exception:  # pydantic's, or whatever evaluating a type raises
            # One annotation that pydantic cannot build must not cost the other arguments their
            # checks.
            self._fields = buildable(self._fields)
            return _record_type(self._fields, self._optional)

    @cached_property
    def _partial(self) -> JsonType:
        # For a part of the arguments, so none of them is required.
        return _record_type(self._fields, self._fields)

    def _try_the_trip(self, checked: dict[str, Any], payload: bytes) -> SerializationError | None:
        """Return why plain JSON would not do; None if it does."""
        doubtful = {n: v for n, v in checked.items() if len(payload) > self._lossless[n]}
        if len(doubtful) < len(checked):
            payload = self._partial.dump(doubtful)
        try:
            lost = losses(self._partial, doubtful, payload)
        except Exception as error:
            return self._no_way_back(doubtful, error)
        return self._loss_of_arguments(lost)

    def _loss_of_arguments(self, lost: list[Difference]) -> SerializationError | None:
        if not lost or not lost[0].place:
            return None
        name, *place = lost[0].place
        found = lost[0]._replace(place=tuple(place))
        ways = self._ways(name, came_back=None if place else found.back)
        return SerializationError(f"{self._subject(name)} {loss(found, ways)}")

    def _undumpable(self, checked: dict[str, Any], error: Exception) -> SerializationError:
        for name, value in checked.items():
            try:
                self._partial.dump({name: value})
            except Exception as cause:
                text = cannot_dump(value, cause, self._ways(name))
                return SerializationError(f"{self._subject(name)} {text}")
        task = self._call.task_name
        return SerializationError(f"the arguments of task {task!r} cannot be sent as JSON: {error}")

    def _no_way_back(self, doubtful: dict[str, Any], error: Exception) -> SerializationError:
        name, reason = next(iter(doubtful)), str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            name, reason = str((first["loc"] or (name,))[0]), describe(first, 1)
        text = f"would not come back, what was sent {reason}: {self._ways(name)}"
        return SerializationError(f"{self._subject(name)} {text}")

    def _refusal(
        self, error: Exception, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> JTaskError:
        try:
            self._call.bind_strictly(args, kwargs)
        except ArgumentError as mismatch:
            return mismatch
        return self._wrong_values(error)

    def _wrong_values(self, error: Exception) -> JTaskError:
        if isinstance(error, JTaskError):
            return error
        if not isinstance(error, ValidationError):
            return self._call.error(f"cannot check its arguments: {named(error)}")
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            task = self._call.task_name
            return SerializationError(
                f"the arguments of task {task!r} are not JSON: {first['msg']}"
            )
        if not first["loc"]:
            got = brief(first["input"])
            return self._call.error(f"takes one JSON object of arguments by name, got {got}")
        name = str(first["loc"][0])
        if first["type"] == "missing" and len(first["loc"]) == 1:
            return self._call.missing(name)
        if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
            return self._call.unknown(name)
        task = self._call.task_name
        text = f"task {task!r}: argument {name!r} {describe(first, 1)}{others(error)}"
        return ArgumentError(text)

    def _subject(self, name: str) -> str:
        return f"argument {name!r} of task {self._call.task_name!r}"

    def _ways(self, name: str, came_back: object = None) -> str:
        if self._owner and name == self._call.receiver == "self":
            if type(came_back) is self._owner:
                return f"define the task in the subclass too, {OTHERWISE}"
            owner = self._owner.__qualname__
            return f"make {owner} a dataclass or a pydantic model, {OTHERWISE}"
        if self._fields.get(name, Any) is Any:
            return f"annotate the parameter with its type, {OTHERWISE}"
        return f"annotate the parameter with a type that survives JSON, {OTHERWISE}"


def _record_type(fields: Mapping[str, Any], optional: Iterable[str]) -> JsonType:
    return record_type({**fields, BY_POSITION: int}, {*optional, BY_POSITION})


def _field_annotations(call: CallSignature, owner: type | None) -> dict[str, Any]:
    fields = {name: call.annotations.get(name, Any) for name in call.signature.parameters}
    if owner is not None and call.receiver is not None:
        fields[call.receiver] = owner if call.receiver == "self" else class_reference(owner)
    return fields


def _optional_names(call: CallSignature) -> frozenset[str]:
    return frozenset(
        p.name
        for p in call.signature.parameters.values()
        if p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    )
