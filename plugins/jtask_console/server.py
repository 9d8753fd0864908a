"""The console as a server of its own."""

import socket
from types import FrameType
from typing import Any

from jtask.cli.output import say
from jtask.client import get_client
from jtask.errors import ConfigurationError
from jtask.settings import put_settings, settings_of

_END_SECONDS = 3  # for answers that are being sent


def serve_console(options: dict[str, Any]) -> None:
    """Serve the console until a signal ends it.

    Args:
        options: `host` and `port`, which take precedence over the settings.

    Raises:
        ConfigurationError: It is not installed, may not listen there, or cannot.
        BrokerUnavailable: The broker cannot be reached.
    """
    try:
        import uvicorn

        from jtask_console.application import ConsoleApp
        from jtask_console.settings import ConsoleSettings
    except ImportError as error:
        raise ConfigurationError(
            f"the console needs more packages ({error}): pip install 'jtask[console]'"
        ) from error
    put_settings(**{f"console_{name}": value for name, value in options.items()})
    app = ConsoleApp(settings_of(ConsoleSettings))
    get_client()  # or fail now, not with the first page

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            # Or it would wait for pages that stay open.
            app.release()
            super().handle_exit(sig, frame)

    listening = _listen(app.settings)
    say(f"jtask console: {_address(app.settings.console_host, listening)}")
    config = uvicorn.Config(
        app,
        log_level="warning",
        timeout_graceful_shutdown=_END_SECONDS,
        # Who asks is decided by the address of the connection, see `console_proxies`.
        proxy_headers=False,
        server_header=False,
    )
    Server(config).run(sockets=[listening])


def _listen(settings: Any) -> socket.socket:
    host, port = settings.console_host, settings.console_port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise ConfigurationError(
            f"the console cannot listen on {host}:{port} ({error.strerror or error}): "
            f"give another --port, or 0 for a free one"
        ) from error


def _address(host: str, listening: socket.socket) -> str:
    port = listening.getsockname()[1]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
