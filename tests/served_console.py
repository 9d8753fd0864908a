"""A console served in a thread of the test's own process."""

import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from waiting import PATIENCE, eventually

from jtask_console.application import ConsoleApp

StartConsole = Callable[..., "ServedConsole"]
PAGE = {"Accept": "text/html"}


class ServedConsole:
    """A console that listens on a free port of 127.0.0.1.

    Args:
        app: The console.
        around: The application that it is a part of, if any.
    """

    def __init__(self, app: ConsoleApp, around: Any = None) -> None:
        self.app = app
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config = uvicorn.Config(
            around or app, log_level="warning", proxy_headers=False, timeout_graceful_shutdown=3
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listening]}, daemon=True
        )
        self._thread.start()
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE)
        eventually(lambda: self._server.started)

    def close(self) -> None:
        """End it, its open pages too."""
        self.client.close()
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(PATIENCE)
        self.app.close()

    def page(self, path: str, **headers: str) -> str:
        """Return a page that is there."""
        answer = self.client.get(path, headers=PAGE | headers)
        assert answer.status_code == 200, answer.text
        return answer.text

    def shows(self, path: str, text: str) -> bool:
        """Tell whether a page says something, if it is there."""
        answer = self.client.get(path, headers=PAGE)
        return answer.status_code == 200 and text in answer.text

    def post(self, path: str, data: Mapping[str, Any] | None = None, **headers: str) -> Any:
        """Send a form as the console's own page does."""
        return self.client.post(path, data=data, headers={"Origin": self.url} | headers)

    @contextmanager
    def open_page(self, path: str, seen: str | None = None) -> "Iterator[OpenPage]":
        """Open a page as a browser does, and hear what changes of it."""
        live = re.search(r'hx-sse:connect="([^"]+)"', self.page(path))
        assert live is not None
        headers = {} if seen is None else {"Last-Event-ID": seen}
        address = live[1].replace("&amp;", "&")
        with self.client.stream("GET", address, headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield OpenPage(answer)


class OpenPage:
    """The stream of an open page.

    Attributes:
        last_id: The id of the last event.
    """

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.iter_lines()
        self._latest = ""
        self.last_id = ""

    def next_event(self) -> str:
        """Return what comes next, as one text."""
        data: list[str] = []
        for line in self._lines:
            if line.startswith("data: "):
                data.append(line.removeprefix("data: "))
            elif line.startswith("id: "):
                self.last_id = line.removeprefix("id: ")
            elif not line and data:
                self._latest = "\n".join(data)
                return self._latest
        raise AssertionError("the stream has ended")

    def until_it_says(self, text: str) -> str:
        """Return the event that says something: the last one that came, or one to come."""
        while text not in self._latest:
            self.next_event()
        return self._latest
