import json
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

import jtask.wire.failures
from jtask import task
from jtask.declaration.keys import check_name
from jtask.errors import Failure, RemoteTraceback, TaskDefinitionError, TaskFailed
from jtask.wire.failures import capture, rebuild


@task
def here() -> None:
    """Be a task of this module."""


class Simple(Exception):
    pass


class WithExtra(Exception):
    def __init__(self, message: str, code: int = 5) -> None:
        super().__init__(message)
        self.code = code


class TwoParts(Exception):
    def __init__(self, name: str, size: int) -> None:
        super().__init__(f"{name} has {size}")
        self.name, self.size = name, size


class Copyable(TwoParts):
    def __reduce__(self):
        return (type(self), (self.name, self.size))


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Outer:
    class Inner(Exception):
        pass


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def sent(error: BaseException) -> Failure:
    """Return a failure as it arrives elsewhere."""
    return Failure.from_json(json.loads(json.dumps(capture(raised(error)).to_json())))


# Capturing


def test_a_failure_names_the_type_the_message_and_the_arguments():
    failure = capture(raised(Simple("a", 1)))
    assert failure.type == f"{__name__}.Simple"
    assert failure.message == "('a', 1)"
    assert failure.args == ["a", 1]
    assert failure.summary == f"{__name__}.Simple: ('a', 1)"
    assert capture(ValueError("x")).summary == "ValueError: x"
    assert capture(ValueError()).summary == "ValueError"


def test_the_traceback_starts_after_the_frames_of_jtask():
    engine: Any = types.ModuleType("jtask.engine_for_this_test")
    exec("def perform(fn):\n    return fn()", engine.__dict__)

    def task():
        engine.perform(lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError) as caught:
        engine.perform(task)
    error = caught.value.with_traceback(caught.value.__traceback__.tb_next)
    text = capture(error).traceback
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith("in task")
    assert "in perform" in text
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_the_traceback_starts_at_the_task_when_that_is_known():
    def plugin(fn):
        return fn()

    def task():
        raise Simple("x")

    with pytest.raises(Simple) as caught:
        plugin(task)
    assert "in plugin" in capture(caught.value).traceback
    assert "in plugin" not in capture(caught.value, task=task).traceback
    assert "in task" in capture(caught.value, task=task).traceback


def test_a_callable_objects_frame_is_found():
    class Task:
        def __call__(self):
            raise Simple("x")

    task = Task()
    with pytest.raises(Simple) as caught:
        task()
    text = capture(caught.value, task=task).traceback
    assert text.splitlines()[1].endswith("in __call__")


def test_an_error_from_jtask_alone_keeps_its_frames(monkeypatch):
    with pytest.raises(AttributeError) as caught:
        jtask.wire.failures.rebuild(None)  # type: ignore[arg-type]
    inside = caught.value.with_traceback(caught.value.__traceback__.tb_next)
    assert "in rebuild" in capture(inside).traceback


def test_what_jtask_raises_on_purpose_shows_no_frames_of_its_own():
    with pytest.raises(TaskDefinitionError) as caught:
        check_name("queue", "a b")
    outside = caught.value.__traceback__
    assert "in test_what" in capture(caught.value).traceback
    assert outside is not None
    inside = caught.value.with_traceback(outside.tb_next)
    assert capture(inside).traceback == (
        "jtask.errors.TaskDefinitionError: queue 'a b' may hold letters, digits, '_' and '-' only, "
        "up to 128 of them\n"
    )


def test_causes_are_kept_and_part_of_the_traceback():
    try:
        try:
            {}["key"]
        except KeyError as error:
            raise Simple("outer") from error
    except Simple as error:
        failure = capture(error)
    assert failure.cause is not None
    assert failure.cause.type == "builtins.KeyError"
    assert failure.cause.message == "'key'"
    assert "KeyError: 'key'" in failure.traceback
    assert "direct cause" in failure.traceback


def test_a_context_counts_as_cause_unless_it_is_suppressed():
    def fail(suppress):
        try:
            raise KeyError("key")
        except KeyError:
            if suppress:
                raise Simple("outer") from None
            raise Simple("outer")  # noqa: B904 - the context is what is tested

    with pytest.raises(Simple) as seen:
        fail(suppress=False)
    assert capture(seen.value).cause is not None
    with pytest.raises(Simple) as seen:
        fail(suppress=True)
    assert capture(seen.value).cause is None


def test_a_chain_that_loops_or_is_long_ends():
    first, second = Simple("first"), Simple("second")
    first.__cause__, second.__cause__ = second, first
    depth, failure = 0, capture(first)
    while failure := failure.cause:
        depth += 1
    assert depth == 5


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_base_exceptions_are_captured_too(error):
    assert capture(raised(error)).type == f"builtins.{type(error).__name__}"


def test_an_exception_that_cannot_be_printed_is_captured():
    failure = capture(raised(Unprintable("x")))
    assert failure.message == "<its __str__ raised RuntimeError>"
    assert "Unprintable" in failure.traceback
    assert isinstance(rebuild(failure), TaskFailed)


def test_an_exception_with_broken_attributes_is_captured():
    class Broken(Exception):
        __notes__ = 5

        def __reduce__(self):
            raise RuntimeError

    failure = capture(raised(Broken("x")))
    assert (failure.message, failure.args, failure.notes) == ("x", None, [])


def test_long_texts_are_cut_in_the_middle_with_a_note():
    failure = capture(raised(Simple("a" * 100_000 + "end")))
    for text in (failure.message, failure.traceback):
        assert len(text) < 66_000
        assert "characters are cut here" in text
        assert text.rstrip().endswith("end")
    assert failure.args is None


def test_texts_that_utf8_cannot_hold_are_escaped():
    failure = capture(raised(Simple("\ud800")))
    assert json.dumps(failure.to_json(), ensure_ascii=False).encode()
    assert failure.message == "\\ud800"
    assert failure.args is None


def test_notes_are_kept():
    error = ValueError("x")
    error.add_note("while resizing a.png")
    failure = sent(error)
    assert failure.notes == ["while resizing a.png"]
    assert rebuild(failure).__notes__ == ["while resizing a.png"]


# On the wire


def test_a_failure_comes_back_the_same():
    error = Simple("a")
    error.__cause__ = ValueError(1)
    failure = capture(raised(error))
    assert Failure.from_json(json.loads(json.dumps(failure.to_json()))) == failure


def test_what_is_empty_does_not_travel():
    assert Failure("builtins.ValueError", "x").to_json() == {
        "type": "builtins.ValueError",
        "message": "x",
    }


@pytest.mark.parametrize(
    "data",
    [
        None,
        "boom",
        [],
        {},
        {"type": 1, "message": None},
        {"args": "x", "notes": {}, "cause": "y"},
        {"cause": {"cause": {}}, "traceback": 5},
    ],
)
def test_an_odd_report_still_makes_an_exception(data):
    failure = Failure.from_json(data)
    assert isinstance(rebuild(failure), TaskFailed)


def test_a_report_with_endless_causes_ends():
    data: dict[str, Any] = {"message": "x"}
    for _ in range(500):
        data = {"message": "x", "cause": data}
    assert Failure.from_json(data).to_json()


# Rebuilding


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        KeyError("missing"),
        Simple("a", [1, {"b": None}]),
        Outer.Inner("x"),
        Copyable("disk", 3),
        WithExtra("x"),
        FileNotFoundError(2, "No such file or directory", "a.png"),
        json.JSONDecodeError("Expecting value", "doc", 1),
        subprocess.CalledProcessError(1, "cmd"),
    ],
)
def test_an_exception_that_json_can_carry_comes_back_as_itself(error):
    back = rebuild(sent(error), here)
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert back.args == error.args
    assert vars(back) == vars(error)


class ThirdParty(Exception):
    """As of a web framework that acts on it."""


ThirdParty.__module__ = "a_framework"


@pytest.fixture
def framework(monkeypatch):
    module: Any = types.ModuleType("a_framework")
    module.ThirdParty = ThirdParty
    monkeypatch.setitem(sys.modules, "a_framework", module)


@pytest.mark.usefixtures("framework")
def test_a_message_chooses_no_exception_of_other_packages():
    failure = sent(ThirdParty("a redirect"))
    assert type(rebuild(failure, here)) is TaskFailed
    assert type(rebuild(failure)) is TaskFailed
    # The child process of a run is as good as this one.
    assert type(rebuild(failure, is_own=True)) is ThirdParty


@pytest.mark.usefixtures("framework")
def test_an_exception_that_the_task_names_comes_back():
    named = here.with_options(retries=1, retry_on=[ThirdParty])
    assert type(rebuild(sent(ThirdParty("x")), named)) is ThirdParty


def test_without_its_task_a_run_raises_what_everybody_has():
    assert type(rebuild(sent(Simple("x")))) is TaskFailed
    assert type(rebuild(sent(json.JSONDecodeError("x", "doc", 1)))) is json.JSONDecodeError


def test_a_name_of_any_length_costs_nothing():
    began = time.perf_counter()
    assert type(rebuild(Failure.from_json({"type": "a." * 200_000, "args": []}))) is TaskFailed
    assert time.perf_counter() - began < 5


def test_a_file_name_comes_back():
    back = rebuild(sent(FileNotFoundError(2, "No such file", "a.png")))
    assert isinstance(back, FileNotFoundError)
    assert back.filename == "a.png"


@pytest.mark.parametrize(
    "error",
    [
        TwoParts("disk", 3),
        WithExtra("x", code=7),
        ValueError((1, 2)),
        ValueError(b"x"),
        ValueError(Path("a")),
        ValueError(float("nan")),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        ExceptionGroup("many", [ValueError("x")]),
        StopIteration("x"),
        StopAsyncIteration(),
        SystemExit(3),
        KeyboardInterrupt(),
    ],
)
def test_any_other_exception_comes_back_as_task_failed_that_tells_everything(error):
    failure = sent(error)
    back = rebuild(failure)
    assert type(back) is TaskFailed
    assert str(back) == failure.summary
    assert back.failure == failure


def test_a_local_class_comes_back_as_task_failed():
    class Local(Exception):
        pass

    assert type(rebuild(sent(Local("x")))) is TaskFailed


@pytest.mark.parametrize("error", [ValueError("x"), TwoParts("disk", 3)])
def test_the_remote_traceback_is_the_cause(error):
    failure = sent(error)
    cause = rebuild(failure).__cause__
    assert isinstance(cause, RemoteTraceback)
    assert cause.text == failure.traceback
    assert "in raised" in str(cause)


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.print",
        "builtins.SystemExit",
        "builtins.BaseException",
        "builtins.int",
        "antigravity.X",
        "builtins",
        "",
        "...",
        "sys.modules.x",
    ],
)
def test_only_loaded_exception_classes_are_called(name):
    assert type(rebuild(Failure(name, "x", ["x"]))) is TaskFailed
    assert "antigravity" not in sys.modules


def test_looking_for_a_class_runs_no_module_code(monkeypatch):
    module: Any = types.ModuleType("lazy_for_this_test")
    module.__getattr__ = pytest.fail
    monkeypatch.setitem(sys.modules, "lazy_for_this_test", module)
    assert type(rebuild(Failure("lazy_for_this_test.Error", "x", ["x"]))) is TaskFailed


@pytest.mark.parametrize("args", [["y"], [], ["x", 1], [{}]])
def test_an_exception_that_would_look_different_is_not_rebuilt(args):
    assert type(rebuild(Failure("builtins.ValueError", "x", args))) is TaskFailed


def test_a_constructor_that_raises_is_survived():
    assert type(rebuild(Failure(f"{__name__}.TwoParts", "x", ["x"]))) is TaskFailed


def test_a_scripts_own_exception_has_the_name_under_which_others_import_it(tmp_path):
    script = tmp_path / "script_with_error.py"
    script.write_text(
        "from jtask.wire.failures import capture, rebuild\n"
        "class Own(Exception): pass\n"
        "failure = capture(Own('x'))\n"
        "print(failure.type, type(rebuild(failure, is_own=True)) is Own)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["script_with_error.Own", "True"]
