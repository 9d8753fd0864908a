"""`jtask config`: look at the settings."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from jtask.cli.output import say, say_json
from jtask.cli.parameters import as_json
from jtask.cli.tables import print_table
from jtask.worker.exit_codes import ExitCode

if TYPE_CHECKING:
    from jtask.settings.survey import SurveyedSetting


@click.group()
def config() -> None:
    """Look at the settings."""


@config.command()
@click.option("--origin", is_flag=True, help="Show where each value comes from, and its owner.")
@as_json
@click.pass_context
def show(ctx: click.Context, *, origin: bool, as_json: bool) -> None:
    """Show all settings that are known here, with their values.

    That is jtask's own and those of the installed plugins, brokers and stores. Passwords and other
    secrets are masked. No broker is contacted.
    """
    from jtask.settings.survey import take_survey

    survey = take_survey()
    if as_json:
        say_json([asdict(setting) for setting in survey.settings])
    else:
        _print_table(survey.settings, with_origin=origin)
        _say_what_is_not_loaded(survey.settings)
    for warning in survey.warnings:
        say(f"Warning: {warning}", err=True)
    for error in survey.errors:
        say(f"Error: {error}", err=True)
    if survey.errors:
        ctx.exit(ExitCode.USAGE)


def _print_table(settings: "Sequence[SurveyedSetting]", *, with_origin: bool) -> None:
    heads = ["SETTING", "VALUE"]
    rows = [[setting.name, _text(setting.value)] for setting in settings]
    if with_origin:
        heads += ["OWNER", "ORIGIN"]
        for row, setting in zip(rows, settings, strict=True):
            row += [setting.owner, _near(setting.origin)]
    print_table(heads, rows, narrow=heads.index("VALUE") if with_origin else None)


def _say_what_is_not_loaded(settings: "Sequence[SurveyedSetting]") -> None:
    owners = sorted({setting.owner for setting in settings if not setting.loaded})
    if owners:
        say(f"not loaded, so not used here: {', '.join(owners)}", err=True)


def _text(value: Any) -> str:
    if value is None:
        return "not set"
    return value if value and isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _near(origin: str) -> str:
    """Return a path the shorter way: absolute, or as seen from the current folder."""
    if not os.path.isabs(origin):
        return origin
    return min(origin, os.path.relpath(origin), key=len)
