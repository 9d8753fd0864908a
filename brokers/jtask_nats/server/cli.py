"""The commands `jtask server start|stop|status`, for the embedded server."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from jtask.cli.output import say, say_json

if TYPE_CHECKING:
    from jtask_nats.server.embedded import ServerStatus
    from jtask_nats.settings import Sync

_as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
def server() -> None:
    """Manage this user's embedded server (JTASK_HOME)."""


@server.command()
@_as_json
def start(*, as_json: bool) -> None:
    """Start the server if it is not running."""
    from jtask_nats.server.embedded import ensure_server

    endpoint = ensure_server()
    facts = {
        "started": endpoint.started,
        "url": endpoint.url,
        "pid": endpoint.pid,
        "version": endpoint.version,
        "home": str(endpoint.home),
    }
    verb = "started" if endpoint.started else "already runs"
    _print(facts, f"nats-server {endpoint.version} {verb} at {endpoint.url}", as_json=as_json)


@server.command()
@_as_json
def stop(*, as_json: bool) -> None:
    """Stop the server. Stored data stays; the next program that needs it starts it again."""
    from jtask_nats.server.embedded import stop_server

    stopped = stop_server()
    _print({"stopped": stopped}, "stopped" if stopped else "no server was running", as_json=as_json)


@server.command()
@_as_json
@click.pass_context
def status(context: click.Context, *, as_json: bool) -> None:
    """Show the status of the server. Exits with code 1 if it is not running."""
    from jtask_nats.server.embedded import server_status

    found = server_status()
    if found is None:
        _print({"running": False}, "no server is running", as_json=as_json)
        context.exit(1)
    _print(_facts(found), _description(found), as_json=as_json)


def durability(sync: "Sync") -> str:
    """Say in one line what the embedded server's data survives."""
    crash = (
        "an OS crash or power cut loses nothing that was accepted"
        if sync == "always"
        else "an OS crash or power cut can lose the last 2 minutes (JTASK_SERVER_SYNC=always: none)"
    )
    return f"a killed process loses nothing; {crash}; a lost disk loses everything (one copy)"


def _print(facts: dict[str, Any], text: str, *, as_json: bool) -> None:
    (say_json(facts) if as_json else say(text))


def _facts(found: "ServerStatus") -> dict[str, Any]:
    paths = {"home": str(found.home), "log": str(found.log)}
    return {"running": True, **asdict(found), **paths, "durability": durability(found.sync)}


def _description(found: "ServerStatus") -> str:
    lines = {
        "url": found.url,
        "pid": found.pid or "unknown",
        "version": found.version,
        "uptime": f"{found.uptime:.0f} s",
        "data": found.home,
        "disk": (
            f"{found.disk_used / 1e6:.1f} MB of {found.store_limit / 1e6:.0f} MB; "
            f"{found.disk_free / 1e6:.0f} MB are free"
        ),
        "log": found.log,
        "durability": durability(found.sync),
    }
    return "\n".join(f"{name:<12}{value}" for name, value in lines.items())
