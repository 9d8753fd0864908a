"""Task keys: the same for one function wherever it is, different for two."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import jtask
from jtask import task
from jtask.declaration import keys, registry
from jtask.errors import TaskDefinitionError, TaskKeyConflict

CORE = Path(jtask.__file__).parents[1]
MODULE = """
from jtask import task

@task
def add(a, b):
    return a + b

class Shop:
    @task
    def sell(self): ...

if __name__ == "__main__":
    print(add.key, Shop.__dict__["sell"].key)
"""
SAY = "print(add.key, Shop.__dict__['sell'].key)"


def run(*command: str, folder: Path, python: str = sys.executable) -> str:
    environment = os.environ | {"PYTHONPATH": str(CORE)}
    done = subprocess.run(
        [python, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def serve_by_path(path: Path, folder: Path) -> str:
    code = f"""
from jtask.worker.targets import load_targets
found = {{t.name: t for t in load_targets([{str(path)!r}])}}
print(found["add"].key, found["sell"].key)
"""
    return run("-c", code, folder=folder)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "shop" / "inner").mkdir(parents=True)
    for package in ("shop", "shop/inner"):
        (folder / package / "__init__.py").touch()
    (folder / "shop" / "inner" / "work.py").write_text(MODULE)
    (folder / "alone.py").write_text(MODULE)
    return folder


def test_a_script_has_the_keys_that_an_import_gives_it(project: Path) -> None:
    imported = run("-c", f"from alone import *; {SAY}", folder=project)
    assert run("alone.py", folder=project) == imported
    assert run("-m", "alone", folder=project) == imported
    assert serve_by_path(project / "alone.py", project.parent) == imported
    add, sell = imported.split()
    assert add.startswith("add-")
    assert sell.startswith("sell-")
    assert add[4:] != sell[5:]


def test_a_module_in_a_package_has_one_key_however_it_is_run(project: Path) -> None:
    imported = run("-c", f"from shop.inner.work import *; {SAY}", folder=project)
    assert run("-m", "shop.inner.work", folder=project) == imported
    assert run("shop/inner/work.py", folder=project) == imported
    assert serve_by_path(project / "shop/inner/work.py", project) == imported
    assert serve_by_path(Path("work.py"), project / "shop" / "inner") == imported
    assert imported != run("alone.py", folder=project)


def test_a_key_does_not_depend_on_folder_line_or_body(project: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "another" / "place"
    elsewhere.mkdir(parents=True)
    changed = "\n# moved\n" * 9 + MODULE.replace("return a + b", "return (a, b, 'changed')")
    (elsewhere / "alone.py").write_text(changed)
    assert run("alone.py", folder=elsewhere) == run("alone.py", folder=project)


def other_python() -> str | None:
    """Find Python 3.12 beside this one, if it is there; core's keys need nothing but Python."""
    versions = Path(sys.base_prefix).parent
    found = [path for path in versions.glob("3.12*/bin/python3.12") if path.is_file()]
    return str(found[0]) if found else None


@pytest.mark.skipif(other_python() is None, reason="no Python 3.12 beside this one")
def test_a_key_does_not_depend_on_the_interpreter(project: Path) -> None:
    other = run("alone.py", folder=project, python=str(other_python()))
    assert other == run("alone.py", folder=project)


def test_known_keys_stay_as_they_are() -> None:
    # A change here would make workers of two versions deaf for each other.
    def add() -> None: ...

    add.__module__, add.__qualname__ = "shop.work", "add"
    assert keys.task_key("add", add) == "add-6a18bd1162fd"
    assert keys.task_key("Add up, nicely!", add) == "Add-up-nicely-e56d0969a1e6"
    assert keys.task_key("ü", add).startswith("task-")


def test_a_key_fits_an_address_whatever_the_name() -> None:
    for name in ("a.b*c>d e", "x" * 500, "日本語", "-", ""):
        assert keys.check_name("key", keys.task_key(name, test_known_keys_stay_as_they_are))


def test_the_name_makes_a_difference_to_the_key() -> None:
    def build() -> tuple[str, str]:
        def work() -> None: ...

        return task(work).key, task(name="other")(work).key

    plain, named = build()
    assert plain != named


def test_two_functions_with_one_key_are_refused_naming_both() -> None:
    @task(key="same-key")
    def first() -> None: ...

    with pytest.raises(TaskKeyConflict) as caught:

        @task(key="same-key")
        def second() -> None: ...

    text = str(caught.value)
    assert "'same-key'" in text
    assert "first" in text
    assert "second" in text
    assert "name= or key=" in text
    assert registry.find_task("same-key") is first


def test_a_function_that_is_defined_again_replaces_itself() -> None:
    def define(value: int) -> "jtask.SyncTask[[], int]":
        @task
        def again() -> int:
            return value

        return again

    first = define(1)
    second = define(2)
    assert first.key == second.key
    assert registry.find_task(first.key) is second
    assert second() == 2


def test_a_cell_that_is_run_again_in_the_interpreter_replaces_its_task(tmp_path: Path) -> None:
    session = """
from jtask import task
from jtask.declaration.registry import find_task
for value in (1, 2):
    exec(compile(f"@task\\ndef f(): return {value}", f"<cell {value}>", "exec"))
assert find_task(f.key)() == 2
print(f.key)
"""
    assert run("-c", session, folder=tmp_path).startswith("f-")


def test_files_of_one_name_in_two_folders_conflict_when_one_process_has_both(
    tmp_path: Path,
) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "work.py").write_text(MODULE)
    code = """
from jtask.errors import TaskKeyConflict, TargetError
from jtask.worker.targets import load_targets
kept = load_targets(["one/work.py"])
try:
    load_targets(["two/work.py"])
except (TaskKeyConflict, TargetError) as error:
    print(error)
"""
    said = run("-c", code, folder=tmp_path)
    assert str(tmp_path / "one" / "work.py") in said
    assert str(tmp_path / "two" / "work.py") in said


@pytest.mark.parametrize("text", ["", "a b", "a.b", "ü", "x" * 129, "a\n"])
@pytest.mark.parametrize("kind", ["key", "queue"])
def test_a_key_or_queue_that_no_address_can_hold_is_refused(kind: str, text: str) -> None:
    with pytest.raises(TaskDefinitionError, match=f"{kind} .* letters, digits, '_' and '-'"):
        task(**{kind: text})(test_known_keys_stay_as_they_are)  # type: ignore[arg-type]


def test_a_task_that_nobody_holds_is_forgotten() -> None:
    def short_lived() -> str:
        @task
        def gone() -> None: ...

        return gone.key

    import gc

    key = short_lived()
    gc.collect()
    assert registry.find_task(key) is None
