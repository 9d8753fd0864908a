"""Plugins are found by entry point, restricted by JTASK_PLUGINS, and refused with a reason."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from programs import environment, output_of

from jtask import task
from jtask.errors import ConfigurationError
from jtask.execution import direct_call
from jtask.hooks import hookimpl
from jtask.options import Option
from jtask.plugins import Plugins, get_plugins
from jtask.states import State

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a plugin the way pip does: a module, and its entry point in a dist-info folder."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(name: str, source: str) -> None:
        module = f"jtask_test_{name}_{tmp_path.name}".replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[jtask.plugins]\n{name} = {module}\n")

    return add


GOOD = """
from jtask.hooks import hookimpl
from jtask.options import Option

@hookimpl
def jtask_options():
    return [Option("shiny", False)]
"""


def test_an_installed_plugin_is_loaded(install: Install) -> None:
    install("shiny", GOOD)
    plugins = Plugins()
    assert "shiny" in plugins.names
    assert plugins.options["shiny"].default is False


def test_the_built_in_plugins_come_through_entry_points() -> None:
    assert "runlog" in Plugins().names


def test_loading_the_plugins_imports_no_command_of_a_package() -> None:
    code = "import sys; from jtask.plugins import get_plugins; get_plugins(); print(*sys.modules)"
    loaded = output_of(sys.executable, "-c", code, env=environment()).split()
    assert "jtask_runlog" in loaded
    assert not [name for name in loaded if name.startswith(("jtask_demo", "jtask_nats", "click"))]


def test_two_plugins_cannot_have_the_same_header(install: Install) -> None:
    headers = """
from jtask.hooks import hookimpl

@hookimpl
def jtask_headers():
    return ["mark"]
"""
    install("one", headers)
    install("two", headers)
    with pytest.raises(ConfigurationError, match="two plugins have the header 'mark'"):
        Plugins(["one", "two"])


def test_only_the_named_plugins_are_loaded(install: Install) -> None:
    install("shiny", GOOD)
    assert Plugins(["shiny"]).names == ["shiny"]
    assert Plugins([]).names == []


def test_the_setting_restricts_the_plugins_of_the_process(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jtask.settings import get_settings

    install("shiny", GOOD)
    found: list[list[str]] = []
    for setting in ("shiny, runlog", "runlog", ""):
        with monkeypatch.context() as patch:
            patch.setenv("JTASK_PLUGINS", setting)
            get_settings.cache_clear()
            found.append(get_plugins.__wrapped__().names)
    get_settings.cache_clear()
    assert found == [["runlog", "shiny"], ["runlog"], []]


def test_a_name_that_is_not_installed_is_refused_with_the_nearest(install: Install) -> None:
    install("shiny", GOOD)
    with pytest.raises(
        ConfigurationError, match="'shinny', which is not there: did you mean 'shiny'"
    ):
        Plugins(["shinny"])


def test_a_name_like_no_other_is_refused_with_what_there_is() -> None:
    with pytest.raises(ConfigurationError, match=r"'zzzzz', which is not there: installed: \[.*"):
        Plugins(["zzzzz"])


BROKEN = {
    "import": ("import no_such_module_at_all", "no_such_module_at_all"),
    "raise": ("raise RuntimeError('out of order')", "out of order"),
    "misspelt": (
        "from jtask.hooks import hookimpl\n@hookimpl\ndef jtask_sate(run, state): ...",
        "jtask_sate",
    ),
    "unmarked": ("def jtask_state(run, state): ...", "jtask_state is not marked: put @hookimpl"),
    "argument": (
        "from jtask.hooks import hookimpl\n@hookimpl\ndef jtask_state(run, colour): ...",
        "colour",
    ),
    "header": (
        "from jtask.hooks import hookimpl, only_with\n"
        "@hookimpl\ndef jtask_headers(): return ['mark']\n"
        "@hookimpl\n@only_with('marc')\ndef jtask_admit(run): ...",
        "jtask_admit is for runs with the header 'marc', which jtask_headers does not name",
    ),
    "state": (
        "from jtask.hooks import hookimpl, only_in\n"
        "from jtask.states import StateName\n"
        "@hookimpl\n@only_in(StateName.FAILED)\ndef jtask_failed(run): ...",
        "jtask_failed is not about a state, so it cannot be called in some only",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_plugin_that_cannot_be_loaded_is_named_with_the_way_out(
    install: Install, kind: str
) -> None:
    source, reason = BROKEN[kind]
    install("broken", source)
    with pytest.raises(ConfigurationError) as caught:
        Plugins(["broken"])
    text = str(caught.value)
    assert text.startswith("plugin 'broken' (jtask_test_broken")
    assert reason in text
    assert "JTASK_PLUGINS to go on without it" in text
    assert Plugins([]).names == []


@pytest.mark.parametrize("arguments", ["*, run", "run=None"])
def test_a_hook_that_would_not_get_its_argument_is_refused(
    install: Install, arguments: str
) -> None:
    install(
        "broken", f"from jtask.hooks import hookimpl\n@hookimpl\ndef jtask_admit({arguments}): ..."
    )
    with pytest.raises(
        ConfigurationError, match="jtask_admit would not get 'run': make it a plain"
    ):
        Plugins(["broken"])


class Selfless:
    @hookimpl
    def jtask_settled(run: object) -> None: ...  # pyright: ignore


class Settled:
    @hookimpl
    def jtask_settled(self, run: object) -> None: ...


class Unmarked:
    def jtask_settled(self, run: object) -> None: ...


@pytest.mark.parametrize(
    ("plugin", "reason"),
    [
        (None, "None is no plugin: it has none of jtask's hooks"),
        ("retries", "'retries' is no plugin"),
        (Unmarked(), "jtask_settled is not marked: put @hookimpl above it"),
        (Selfless(), "jtask_settled is a method: name self before 'run'"),
        (Settled, r"jtask_settled takes an object of the class: load Settled\(\)"),
    ],
)
def test_what_would_just_never_be_called_is_not_added(plugin: object, reason: str) -> None:
    plugins = Plugins([])
    with pytest.raises(ConfigurationError, match=reason):
        plugins.add(plugin)
    assert plugins.names == []


def test_a_failing_declaration_of_options_makes_loading_fail(install: Install) -> None:
    install("odd", GOOD.replace("return [", "raise ValueError('odd') or ["))
    with pytest.raises(ValueError, match="odd"):
        Plugins(["odd"])


def test_the_process_says_so_at_the_first_use_of_a_task(install: Install, tmp_path: Path) -> None:
    install("broken", "import no_such_module_at_all")
    code = "from jtask import task\n@task\ndef f(): ...\nprint('defined')\nf()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(PYTHONPATH=str(tmp_path), JTASK_PLUGINS="broken"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.stdout == "defined\n"
    assert "plugin 'broken'" in done.stderr.splitlines()[-1]


def test_a_call_is_not_begun_whose_plugins_cannot_be_loaded(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("broken", "import no_such_module_at_all")
    monkeypatch.setattr("jtask.plugins.get_plugins", lambda: Plugins(["broken"]))
    told: list[State] = []
    direct_call.on_state(lambda run, state: told.append(state))

    @task
    def work() -> None: ...

    try:
        with pytest.raises(ConfigurationError, match="plugin 'broken'"):
            work()
    finally:
        direct_call.on_state(None)
    assert told == []


def test_a_plugin_that_is_not_loaded_is_found_by_its_option(install: Install) -> None:
    install("broken", "import no_such_module_at_all")
    install("shiny", GOOD)
    assert Plugins(["runlog"]).find_unloaded("shiny") == "shiny"
    assert Plugins(["shiny"]).find_unloaded("shiny") is None
    assert Plugins(["runlog"]).find_unloaded("dull") is None


def test_an_added_plugin_is_there_until_it_is_removed() -> None:
    class Shiny:
        @hookimpl
        def jtask_state(self) -> None: ...

    plugins, plugin = Plugins([]), Shiny()
    assert plugins.caller("jtask_state") is None
    plugins.add(plugin)
    assert plugins.caller("jtask_state") is not None
    plugins.remove(plugin)
    assert plugins.caller("jtask_state") is None


def test_a_plugin_that_is_added_again_is_refused_and_stays() -> None:
    plugins, plugin = Plugins([]), Settled()
    plugins.add(plugin)
    with pytest.raises(ConfigurationError, match=r"is loaded already$"):
        plugins.add(plugin)
    assert plugins.caller("jtask_settled") is not None


def test_an_added_plugin_that_is_wrong_leaves_nothing_behind() -> None:
    class Misspelt:
        @hookimpl
        def jtask_sate(self) -> None: ...

    plugins = Plugins([])
    with pytest.raises(ConfigurationError, match="jtask_sate"):
        plugins.add(Misspelt())
    assert plugins.names == []


def hooked(hook: str, function: Any) -> Any:
    return type("Hooked", (), {hook: staticmethod(hookimpl(function))})()


async def slow(task: object) -> bool: ...  # type: ignore[empty-body] # pyright: ignore
def lazy(run: object) -> Any:
    yield


async def slow_and_lazy(run: object) -> Any:
    yield


@pytest.mark.parametrize(
    ("hook", "function", "said"),
    [
        ("jtask_state", lambda rum, state: None, "no argument 'rum': it may take run, state"),
        ("jtask_options", lambda task: None, "no argument 'task': it takes nothing"),
        ("jtask_applies", slow, "is asynchronous, and jtask does not await it"),
        ("jtask_state", lazy, "is a generator, which jtask does not execute"),
        ("jtask_state", slow_and_lazy, "is a generator, which jtask does not execute"),
        ("jtask_headers", lambda: "shiny", "must give a list of names, got 'shiny'"),
        ("jtask_headers", lambda: [5], r"must give a list of names, got \[5\]"),
        ("jtask_options", lambda: 5, "must give a list, got 5"),
        ("jtask_options", lambda: [Option("queue")], "'queue' is jtask's own"),
        ("jtask_options", lambda: [Option("a b")], "a name as keywords do, got 'a b'"),
        (
            "jtask_options",
            lambda: [Option("a", needs="limit")],  # type: ignore[arg-type] # pyright: ignore
            "must be a tuple of names",
        ),
    ],
)
def test_a_hook_that_would_not_do_what_it_says_is_refused(
    hook: str, function: Any, said: str
) -> None:
    plugins = Plugins([])
    with pytest.raises(ConfigurationError, match=f"cannot be loaded: .*{said}"):
        plugins.add(hooked(hook, function))
    assert plugins.names == []


def test_a_hook_may_take_and_give_what_its_docstring_says() -> None:
    async def settle(
        outcome: object, *rest: object, own: object = None, **others: object
    ) -> None: ...
    def headers() -> Any:
        yield "shiny"

    plugins = Plugins([])
    plugins.add(hooked("jtask_settled", settle))
    plugins.add(hooked("jtask_headers", headers))
    assert list(plugins.headers) == ["shiny"]


class Picky:
    def __init__(self, answer: object) -> None:
        self.answer = answer

    @hookimpl
    def jtask_applies(self, task: object) -> object:
        return self.answer


@pytest.mark.parametrize(("answer", "interested"), [(False, False), (None, True), (True, True)])
def test_only_false_takes_a_plugin_out_of_a_task(answer: object, interested: bool) -> None:
    @task
    def work() -> None: ...

    plugins, plugin = Plugins([]), Picky(answer)
    plugins.add(plugin)
    assert plugins.uninterested(work) == ([] if interested else [plugin])
