"""Every mistake is one sentence on stderr and an exit code from the contract, never a traceback."""

import json
import sys
from typing import Any

import pytest
from installing import write_package

TASKS = """
from jtask import task

@task
def resize(width: int) -> int:
    return width

def plain(width: int) -> int:
    return width
"""
NOWHERE = {"JTASK_URL": "nats://127.0.0.1:9", "JTASK_CONNECT_TIMEOUT": "0.5"}
SOME_ID = "01a1ffff-6c16-72ab-a293-08c3d8a83bac"


def check(done: Any, code: int, *fragments: str) -> None:
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert "Traceback" not in done.stderr
    for fragment in fragments:
        assert fragment in done.stderr


@pytest.fixture
def tasks(place: Any) -> Any:
    place.write("tasks.py", TASKS)
    place.write("empty.py", "")
    place.write("broken.py", "\n\nimport nowhere_to_be_found")
    place.write("garbled.py", "def f(:")
    return place


@pytest.mark.parametrize(
    ("target", "fragment"),
    [
        ("nowhere.py", "there is no file 'nowhere.py'"),
        ("taks.py", "did you mean 'tasks.py'"),
        ("nowhere", "there is no module 'nowhere'"),
        ("tasks.py:resiz", "did you mean 'resize'"),
        ("tasks.py:plain", "has a function but no task 'plain'; its tasks: resize"),
        (":resize", "names no module"),
        ("empty.py", "no task to serve"),
        ("broken.py", "nowhere_to_be_found"),
        ("broken.py", "broken.py)"),
        ("garbled.py", "SyntaxError"),
        ("garbled.py", "garbled.py)"),
    ],
)
def test_serve_refuses_a_bad_target_with_2(tasks: Any, target: str, fragment: str) -> None:
    check(tasks.jtask("serve", target), 2, fragment)


def test_a_delay_that_is_too_long_is_refused_under_the_name_of_its_option(tasks: Any) -> None:
    done = tasks.jtask("enqueue", "tasks.py:resize", "1", "--delay", "99999999999")
    check(done, 2, "Error: delay 99999999999.0 ends after the year 2199")


def test_serve_without_a_broker_exits_with_3(tasks: Any) -> None:
    check(tasks.jtask("serve", "tasks.py", **NOWHERE), 3, "127.0.0.1:9")


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve"],
        ["serve", "tasks.py", "-c", "0"],
        ["serve", "tasks.py", "--shutdown-timeout", "soon"],
        ["serve", "tasks.py", "--reload-dir", "no-such-folder"],
        ["enqueue"],
        ["no-such-command"],
        ["runs", "ls", "--state", "lost"],
        ["runs", "ls", "--since", "yesterday"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_wrong_usage_exits_with_2(tasks: Any, arguments: list[str]) -> None:
    check(tasks.jtask(*arguments), 2, "Usage: jtask")


def test_a_misspelt_state_gets_a_suggestion(tasks: Any) -> None:
    check(tasks.jtask("runs", "ls", "--state", "fail"), 2, "did you mean Failed?")
    check(tasks.jtask("runs", "ls", "--state", "zzz"), 2, "use one of Scheduled, Pending")


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["tasks.resize", "width=1"], "did you mean tasks:resize?"),
        (["tasks.py:resize"], "is missing argument 'width'"),
        (["tasks.py:resize", "1", "2"], "takes"),
        (["tasks.py:resize", "width=wide"], "argument 'width'"),
        (["tasks.py:resize", "witdh=1"], "did you mean 'width'"),
        (["tasks.py:resize", "width=1", "width=2"], "two values for argument 'width'"),
        (["some-key", "a=1", "a=1"], "two values for argument 'a'"),
        (["some-key", "1"], "name=value"),
        (["some key"], "'some key'"),
        (["some-key", "--queue", "a.b"], "'a.b'"),
        (["tasks.py:nothing"], "nothing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_enqueue_refuses_wrong_arguments_with_2(
    tasks: Any, arguments: list[str], fragment: str
) -> None:
    check(tasks.jtask("enqueue", *arguments), 2, fragment)


@pytest.mark.parametrize(
    "arguments",
    [["enqueue", "tasks.py:resize", "1"], ["result", SOME_ID], ["runs", "ls"]],
    ids=lambda arguments: arguments[0],
)
def test_a_command_without_a_broker_exits_with_3(tasks: Any, arguments: list[str]) -> None:
    check(tasks.jtask(*arguments, **NOWHERE), 3, "127.0.0.1:9")


def test_enqueue_says_that_nobody_serves_a_queue_that_was_named_by_hand(tasks: Any) -> None:
    worker = tasks.serve("tasks.py:resize")
    worker.is_ready()
    key = tasks.ask("import tasks; print(json.dumps(tasks.resize.key))")

    def said(*arguments: str) -> str:
        done = tasks.jtask("enqueue", *arguments)
        assert (done.returncode, len(done.stdout.split())) == (0, 1)
        return str(done.stderr)

    assert said("resize", "width=1") == (
        f"no worker serves queue 'resize' now, the run waits for one; did you mean {key!r}?\n"
    )
    misspelt = (
        f"no worker serves queue '{key[:-1]}' now, the run waits for one; did you mean {key!r}?"
    )
    assert said("tasks.py:resize", "1", "--queue", key[:-1]) == f"{misspelt}\n"
    assert said(key, "width=1") == ""


def test_enqueue_refuses_a_broker_that_ends_with_the_program(tasks: Any) -> None:
    done = tasks.jtask("enqueue", "tasks.py:resize", "1", JTASK_URL="memory://")
    check(done, 2, "would end with this program")


def test_a_worker_that_nobody_can_reach_says_so(tasks: Any) -> None:
    worker = tasks.serve("tasks.py", JTASK_URL="memory://")
    worker.is_ready()
    assert "no other program can give this worker runs" in worker.log
    assert worker.stop() == 0


def test_serving_a_folder_is_refused(tasks: Any) -> None:
    for folder in (".", "./", f"{tasks.folder}"):
        check(tasks.jtask("serve", folder), 2, "is a folder: give a file in it")


def test_what_is_no_run_or_an_unknown_one_exits_with_1(tasks: Any) -> None:
    check(tasks.jtask("result", "abc"), 1, "'abc' is not a run id")
    check(tasks.jtask("runs", "show", "abc"), 1, "'abc' is not a run id")
    check(tasks.jtask("runs", "show", SOME_ID), 1, f"nothing is known about run {SOME_ID}")
    check(tasks.jtask("result", SOME_ID), 1, f"nothing is known about run {SOME_ID} at nats://")


@pytest.mark.parametrize(
    ("variable", "value", "fragment"),
    [
        ("JTASK_URL", "nast://x", "did you mean nats://"),
        ("JTASK_LEASE", "soon", "JTASK_LEASE"),
        ("JTASK_PLUGINS", "runlgo", "did you mean 'runlog'"),
    ],
)
def test_a_wrong_setting_exits_with_2(tasks: Any, variable: str, value: str, fragment: str) -> None:
    check(tasks.jtask("serve", "tasks.py", **{variable: value}), 2, fragment)


def test_a_broken_plugin_leaves_the_help_but_says_so(tasks: Any) -> None:
    plugin = tasks.folder / "jtask_broken-1.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Name: jtask-broken\nVersion: 1\n")
    (plugin / "entry_points.txt").write_text("[jtask.plugins]\nbroken = no_such_module\n")
    path = {"PYTHONPATH": f"{tasks.folder}:{tasks.env.get('PYTHONPATH', '')}"}
    done = tasks.jtask("--help", **path)
    assert (done.returncode, "serve" in done.stdout) == (0, True)
    assert "Warning: plugin 'broken' (no_such_module) cannot be loaded" in done.stderr
    assert "Traceback" not in done.stderr
    check(tasks.jtask("serve", "tasks.py", **path), 2, "plugin 'broken'", "JTASK_PLUGINS")
    assert tasks.jtask("serve", "--help", **path).returncode == 0


def test_the_settings_are_shown_without_a_broker_and_beside_a_broken_plugin(tasks: Any) -> None:
    write_package(tasks.folder, "broken", "1 // 0", "[jtask.plugins]\nbroken = {module}\n")
    (tasks.folder / "jtask.toml").write_text("replicas = 3")
    path = {"PYTHONPATH": f"{tasks.folder}:{tasks.env.get('PYTHONPATH', '')}"}
    url = {"JTASK_URL": "nats://me:secret@127.0.0.1:9"}
    done = tasks.jtask("config", "show", "--origin", **path, **url)
    assert done.returncode == 0
    assert "Warning: plugin 'broken' (jtask_test_broken) cannot be asked for its" in done.stderr
    assert "Traceback" not in done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["url", "nats://me:***@127.0.0.1:9", "jtask", "environment"] in rows
    assert ["replicas", "3", "jtask_nats", "jtask.toml"] in rows
    done = tasks.jtask("config", "show", **path, **url, JTASK_HEALTH_PORT="99999")
    assert done.returncode == 2
    assert "Error: setting 'health_port' (JTASK_HEALTH_PORT) of jtask_health must" in done.stderr


def test_help_and_version_need_no_broker(place: Any) -> None:
    for arguments in (["-h"], ["serve", "-h"], ["enqueue", "--help"], ["runs", "ls", "-h"]):
        done = place.jtask(*arguments, **NOWHERE)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Usage: jtask")
    secret = {"JTASK_URL": "nats://user:secret@127.0.0.1:9"}
    facts = json.loads(place.jtask("version", "--json", **secret).stdout)
    assert facts["url"] == "nats://127.0.0.1:9"
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert "runlog" in facts["plugins"]
    assert not place.home.exists()


@pytest.mark.parametrize("arguments", [["serve", "-h"], ["enqueue", "-h"], ["runs", "show", "-h"]])
def test_the_help_of_a_command_imports_nothing_slow(place: Any, arguments: list[str]) -> None:
    loaded = place.ask(
        f"""
        import sys
        sys.argv = ["jtask", *{arguments}]
        from jtask.cli.program import main
        try:
            main()
        except SystemExit:
            pass
        print(json.dumps(sorted(sys.modules)))
        """
    )
    assert {"pydantic", "pydantic_settings", "nats", "rich", "watchfiles"}.isdisjoint(loaded)
