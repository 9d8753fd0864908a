"""The console inside a project of Django's, served as one of either kind."""

import re
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from waiting import PATIENCE

SETTINGS = """
SECRET_KEY = "known to all who read this test, and long enough for Django"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.sqlite"}}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
LOGIN_URL = "/login/"
JTASK_CONSOLE_AUTHORIZE = "ops.authorize"
"""
OPS = """
from jtask_console import Role
from jtask_console.django import staff

def authorize(request):
    return Role.VIEWER if request.user.get_username() == "eve" else staff(request)
"""
URLS = """
from django.contrib.auth import get_user_model, login
from django.http import HttpResponse
from django.urls import include, path

def enter(request, name):
    login(request, get_user_model().objects.get(username=name))
    return HttpResponse(name)

urlpatterns = [path("enter/<name>", enter), path("ops/jtask/", include("jtask_console.django"))]
"""
APPS = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
asgi, wsgi = get_asgi_application(), get_wsgi_application()
"""
USERS = """
import apps
from django.contrib.auth import get_user_model
from django.core.management import call_command
call_command("migrate", verbosity=0)
for name in ("ada", "eve", "bob"):
    get_user_model().objects.create_user(name, is_staff=name == "ada")
print(json.dumps("ready"))
"""
THREADS = 8
SERVERS = {
    "wsgi": ("gunicorn", "--threads", str(THREADS), "--bind", "127.0.0.1:0", "apps:wsgi"),
    "asgi": ("uvicorn", "--port", "0", "apps:asgi"),
}
PAGE = {"Accept": "text/html"}


@pytest.fixture
def site(place: Any, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    files = {"settings": SETTINGS, "ops": OPS, "urls": URLS, "apps": APPS}
    for name, code in files.items():
        place.write(f"{name}.py", code)
    place.ask(USERS)
    server = place.start(sys.executable, "-m", *SERVERS[getattr(request, "param", "wsgi")])
    server.says("http://127.0.0.1:")
    address = re.search(r"http://127\.0\.0\.1:\d+", server.log)
    assert address is not None
    with httpx.Client(base_url=address[0], timeout=PATIENCE) as client:
        client.headers["origin"] = address[0]
        yield client
    server.kill()


both = pytest.mark.parametrize("site", ["wsgi", "asgi"], indirect=True)


@both
def test_django_says_who_may_look_and_who_may_act(site: httpx.Client) -> None:
    stranger = site.get("/ops/jtask/runs?state=Failed", headers=PAGE)
    assert stranger.status_code == 302
    assert stranger.headers["location"] == "/login/?next=/ops/jtask/runs%3Fstate%3DFailed"
    assert site.get("/ops/jtask/api/counts").status_code == 401
    pause = "/ops/jtask/queues/parcels/pause"
    assert site.post(pause).status_code == 401
    site.get("/enter/bob")
    assert site.get("/ops/jtask/", headers=PAGE).status_code == 403
    site.get("/enter/eve")
    assert site.get("/ops/jtask/", headers=PAGE).status_code == 200
    assert site.post(pause).status_code == 403
    site.get("/enter/ada")
    assert site.post(pause, headers={"origin": "http://elsewhere.example"}).status_code == 403
    done = site.post(pause, headers={"referer": f"{site.base_url}/ops/jtask/queues"})
    # To the page of the form, or where it can be seen how far it is on a busy machine.
    assert done.status_code == 303
    assert done.headers["location"] in ("/ops/jtask/queues", "/ops/jtask/audit")
    assert 'class="said"' in site.get(done.headers["location"], headers=PAGE).text
    assert 'class="said"' not in site.get(done.headers["location"], headers=PAGE).text
    assert "ada" in site.get("/ops/jtask/audit", headers=PAGE).text


@both
def test_its_pages_are_live_and_its_links_stay_in_their_place(site: httpx.Client) -> None:
    site.get("/enter/ada")
    assert site.get("/ops/jtask").headers["location"] == "/ops/jtask/"
    page = site.get("/ops/jtask/queues", headers=PAGE)
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert 'href="/ops/jtask/runs"' in page.text
    style = re.search(r'href="(/ops/jtask/static/[^"]+\.css[^"]*)"', page.text)
    assert style is not None
    assert site.get(style[1]).headers["content-type"].startswith("text/css")
    live = re.search(r'hx-sse:connect="([^"]+)"', page.text)
    assert live is not None
    with site.stream("GET", live[1].replace("&amp;", "&")) as events:
        lines = events.iter_lines()
        assert next(lines) == ": here"
        # Others are answered meanwhile.
        assert site.post("/ops/jtask/queues/parcels/pause").status_code == 303
        assert any("parcels" in line for line in lines)


def test_pages_that_were_left_keep_no_thread(site: httpx.Client) -> None:
    site.get("/enter/ada")
    page = site.get("/ops/jtask/queues", headers=PAGE)
    live = re.search(r'hx-sse:connect="([^"]+)"', page.text)
    assert live is not None
    for _ in range(THREADS + 1):
        with site.stream("GET", live[1].replace("&amp;", "&")) as events:
            assert next(events.iter_lines()) == ": here"
    assert site.get("/ops/jtask/queues", headers=PAGE).status_code == 200


def test_a_server_of_one_request_at_a_time_gets_pages_that_are_not_live(
    site: httpx.Client, place: Any
) -> None:
    del site
    server = place.start(sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "apps:wsgi")
    server.says("http://127.0.0.1:")
    address = re.search(r"http://127\.0\.0\.1:\d+", server.log)
    assert address is not None
    with httpx.Client(base_url=address[0], timeout=PATIENCE) as client:
        client.get("/enter/ada")
        page = client.get("/ops/jtask/queues", headers=PAGE)
    assert page.status_code == 200
    assert "hx-sse:connect" not in page.text
