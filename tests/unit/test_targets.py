"""What a target names, and how a wrong one is refused."""

import gc
import importlib
import importlib.metadata
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jtask.errors import TargetError
from jtask.hidden_libraries import LIBRARIES
from jtask.worker.targets import import_name, load_targets, load_task, served_target_of, target_of

TASKS = """
from jtask import task

@task
def resize(width: int) -> int:
    return width

@task
def thumb(width: int) -> int:
    return width

def plain() -> None: ...

class Shop:
    @task
    @staticmethod
    def restock(n: int) -> int:
        return n
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder; what is imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    gc.collect()  # tasks are known as long as they live


def write(name: str, code: str = TASKS) -> Path:
    file = Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(code)
    return file


def names(*targets: str) -> list[str]:
    return [task.name for task in load_targets(list(targets))]


def test_a_file_or_a_module_names_all_its_tasks_methods_included() -> None:
    write("shop_a.py")
    assert names("shop_a.py") == ["resize", "thumb", "restock"]
    assert names("shop_a") == ["resize", "thumb", "restock"]


def test_a_name_after_a_colon_names_one_task() -> None:
    write("shop_b.py")
    assert names("shop_b.py:thumb") == ["thumb"]
    assert names("shop_b:Shop.restock") == ["restock"]


def test_a_task_named_twice_is_served_once() -> None:
    write("shop_c.py")
    assert names("shop_c.py:thumb", "shop_c", "shop_c:thumb") == ["thumb", "resize", "restock"]


COPIES = """
from jtask import task

@task(queue="slow")
def resize(width: int) -> int:
    return width

urgent = resize.with_options(queue="urgent")
again = urgent
"""


def test_a_copy_with_a_queue_of_its_own_is_served_beside_its_task() -> None:
    write("shop_t.py", COPIES)
    tasks = load_targets(["shop_t.py", "shop_t.py:again"])
    assert [task.queue for task in tasks] == ["slow", "urgent"]
    assert [served_target_of(task).rpartition(":")[2] for task in tasks] == ["resize", "urgent"]
    for queue, name in (("slow", ":resize"), ("urgent", ":urgent")):
        assert served_target_of(tasks[0].with_options(queue=queue)).endswith(name)
    with pytest.raises(TargetError, match=r"queue 'other' cannot be loaded by another .*: give"):
        served_target_of(tasks[0].with_options(queue="other"))


def test_where_one_task_is_wanted_its_copies_do_not_count() -> None:
    write("shop_u.py", COPIES)
    assert load_task("shop_u.py").queue == "slow"
    assert load_task("shop_u.py:urgent").queue == "urgent"
    write("shop_v.py")
    with pytest.raises(TargetError, match=r"choose one with shop_v\.py:NAME: resize, thumb"):
        load_task("shop_v.py:")


def test_a_file_in_a_package_is_the_module_that_imports_of_it_load() -> None:
    write("pack/__init__.py", "")
    write("pack/inner/__init__.py", "")
    write("pack/inner/jobs.py")
    [by_file] = load_targets(["pack/inner/jobs.py:resize"])
    [by_name] = load_targets(["pack.inner.jobs:resize"])
    assert by_file is by_name
    assert by_file.fn.__module__ == "pack.inner.jobs"


def test_a_file_may_import_what_lies_beside_it_wherever_the_program_was_started() -> None:
    write("elsewhere/beside.py", "VALUE = 1")
    write("elsewhere/jobs_d.py", f"import beside\n{TASKS}")
    assert names("elsewhere/jobs_d.py:resize") == ["resize"]


def test_the_file_that_is_named_is_served_not_its_namesake_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("here/jobs_j.py", "raise SystemExit('executed')")
    write("here/beside_j.py", "VALUE = 'of the current folder'")
    write("srv/app/beside_j.py", "VALUE = 'of its own folder'")
    file = write("srv/app/jobs_j.py", f"import beside_j\n{TASKS}").resolve()
    monkeypatch.chdir("here")
    [task] = load_targets([f"{file}:resize"])
    assert task.fn.__globals__["__file__"] == str(file)
    assert task.fn.__globals__["beside_j"].VALUE == "of its own folder"
    assert sys.path[0] == str(file.parent)
    assert str(tmp_path / "here") not in sys.path


def test_a_files_folder_comes_first_although_it_was_on_the_path_before(tmp_path: Path) -> None:
    write("other_k/beside_k.py", "VALUE = 'other'")
    write("own_k/beside_k.py", "VALUE = 'own'")
    write("own_k/jobs_k.py", f"import beside_k\n{TASKS}")
    sys.path[:0] = [str(tmp_path / "other_k"), str(tmp_path / "own_k")]
    [task] = load_targets(["own_k/jobs_k.py:resize"])
    assert task.fn.__globals__["beside_k"].VALUE == "own"


def test_a_file_may_import_from_the_current_folder_that_it_lies_in() -> None:
    write("project_l.py", "VALUE = 1")
    write("inner/jobs_l.py", f"import project_l\n{TASKS}")
    assert names("inner/jobs_l.py:resize") == ["resize"]


def test_a_file_in_a_package_is_served_although_another_package_of_that_name_is_loaded(
    tmp_path: Path,
) -> None:
    write("one/pack_m/__init__.py", "PLACE = 'one'")
    write("two/pack_m/__init__.py", "PLACE = 'two'")
    write("two/pack_m/jobs.py", f"from . import PLACE\n{TASKS}")
    sys.path.insert(0, str(tmp_path / "one"))
    importlib.import_module("pack_m")
    [task] = load_targets(["two/pack_m/jobs.py:resize"])
    assert task.fn.__globals__["PLACE"] == "two"


def test_a_file_with_a_dot_in_its_name_is_served() -> None:
    write("jobs_n.py", "raise SystemExit('executed')")
    write("jobs_n.v2.py")
    assert names("jobs_n.v2.py:resize") == ["resize"]


@pytest.mark.parametrize("name", ["jtask.py", "json.py", "json/tasks.py"])
def test_a_file_that_would_stand_in_for_a_module_of_python_or_jtask_is_to_be_renamed(
    name: str,
) -> None:
    before = sys.modules["json"]
    file = write(name)
    if file.parent.name == "json":
        write("json/__init__.py", "")
    with pytest.raises(TargetError, match=r"has the name of the module '\w+', .*: rename it"):
        load_targets([name])
    assert sys.modules["json"] is before


@pytest.mark.parametrize(
    ("hiding", "target"),
    [
        ("pydantic.py", "pydantic.py"),
        ("nats.py", "jobs_q.py"),
        ("nats/__init__.py", "jobs_q"),
        ("app_q/cloudpickle.py", "app_q/jobs_q.py:resize"),
    ],
)
def test_a_file_that_hides_a_library_of_jtasks_from_it_is_to_be_renamed(
    hiding: str, target: str
) -> None:
    write("jobs_q.py")
    write("app_q/jobs_q.py")
    write(hiding)
    place = str(Path(hiding.removesuffix("/__init__.py")))
    with pytest.raises(TargetError, match=rf"{place}' has the name of the library .*: rename it"):
        load_targets([target])


def test_a_file_in_a_package_or_beside_installed_packages_hides_no_library() -> None:
    write("pack_r/__init__.py", "")
    write("pack_r/nats.py")
    write("lambda_r/jobs_r.py")
    write("lambda_r/pydantic/__init__.py", "")
    write("lambda_r/pydantic-2.14.4.dist-info/METADATA", "")
    assert names("pack_r/nats.py:resize", "lambda_r/jobs_r.py:thumb") == ["resize", "thumb"]


def test_all_libraries_that_a_worker_imports_are_known() -> None:
    for_terminals = {"click", "rich"}  # loaded before a target is, or never by a worker
    required = [one for one in importlib.metadata.requires("jtask") or () if "extra" not in one]
    packages = {
        file.parts[0]
        for requirement in required
        for file in importlib.metadata.files(re.split(r"[^\w-]", requirement)[0]) or ()
        if file.suffix == ".py"
    }
    assert packages - for_terminals <= set(LIBRARIES)


def test_a_file_wins_over_an_imported_module_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("elsewhere/shop_o.py", "")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    importlib.import_module("shop_o")
    write("shop_o.py")
    assert names("shop_o.py:resize") == ["resize"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("", "names no module"),
        (":resize", "names no module"),
        ("no_such_module", "there is no module 'no_such_module'"),
        ("no_such.module", "give the file, such as no_such/module.py"),
        ("no_such.py", "there is no file 'no_such.py'"),
        ("shop.p.py", "did you mean 'shop_e.py'"),
        ("shop_e.py:resise", "did you mean 'resize'"),
        ("shop_e.py:nothing_like_it", "its tasks: resize, thumb, Shop.restock"),
        ("shop_e.py:plain", "has a function but no task"),
        ("shop_e.py:__name__", "has a str but no task"),
        ("shop_e.py:Shop", "has a class but no task 'Shop'; its tasks: resize"),
        ("shop_f", "there is no module 'shop_f' on the import path: did you mean 'shop_e.py'"),
    ],
)
def test_a_target_that_names_nothing_is_refused_with_a_hint(target: str, message: str) -> None:
    write("shop_e.py")
    with pytest.raises(TargetError, match=message.replace(".", r"\.")):
        load_targets([target])


def test_a_task_after_a_dot_gets_the_colon_that_it_needs() -> None:
    write("pack_g/jobs.py")
    write("pack_g/__init__.py", "")
    with pytest.raises(TargetError, match=r"did you mean pack_g\.jobs:resize\?"):
        load_targets(["pack_g.jobs.resize"])


def test_a_folder_gets_the_name_of_a_file_in_it() -> None:
    write("pack_h/jobs.py")
    with pytest.raises(TargetError, match=r"such as pack_h/tasks\.py$"):
        load_targets(["pack_h/"])


def test_a_package_without_tasks_of_its_own_gets_the_name_of_a_module_in_it() -> None:
    write("pack_i/__init__.py", "")
    with pytest.raises(TargetError, match=r"such as pack_i\.tasks$"):
        load_targets(["pack_i"])


def test_a_module_without_tasks_is_refused() -> None:
    write("nothing_here.py", "x = 1")
    with pytest.raises(TargetError, match="no task to serve"):
        load_targets(["nothing_here.py"])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\nraise ValueError('bad luck')", r"ValueError: bad luck \(line 2 of .*failing.py\)"),
        ("\n\ndef f(:", r"SyntaxError: .*\(line 3 of .*failing.py\)"),
        ("import no_such_thing", r"ModuleNotFoundError: .*\(line 1 of .*failing.py\)"),
    ],
)
def test_an_import_that_fails_is_told_with_its_file_and_line(code: str, message: str) -> None:
    write("failing.py", code)
    with pytest.raises(TargetError, match=message):
        load_targets(["failing.py"])
    with pytest.raises(TargetError, match=message):
        load_targets(["failing"])


@pytest.mark.parametrize("call", ["serve(resize)", "serve(resize, processes=2)", "resize.serve()"])
def test_a_file_that_serves_when_it_is_loaded_is_told_where_to_do_so(call: str) -> None:
    file = write(f"eager_{len(call)}.py", f"{TASKS}\nfrom jtask.task_worker import serve\n{call}\n")
    told = r'if __name__ == "__main__".*\(line \d+ of .*eager_\d+\.py'
    with pytest.raises(TargetError, match=told):
        load_targets([str(file)])


def test_a_task_names_a_target_that_loads_it_again() -> None:
    file = write("pack_f/jobs.py")
    write("pack_f/__init__.py", "")
    [task] = load_targets(["pack_f.jobs:Shop.restock"])
    target = target_of(task)
    assert target == f"{file.resolve()}:Shop.restock"
    assert load_targets([target]) == [task]


def test_a_task_that_no_other_process_can_load_is_refused() -> None:
    write(
        "local.py",
        "def make():\n    from jtask import task\n    return task(lambda: 1)\nt = make()",
    )
    [task] = load_targets(["local.py"])
    with pytest.raises(TargetError, match="define it at the top of a file"):
        target_of(task)


def test_what_comes_from_stdin_cannot_be_loaded_by_another_process() -> None:
    code = (
        "from jtask import task\nfrom jtask.worker.targets import target_of\n"
        "@task\ndef typed(): ...\n\ntarget_of(typed)\n"
    )
    command = [sys.executable, "-"]
    ended = subprocess.run(command, input=code, capture_output=True, text=True, check=False)
    assert "task 'typed' cannot be loaded by another process: define it at" in ended.stderr


def test_a_task_in_a_zip_archive_is_loaded_by_its_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("zipped_s.py", TASKS)
    sys.path.insert(0, str(tmp_path / "app.zip"))
    module = importlib.import_module("zipped_s")
    assert target_of(module.resize) == "zipped_s:resize"
    assert load_targets(["zipped_s:resize"]) == [module.resize]


def test_an_import_that_fails_shows_the_users_own_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shown_tasks.py").write_text("import shown_prices\n")
    Path("shown_prices.py").write_text("def read():\n    return {}['tea']\n\nread()\n")
    with pytest.raises(TargetError) as refused:
        load_targets(["shown_tasks.py"])
    sentence, *frames = str(refused.value).splitlines()
    assert sentence.endswith(f"KeyError: 'tea' (line 2 of {tmp_path / 'shown_prices.py'})")
    assert [line.strip() for line in frames if "^" not in line] == [
        f'File "{tmp_path / "shown_tasks.py"}", line 1, in <module>',
        "import shown_prices",
        f'File "{tmp_path / "shown_prices.py"}", line 4, in <module>',
        "read()",
        f'File "{tmp_path / "shown_prices.py"}", line 2, in read',
        "return {}['tea']",
    ]


# A file in a folder without __init__.py has two names


@pytest.fixture
def outside_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "appfolder"
    folder.mkdir()
    (folder / "worktasks.py").write_text(
        "from jtask import task\n@task\ndef add(): ...\n@task(key='own')\ndef keyed(): ...\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return folder / "worktasks.py"


def key_when_imported_as(name: str, folder: Path) -> str:
    code = f"from {name} import add; print(add.key)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_file_outside_packages_is_served_by_both_of_its_names(outside_packages: Path) -> None:
    above = key_when_imported_as("appfolder.worktasks", outside_packages.parent.parent)
    beside = key_when_imported_as("worktasks", outside_packages.parent)
    add, keyed = load_targets(["appfolder/worktasks.py"])
    assert (add.key, add.other_keys) == (beside, (above,))
    assert add.queues == (beside, above)
    assert (keyed.other_keys, keyed.queues) == ((), ("own",))


def test_a_file_has_one_name_where_another_is_not_certain(
    outside_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert import_name(outside_packages) == "appfolder.worktasks"
    monkeypatch.chdir(outside_packages.parent)
    assert import_name(outside_packages) is None  # it is `worktasks` only
    monkeypatch.chdir("/")
    assert import_name(outside_packages) is None
    monkeypatch.chdir(outside_packages.parent.parent)
    (outside_packages.parent / "__init__.py").touch()
    assert import_name(outside_packages) is None  # then the package says it
    (outside_packages.parent / "__init__.py").unlink()
    (outside_packages.parent.parent / "appfolder.py").touch()
    assert import_name(outside_packages) is None  # an import finds that file first
