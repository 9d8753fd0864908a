"""A package's command is found by entry point, imported when used, and refused with a reason."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from jtask.cli.program import Program
from jtask.worker.exit_codes import ExitCode

Install = Callable[..., str]
GOOD = """
import click

@click.command()
@click.option("--loud", is_flag=True)
def command(loud):
    "Say what it is for."
    click.echo("HELLO" if loud else "hello")
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a package the way pip does, and return the name of its module."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(package: str, name: str, source: str = GOOD, group: str = "jtask.commands") -> str:
        module = f"jtask_test_{package}_{tmp_path.name}".replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{package}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        target = f"{module}:command" if group == "jtask.commands" else module
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {target}\n")
        return module

    return add


def run(*arguments: str) -> Result:
    """Run a program that has one command of its own, `own`."""
    program = Program("jtask", context_settings={"help_option_names": ["-h", "--help"]})

    @program.command()
    def own() -> None:
        click.echo("mine")

    return CliRunner().invoke(program, arguments)


def refusal(*arguments: str) -> str:
    """Return the one sentence with which the program refuses."""
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (ExitCode.USAGE, "")
    [sentence] = done.stderr.splitlines()
    return sentence


def test_the_command_of_a_package_is_run_with_its_arguments(install: Install) -> None:
    install("greetings", "greet")
    assert run("greet", "--loud").stdout == "HELLO\n"
    assert "Usage: jtask greet" in run("greet", "--help").stdout


def test_a_command_that_is_not_used_is_not_imported(install: Install) -> None:
    used, unused = install("greetings", "greet"), install("others", "other")
    assert run("own").stdout == "mine\n"
    assert used not in sys.modules
    assert run("greet").stdout == "hello\n"
    assert used in sys.modules
    assert unused not in sys.modules


def test_the_commands_of_packages_need_no_plugins(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("greetings", "greet")
    install("broken-plugin", "broken", "import no_such_module_at_all", group="jtask.plugins")
    assert run("greet").stdout == "hello\n"
    monkeypatch.setenv("JTASK_PLUGINS", "")
    assert run("greet").stdout == "hello\n"


def test_the_help_lists_the_commands_of_packages(install: Install) -> None:
    install("greetings", "greet")
    listed = run("--help")
    assert listed.stderr == ""
    assert re.search(r"greet +Say what it is for\.", listed.stdout)
    assert {"own", "demo", "server"} <= set(listed.stdout.split())


def test_a_command_of_jtask_itself_wins(install: Install) -> None:
    module = install("greetings", "own")
    assert run("own").stdout == "mine\n"
    listed = run("--help")
    assert listed.stderr == (
        "Warning: the command 'own' of package greetings is not used: jtask has its own\n"
    )
    assert module not in sys.modules


def test_two_packages_with_one_command_are_both_named(install: Install) -> None:
    modules = {install("greetings", "greet"), install("more-greetings", "greet")}
    sentence = "the command 'greet' is in more than one package (greetings, more-greetings)"
    assert refusal("greet").startswith(f"Error: {sentence}")
    assert refusal("greet", "--help").startswith(f"Error: {sentence}")
    assert modules.isdisjoint(sys.modules)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at"),
        ("raise RuntimeError('out of order')", "RuntimeError: out of order"),
        ("", "has no attribute 'command'"),
        ("def command(): ...", "it is of type function, not a click command"),
    ],
)
def test_a_command_that_cannot_be_loaded_names_its_package(
    install: Install, source: str, reason: str
) -> None:
    module = install("greetings", "greet", source)
    sentence = refusal("greet")
    assert f"the command 'greet' of package greetings ({module}:command) cannot be " in sentence
    assert reason in sentence


def test_commands_that_cannot_be_used_leave_the_help_of_the_others(install: Install) -> None:
    install("greetings", "greet")
    install("broken", "broken", "import no_such_module_at_all")
    install("one", "twice")
    install("two", "twice")
    listed = run("--help")
    assert listed.exit_code == 0
    said = " ".join(listed.stdout.split())
    assert "the command 'broken' of package broken (" in said
    assert "the command 'twice' is in more than one package (one, two)" in said
    assert "greet Say what it is for." in said


def test_what_cannot_be_used_does_not_disturb_the_completion_of_a_line(install: Install) -> None:
    install("broken", "broken", "import no_such_module_at_all")
    install("greetings", "own")
    environment = {"_JTASK_COMPLETE": "bash_complete", "COMP_CWORD": "1"}

    def completed(words: str, word: str) -> list[str]:
        env = {**environment, "COMP_WORDS": words, "COMP_CWORD": word}
        done = CliRunner().invoke(Program("jtask"), prog_name="jtask", env=env)
        assert (done.exit_code, done.stderr) == (0, "")
        return done.stdout.splitlines()

    assert completed("jtask br", "1") == ["plain,broken"]
    assert completed("jtask broken --", "2") == ["plain,--help"]


PLUGIN = """
import click
from jtask.hooks import hookimpl

@hookimpl
def jtask_cli(cli):
    cli.add_command(click.Command("greet"))
"""
LATER = PLUGIN.replace("greet", "later")


def test_a_plugin_cannot_replace_the_command_of_a_package(install: Install) -> None:
    install("greetings", "greet")
    install("rival", "rival", PLUGIN, group="jtask.plugins")
    install("later", "later", LATER, group="jtask.plugins")
    listed = run("--help")
    assert "plugin 'rival' cannot add its commands" in listed.stderr
    assert "package greetings has a command 'greet' already" in listed.stderr
    assert re.search(r"greet +Say what it is for\.", listed.stdout)
    assert {"later", "queues"} <= set(listed.stdout.split())
    assert run("greet").stdout == "hello\n"


def test_the_demo_and_the_server_are_commands_and_no_plugins() -> None:
    from importlib.metadata import distribution

    own: Any = distribution("jtask").entry_points
    assert {"demo", "server"} <= {point.name for point in own.select(group="jtask.commands")}
    assert not {"demo", "nats_server"} & {p.name for p in own.select(group="jtask.plugins")}
