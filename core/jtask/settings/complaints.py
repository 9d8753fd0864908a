"""What is said of a setting that is wrong: one sentence that names it."""

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel

from jtask.close_names import close_names
from jtask.settings.masking import masked, may_hold_secret
from jtask.settings.model import NAME_PATTERN, SettingsModel, owner_of
from jtask.settings.sources import ENVIRONMENT, PREFIX

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_PYDANTIC_BEGINS = re.compile(r"^(?:(\w+ should )|Value error, |Assertion failed, )")
_OTHER_NAMES = {
    **dict.fromkeys(["api_url", "broker", "broker_url", "nats_url", "server_url"], "url"),
    **dict.fromkeys(["result_backend", "results_backend"], "results_url"),
    **dict.fromkeys(["result_expires", "task_result_expires", "keep_result"], "result_ttl"),
    **dict.fromkeys(["default_queue", "task_default_queue"], "queue"),
    "task_serializer": "serializer",
}
"""What is called otherwise by other programs, where the nearest name is another setting."""
_OF_JSON = {"dataclass_type", "dict_type", "list_type", "model_type", "set_type", "tuple_type"}


def setting(name: str, own: str, origin: str = ENVIRONMENT) -> str:
    """Name a setting, and the file that it stands in, or else its environment variable."""
    if origin != ENVIRONMENT:
        return f"setting {name!r}{own} in {origin}"
    return f"setting {name!r} ({PREFIX}{name.upper()}){own}"


def wrong_value(
    model: type[SettingsModel], error: "ErrorDetails", origins: Mapping[str, str]
) -> str:
    """Say what is wrong with a value; of an owner's setting, also whose it is.

    Args:
        model: Whose field it is.
        error: What pydantic says.
        origins: Where the fields that are set are set, by name.
    """
    owner = owner_of(model)
    own = "" if owner == "jtask" else f" of {owner}"
    if not error["loc"]:
        return f"the settings{own} do not agree: {_message(error)}"
    name = str(error["loc"][0])
    if error["type"] == "missing" and len(error["loc"]) == 1:
        return f"{setting(name, own)} must be set"
    origin = origins.get(name, ENVIRONMENT)
    rule = _rule(error, origin)
    if not rule.startswith(("must ", "may ")):
        rule = f"is wrong: {rule}"
    return f"{setting(name, own, origin)}{_part(model, error)} {rule}{_got(model, error)}"


def unknown_name(name: str, origin: str, known: Collection[str]) -> str:
    """Say of a name in a file that no setting has it."""
    near = _near(name, known)
    hint = f"did you mean {near!r}?" if near else "leave it out"
    return f"{setting(name, '', origin)} is unknown: {hint}"


def unknown_variable(variable: str, known: Collection[str]) -> str:
    """Say of an environment variable that it is not a setting."""
    near = _near(variable.removeprefix(PREFIX).lower(), known)
    hint = f"did you mean {PREFIX}{near.upper()}?" if near else "jtask reads no such setting"
    return f"unknown setting {variable} in the environment: {hint}"


def _near(name: str, known: Collection[str]) -> str | None:
    meant = _OTHER_NAMES.get(name)
    near = [meant] if meant in known else close_names(name, known)
    return near[0] if near else None


def _rule(error: "ErrorDetails", origin: str) -> str:
    pattern = str(error.get("ctx", {}).get("pattern", ""))
    if pattern.startswith(NAME_PATTERN):
        longest = pattern.removeprefix(NAME_PATTERN).removesuffix("}$")
        return f"may hold letters, digits, '_' and '-' only, up to {longest} of them"
    # A file has lists and tables of its own.
    is_json = origin == ENVIRONMENT and error["type"] in _OF_JSON
    return _message(error) + (", written as JSON" if is_json else "")


def _message(error: "ErrorDetails") -> str:
    return _PYDANTIC_BEGINS.sub(lambda found: "must " if found[1] else "", error["msg"])


def _part(model: type[SettingsModel], error: "ErrorDetails") -> str:
    """Say where in a value the wrong part is."""
    name, *places = error["loc"]
    annotation = model.model_fields[str(name)].annotation
    if not isinstance(annotation, type) or not issubclass(annotation, BaseModel):
        # Of a union, a string is the name of one of its types.
        places = [place for place in places if isinstance(place, int)]
    return f", part {'.'.join(map(str, places))!r}," if places else ""


def _got(model: type[SettingsModel], error: "ErrorDetails") -> str:
    name = str(error["loc"][0])
    if may_hold_secret(model.model_fields[name].annotation) or isinstance(error["input"], Mapping):
        return ""
    return f", got {masked(name, error['input'])!r}"
