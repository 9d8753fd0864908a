"""Factories for the fields of dataclasses that are made for each run.

Without types: `dict[str, str]` as a factory takes four times as long as `dict`.
"""

from collections.abc import Callable
from typing import Any

new_dict: Callable[[], dict[str, Any]] = dict
new_list: Callable[[], list[Any]] = list
