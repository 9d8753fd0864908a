"""Who may look, who may act, and who is turned away."""

import pytest
from served_console import PAGE, ServedConsole, StartConsole

from jtask.errors import ConfigurationError
from jtask_console.access.callers import Access, Role
from jtask_console.access.origins import problem_with_host, problem_with_origin
from jtask_console.access.sessions import Sessions
from jtask_console.settings import ConsoleSettings

TOKEN, VIEW_TOKEN = "open-sesame", "look-through-the-keyhole"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "console.example.com"])
def test_others_are_not_let_in_without_a_password(host: str) -> None:
    with pytest.raises(ConfigurationError, match="JTASK_CONSOLE_TOKEN"):
        Access(ConsoleSettings(console_host=host))
    Access(ConsoleSettings(console_host=host, console_token=TOKEN))
    Access(ConsoleSettings(console_host=host, console_user_header="X-User"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_this_machine_is_let_in_without_a_password(host: str) -> None:
    caller = Access(ConsoleSettings(console_host=host)).known(host, {}, {})
    assert caller is not None
    assert caller.may_act


@pytest.mark.parametrize(
    ("user", "operators", "role"),
    [("ada", "ada,bob", Role.OPERATOR), ("eve", "ada,bob", Role.VIEWER), ("eve", "*", "operator")],
)
def test_a_proxy_names_the_user(user: str, operators: str, role: str) -> None:
    settings = ConsoleSettings(console_user_header="X-User", console_operators=operators)
    caller = Access(settings).known("127.0.0.1", {"x-user": user}, {})
    assert caller is not None
    assert (caller.name, caller.role) == (user, role)


def test_the_header_of_a_proxy_is_not_believed_from_elsewhere() -> None:
    access = Access(ConsoleSettings(console_user_header="X-User", console_operators="*"))
    assert access.known("192.0.2.7", {"x-user": "ada"}, {}) is None
    assert access.known("127.0.0.1", {}, {}) is None


def test_nobody_may_act_in_a_console_that_is_read_only(start_console: StartConsole) -> None:
    console = start_console(console_read_only=True)
    assert "read-only" in console.page("/")
    assert console.post("/queues/q/pause").status_code == 403


def test_a_session_ends_with_its_token_and_cannot_be_made_up() -> None:
    sessions = Sessions({"viewer": VIEW_TOKEN, "operator": TOKEN})
    value = sessions.value_for("viewer")
    assert sessions.role_in(value) == "viewer"
    assert sessions.role_in(value.replace("viewer", "operator")) is None
    assert Sessions({"viewer": "another-one"}).role_in(value) is None
    role, ends, signature = value.split(".")
    assert sessions.role_in(f"{role}.{int(ends) + 1}.{signature}") is None
    for nonsense in ("", ".", "a.b.c", "viewer..", "viewer.1.\u00e4"):
        assert sessions.role_in(nonsense) is None


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [
        ({}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"origin": "http://127.0.0.1:8640", "host": "127.0.0.1:8640"}, True),
        ({"origin": "http://127.0.0.1:9999", "host": "127.0.0.1:8640"}, False),
        ({"origin": "null", "host": "127.0.0.1:8640"}, False),
    ],
)
def test_another_sites_form_is_refused(headers: dict[str, str], is_own: bool) -> None:
    assert (problem_with_origin("POST", headers) is None) is is_own
    assert problem_with_origin("GET", headers) is None


@pytest.mark.parametrize(
    ("host", "is_known"),
    [
        ("127.0.0.1:8640", True),
        ("localhost:1", True),
        ("[::1]:8640", True),
        ("[::1]", True),
        ("evil.example:8640", False),
        ("", False),
    ],
)
def test_a_name_that_the_console_does_not_have_is_refused(host: str, is_known: bool) -> None:
    names = Access(ConsoleSettings()).host_names
    assert names is not None
    assert (problem_with_host({"host": host}, names) is None) is is_known


def test_a_stranger_sees_nothing_and_is_asked_to_log_in(start_console: StartConsole) -> None:
    console = start_console(console_token=TOKEN)
    answer = console.client.get("/runs?state=Failed", headers=PAGE)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=/runs%3Fstate%3DFailed"
    assert console.client.get("/live/runs").status_code == 401
    assert console.post("/queues/q/pause").status_code == 401
    assert console.client.get("/static/console.css").status_code == 200


def test_a_token_lets_somebody_in_until_they_log_out(start_console: StartConsole) -> None:
    console = start_console(console_token=TOKEN)
    assert console.post("/login", {"token": "wrong-one"}).status_code == 403
    answer = console.post("/login", {"token": TOKEN, "next": "/queues"})
    assert answer.headers["location"] == "/queues"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "Queues" in console.page("/queues")
    console.client.get("/logout")
    assert console.client.get("/queues", headers=PAGE).status_code == 303


def test_a_program_sends_its_token_with_each_request(start_console: StartConsole) -> None:
    console = start_console(console_token=TOKEN)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert console.client.get("/runs", headers=headers).status_code == 200
    wrong = {"Authorization": "Bearer wrong-one"}
    assert console.client.get("/runs", headers=wrong).status_code == 401


def test_who_may_only_look_has_no_buttons_and_is_refused(start_console: StartConsole) -> None:
    console = start_console(console_token=TOKEN, console_view_token=VIEW_TOKEN)
    console.post("/login", {"token": VIEW_TOKEN})
    assert "data-all" not in console.page("/runs")
    answer = console.post("/queues/q/pause")
    assert answer.status_code == 403
    assert "may look" in answer.text


def test_login_leads_nowhere_but_to_the_console(start_console: StartConsole) -> None:
    console = start_console(console_token=TOKEN)
    for wanted in ("//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:1"):
        answer = console.post("/login", {"token": TOKEN, "next": wanted})
        assert answer.headers["location"] == "/", wanted


def test_every_answer_forbids_what_is_not_the_consoles(console: ServedConsole) -> None:
    for path in ("/", "/static/console.js", "/nothing"):
        answer = console.client.get(path, headers=PAGE)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_another_site_makes_nobody_act(console: ServedConsole) -> None:
    answer = console.post("/queues/q/pause", **{"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert console.client.get("/", headers={"Host": "evil.example"}).status_code == 421
