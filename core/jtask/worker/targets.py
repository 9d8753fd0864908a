"""Find the tasks that a target names: `module`, `module:task`, `file.py`, `file.py:task`."""

import importlib
import importlib.util
import sys
import traceback
from contextvars import ContextVar
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from jtask.close_names import close_names
from jtask.declaration.keys import canonical_module, key_of, module_of_file, qualified_name
from jtask.declaration.registry import conflict
from jtask.declaration.task_info import TaskInfo
from jtask.errors import TargetError
from jtask.hidden_libraries import refuse_hidden_libraries

_loading: ContextVar[bool] = ContextVar("jtask_loading", default=False)


def load_targets(targets: list[str]) -> list[TaskInfo[..., Any]]:
    """Import what the targets name and return their tasks, each once for each of its queues.

    Raises:
        TargetError: A target is malformed, cannot be imported, or has no such task.
        TaskKeyConflict: Two of the tasks have one key.
    """
    found: dict[str, dict[str, TaskInfo[..., Any]]] = {}
    token = _loading.set(True)
    try:
        for target in targets:
            for task in _load(target):
                # Two targets may name the same task, and a module have copies of one.
                copies = found.setdefault(task.key, {})
                for known in copies.values():
                    if known.fn is not task.fn:
                        raise conflict(known, task)
                copies.setdefault(task.queue, task)
    finally:
        _loading.reset(token)
    return [task for copies in found.values() for task in copies.values()]


def load_task(target: str) -> TaskInfo[..., Any]:
    """Import what a target names and return its only task.

    Raises:
        TargetError: It has several, or what `load_targets` says.
    """
    tasks = load_targets([target])
    # The first is the task itself, and others of its key are copies.
    if len({task.key for task in tasks}) > 1:
        names = ", ".join(dict.fromkeys(task.name for task in tasks))
        place = target.rstrip(":")
        raise TargetError(f"{target!r} has several tasks; choose one with {place}:NAME: {names}")
    return tasks[0]


def refuse_while_loading(call: str) -> None:
    """Refuse what a file must not do while it is loaded as a target.

    Raises:
        TargetError: It is being loaded.
    """
    if _loading.get():
        raise TargetError(
            f"{call} was called while the file was imported for its tasks: "
            f'move the call under if __name__ == "__main__":'
        )


def target_of(task: TaskInfo[..., Any]) -> str:
    """Return a target that names a task's module, for another process to load.

    Raises:
        TargetError: The task was not defined in a file.
    """
    module = canonical_module(task.fn.__module__)
    defined_in = sys.modules.get(task.fn.__module__)
    file = Path(getattr(defined_in, "__file__", None) or "")
    # A module of a zip archive has no file of its own. What comes from stdin cannot be imported.
    is_importable = getattr(defined_in, "__spec__", None) is not None and module != "__main__"
    # <locals> of a function, or a <lambda>: no name that leads to it from its module.
    if not (file.is_file() or is_importable) or "<" in task.fn.__qualname__:
        raise TargetError(
            f"task {task.name!r} cannot be loaded by another process: "
            f"define it at the top of a file"
        )
    is_alone = file.is_file() and module_of_file(file)[0] == module
    return f"{file.resolve() if is_alone else module}:{task.fn.__qualname__}"


def served_target_of(task: TaskInfo[..., Any]) -> str:
    """Return a target that names a task with its queue, which that of a copy may be another.

    Raises:
        TargetError: No name of its module leads to it.
    """
    target = target_of(task)
    place, _, name = target.rpartition(":")
    tasks = _tasks_in(sys.modules[task.fn.__module__])
    same = {name: one for name, one in tasks.items() if one.key == task.key}
    if name in same and same[name].queue == task.queue:
        return target
    for other, one in same.items():
        if one.queue == task.queue:
            return f"{place}:{other}"
    raise TargetError(
        f"task {task.name!r} of the queue {task.queue!r} cannot be loaded by another process: "
        f"give the copy a name at the top of its module"
    )


def _load(target: str) -> list[TaskInfo[..., Any]]:
    place, _, name = target.partition(":")
    if not place:
        raise TargetError(
            f"{target!r} names no module: use module:task, file.py:task, a module or a file"
        )
    if Path(place).is_dir() and (_is_file(place) or place.startswith(".")):
        file = Path(place) / "tasks.py"
        raise TargetError(f"{target!r} is a folder: give a file in it, such as {file}")
    module = _import_file(Path(place)) if _is_file(place) else _import_named(place)
    tasks = [_named(module, name, target)] if name else _all_tasks(module, target)
    if _is_file(place) and (other_name := import_name(Path(place))) is not None:
        _add_keys(tasks, module, other_name)
    return tasks


def _add_keys(tasks: list[TaskInfo[..., Any]], module: ModuleType, other_name: str) -> None:
    """Give the tasks of a file the keys that they have where it is imported by another name."""
    own_name = canonical_module(module.__name__)
    for task in tasks:
        qualified = qualified_name(task.fn)
        if task.definition.key is None and qualified.startswith(f"{own_name}."):
            task.other_keys = (key_of(task.name, other_name + qualified[len(own_name) :]),)


def _is_file(place: str) -> bool:
    return place.endswith(".py") or "/" in place


def _import_file(file: Path) -> ModuleType:
    if not file.is_file():
        near = _near_file(file)
        raise TargetError(f"there is no file {str(file)!r}{near and f'; {near}'}")
    file = file.resolve()
    name, root = module_of_file(file)
    _put_first(root)
    known = sys.modules.get(name)
    if known is not None and _is_from(known, file):
        return known
    _forget_namesakes(name, file)
    importlib.invalidate_caches()
    return _import_module(name) if _is_found(name, file) else _execute(name, file)


def _put_first(root: Path) -> None:
    """Search a file's own folder before all others, as `python file.py` does."""
    refuse_hidden_libraries(root)
    place, here = str(root), Path.cwd()
    if sys.path[:1] != [place]:
        sys.path[:] = [place, *(entry for entry in sys.path if entry != place)]
    # A project's folder, from which a file in it is served: that of another project is no concern.
    if root != here and root.is_relative_to(here) and not _has_current_folder():
        sys.path.insert(1, str(here))


def _has_current_folder() -> bool:
    return "" in sys.path or str(Path.cwd()) in sys.path


def _is_from(module: ModuleType, file: Path) -> bool:
    return Path(getattr(module, "__file__", None) or "").resolve() == file


def _forget_namesakes(name: str, file: Path) -> None:
    """Forget modules of a file's name, and of its packages', that import would return instead."""
    while name:
        known = sys.modules.get(name)
        if known is not None and not _is_from(known, file):
            _refuse_to_replace(name, file)
            del sys.modules[name]
        name = name.rpartition(".")[0]
        file = (file.parent.parent if file.name == "__init__.py" else file.parent) / "__init__.py"


def _refuse_to_replace(name: str, file: Path) -> None:
    # Others have imported it: they would get the user's file the next time.
    if name in sys.stdlib_module_names or name == "jtask":
        place = file.parent if file.name == "__init__.py" else file
        raise TargetError(
            f"{str(place)!r} has the name of the module {name!r}, which others import: rename it"
        )


def _is_found(name: str, file: Path) -> bool:
    """Tell whether an import of the name executes the file, and not another module."""
    if file.name != "__init__.py" and "." in file.stem:
        return False
    try:
        spec = importlib.util.find_spec(name)
    except (Exception, SystemExit) as error:  # of a package that the file is in
        raise _cannot_import(name, error) from error
    return spec is not None and Path(spec.origin or "").resolve() == file


def import_name(file: Path) -> str | None:
    """Return the name by which an import from the working folder finds a file outside packages.

    None unless the import would surely find this very file, by a name with folders.
    """
    file, here = file.resolve(), Path.cwd()
    if (file.parent / "__init__.py").is_file() or not file.is_relative_to(here):
        return None
    parts = file.relative_to(here).with_suffix("").parts
    # A service may work in the root folder; nobody imports from there.
    if here == here.parent or not all(part.isidentifier() for part in parts):
        return None
    path: Any = [str(here), *sys.path]
    found: ModuleSpec | None = None
    for part in parts:
        # By the finder alone, which executes nothing.
        found = PathFinder.find_spec(part, path)
        if found is None:
            return None
        path = list(found.submodule_search_locations or ())
    is_it = found is not None and found.origin and Path(found.origin).resolve() == file
    return ".".join(parts) if is_it and len(parts) > 1 else None


def _execute(name: str, file: Path) -> ModuleType:
    """Import a file under its name although an import of the name finds another module."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise TargetError(f"{str(file)!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a script may call sys.exit()
        sys.modules.pop(name, None)
        raise _cannot_import(str(file), error) from error
    return module


def _import_named(name: str) -> ModuleType:
    # As `python -m` does: the program `jtask` has the folder of its own script there instead.
    if not _has_current_folder():
        sys.path.insert(0, str(Path.cwd()))
    if sys.path[0] in ("", str(Path.cwd())):
        refuse_hidden_libraries(Path.cwd())
    return _import_module(name)


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The module itself is missing; of one that it imports, the error tells more.
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise TargetError(
                f"there is no module {name!r} on the import path: "
                f"{_dotted_task(name, error.name) or _where_to_run(name)}"
            ) from None
        raise _cannot_import(name, error) from error
    except (Exception, SystemExit) as error:
        raise _cannot_import(name, error) from error


def _dotted_task(name: str, missing: str) -> str | None:
    """Return what to write in place of `module.task`, if it is one."""
    place, _, last = name.rpartition(".")
    module = sys.modules.get(place)
    if missing != name or module is None or last not in _tasks_in(module):
        return None
    return f"did you mean {place}:{last}?"


def _where_to_run(name: str) -> str:
    file = Path(f"{name.replace('.', '/')}.py")
    return _near_file(file) or f"run from its folder, or give the file, such as {file}"


def _cannot_import(name: str, error: Exception | SystemExit) -> TargetError:
    said, where = str(error), ""
    frames = _frames_of_others(error)
    if frames:
        where = f" (line {frames[-1].lineno} of {frames[-1].filename})"
    if isinstance(error, SyntaxError):
        said, where = error.msg, f" (line {error.lineno} of {error.filename})"
    sentence = f"{name!r} cannot be imported: {type(error).__name__}: {said}{where}"
    # One frame is told by the sentence. More tell by which imports it was come to.
    if len(frames) > 1:
        sentence += "\n" + "".join(traceback.format_list(frames)).rstrip()
    return TargetError(sentence)


def _frames_of_others(error: BaseException) -> list[traceback.FrameSummary]:
    """Return where an import went wrong, without jtask's frames and those of Python's import."""
    summaries = traceback.extract_tb(error.__traceback__)
    modules = [
        str(frame.f_globals.get("__name__", ""))
        for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    return [
        summary
        for summary, module in zip(summaries, modules, strict=True)
        if module.partition(".")[0] not in ("jtask", "importlib")
    ]


def _named(module: ModuleType, name: str, target: str) -> TaskInfo[..., Any]:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, TaskInfo):
        return cast("TaskInfo[..., Any]", found)
    tasks = _tasks_in(module)
    near = close_names(name, tasks)
    hint = f"did you mean {near[0]!r}?" if near else f"its tasks: {', '.join(tasks) or 'none'}"
    raise TargetError(f"{target!r}: module {module.__name__!r} {_lack(found)} {name!r}; {hint}")


def _lack(found: object) -> str:
    """Return what a module has in the place of a task."""
    if found is None:
        return "has no"
    if isinstance(found, type):
        return "has a class but no task"
    kind = "function" if callable(found) else type(found).__name__
    return f"has a {kind} but no task"


def _all_tasks(module: ModuleType, target: str) -> list[TaskInfo[..., Any]]:
    tasks = list(_tasks_in(module).values())
    if not tasks:
        way = "decorate a function in it with @task"
        if hasattr(module, "__path__"):
            way = f"name the module in it that has tasks, such as {module.__name__}.tasks"
        raise TargetError(f"{target!r} has no task to serve: {way}")
    return tasks


def _tasks_in(module: ModuleType) -> dict[str, TaskInfo[..., Any]]:
    """Return a module's tasks by name, methods of its classes included."""
    found: dict[str, TaskInfo[..., Any]] = {}
    for name, value in vars(module).items():
        if isinstance(value, TaskInfo):
            found[name] = value
        elif isinstance(value, type) and value.__module__ == module.__name__:
            for inner, member in vars(value).items():
                unwrapped = getattr(member, "__func__", member)
                if isinstance(unwrapped, TaskInfo):
                    found[f"{name}.{inner}"] = unwrapped
    return found


def _near_file(file: Path) -> str:
    folder = file.parent
    names = [path.name for path in folder.glob("*.py")] if folder.is_dir() else []
    near = close_names(file.name, names)
    return f"did you mean {str(folder / near[0])!r}?" if near else ""
