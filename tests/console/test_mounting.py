"""The console as a part of another application."""

from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from served_console import PAGE, ServedConsole
from starlette.requests import Request

import jtask_console
from jtask.errors import BrokerUnavailable, ConfigurationError
from jtask_console import Caller, Role, application

ADA = Caller("ada", Role.OPERATOR)


def authorize(request: Request) -> Caller | Role | None:
    user = request.headers.get("x-test-user")
    if user == "ada":
        return ADA
    return Role.VIEWER if user == "guest" else None


@pytest.fixture
def shop(jtask_nats: str) -> Iterator[httpx.Client]:
    app = FastAPI()

    @app.get("/")
    def front() -> str:
        return "shop"

    console = jtask_console.mount(app, "/ops/jtask", authorize=authorize)
    served = ServedConsole(console, app)
    # With a name of its own, as an application has.
    served.client.headers["host"] = "shop.example"
    yield served.client
    served.close()


def test_it_has_a_place_of_its_own_and_its_links_stay_there(shop: httpx.Client) -> None:
    assert shop.get("/").json() == "shop"
    page = shop.get("/ops/jtask/queues", headers=PAGE | {"x-test-user": "ada"})
    assert page.status_code == 200
    assert 'href="/ops/jtask/runs"' in page.text
    assert 'href="/ops/jtask/static/console.css"' in page.text
    assert "/ops/jtask/live/queues?" in page.text
    assert shop.get("/ops/jtask/static/console.css").status_code == 200
    assert shop.get("/ops/jtask/api/queues", headers={"x-test-user": "ada"}).status_code == 200


def test_the_application_says_who_may_look_and_who_may_act(shop: httpx.Client) -> None:
    assert shop.get("/ops/jtask/runs", headers=PAGE).status_code == 401
    assert shop.get("/ops/jtask/runs", headers={"x-test-user": "guest"}).status_code == 200
    path = "/ops/jtask/queues/q/pause"
    assert shop.post(path, headers={"x-test-user": "guest"}).status_code == 403
    answer = shop.post(path, headers={"x-test-user": "ada"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/ops/jtask/"
    assert "ada" in shop.get("/ops/jtask/audit", headers={"x-test-user": "ada"}).text


def test_it_is_not_mounted_where_nobody_is_asked_who_they_are() -> None:
    with pytest.raises(ConfigurationError, match="authorize"):
        jtask_console.mount(FastAPI())


def test_without_a_broker_a_page_says_that_it_cannot_be_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unreachable(**_: object) -> None:
        raise BrokerUnavailable("nats://secret-host is away")

    monkeypatch.setattr(application, "open_follower", unreachable)
    app = FastAPI()
    served = ServedConsole(jtask_console.mount(app, authorize=authorize), app)
    answer = served.client.get("/jtask/runs", headers=PAGE)
    served.close()
    assert (answer.status_code, "secret-host" in answer.text) == (503, False)
