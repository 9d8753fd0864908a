"""The demo's measures and sums, on sources that one can count by hand."""

from pathlib import Path
from textwrap import dedent

import pytest

from jtask_demo import report
from jtask_demo.analysis import FunctionFacts, ModuleFacts, measure
from jtask_demo.library import standard_library
from jtask_demo.tasks import Journal, analyse, read_journal


def facts_of(source: str) -> ModuleFacts:
    return measure("m", dedent(source))


@pytest.mark.parametrize(
    ("body", "ways"),
    [
        ("pass", 1),
        ("if a:\n  pass\nelif b:\n  pass\nelse:\n  pass", 3),
        ("for x in a:\n  pass\nelse:\n  pass", 2),
        ("while a:\n  pass", 2),
        ("try:\n  pass\nexcept A:\n  pass\nexcept B:\n  pass\nfinally:\n  pass", 3),
        ("return a and b and c or d", 4),
        ("return a if b else c", 2),
        ("return [x for x in a if x if b for y in x]", 5),
        ("match a:\n  case 1:\n    pass\n  case _:\n    pass", 3),
        ("with a:\n  assert b", 1),
    ],
)
def test_each_branch_is_one_more_way_through_a_function(body: str, ways: int) -> None:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    (function,) = measure("m", f"def f(a, b, c, d):\n{lines}").most_complex
    assert function.complexity == ways


def test_a_nested_function_counts_for_itself() -> None:
    facts = facts_of("""
        class C:
            def outer(self):
                def inner():
                    if a: pass
                    if b: pass
                if c: pass
        """)
    found = {f.name: f.complexity for f in facts.most_complex}
    assert found == {"C.outer": 2, "C.outer.inner": 3}
    assert (facts.functions, facts.classes) == (2, 1)


def test_blank_lines_comments_and_docstrings_are_no_code() -> None:
    facts = facts_of('''\
        """Two lines
        of docstring."""

        # a comment
        x = 1  # code all the same


        def f():
            "docstring"
            return """# not
        a comment"""
        ''')
    assert facts.lines == 11
    assert facts.code_lines == 4  # x, def, and the two lines of the returned text


def test_the_longest_function_is_found_wherever_it_stands() -> None:
    facts = facts_of("""
        async def short(): pass
        class C:
            @decorated
            def long(self):
                a = 1
                return a
        """)
    assert facts.longest == FunctionFacts("C.long", line=5, length=3, complexity=1)


def test_a_module_without_functions_has_no_longest_one() -> None:
    assert facts_of("x = 1").longest is None


def test_the_library_is_the_modules_of_this_python_without_their_tests() -> None:
    modules = dict(standard_library())
    assert {"ast", "asyncio", "asyncio.base_events", "json.decoder"} <= set(modules)
    assert modules["asyncio"].name == "__init__.py"
    assert not [name for name in modules if {"test", "tests"} & set(name.split("."))]


def test_sums_and_ranks_go_over_all_modules() -> None:
    one = measure("one", "def f():\n  if a: pass\n")
    two = measure("two", "class C:\n  def g(self): pass\nx = 1\n")
    library = report.library([one, two])
    assert (library.modules, library.lines, library.functions, library.classes) == (2, 5, 2, 1)
    assert [r.module for r in library.most_complex] == ["one", "two"]
    assert [m.module for m in library.longest_modules] == ["two", "one"]


def test_what_a_worker_was_doing_when_it_died_follows_from_the_journal(tmp_path: Path) -> None:
    (tmp_path / "7.log").write_text("begun a\ndone a\nbegun b\n")
    (tmp_path / "8.log").write_text("begun c\ndone c\nbegun b\ndone b\n")
    journal = read_journal(tmp_path)
    assert report.executing(journal, 7) == {"b"}
    assert report.crash(journal, 7, held=1) == report.Crash(7, 1, begun_twice=1, done_twice=0)


def test_a_run_that_was_done_on_both_sides_of_a_crash_is_counted() -> None:
    journal = Journal([(7, "a"), (8, "a")], [(7, "a"), (8, "a")])
    assert report.crash(journal, 7, held=0).done_twice == 1


def test_the_task_notes_what_it_begins_and_has_done(tmp_path: Path) -> None:
    source = tmp_path / "m.py"
    source.write_text("x = 1\n")
    assert analyse("m", str(source), str(tmp_path)).code_lines == 1
    journal = read_journal(tmp_path)
    assert journal.begun == journal.done
    assert len(journal.begun) == 1


def test_a_module_that_cannot_be_read_is_begun_and_not_done(tmp_path: Path) -> None:
    source = tmp_path / "m.py"
    source.write_text("x = (\n")
    with pytest.raises(SyntaxError):
        analyse("m", str(source), str(tmp_path))
    assert (len(read_journal(tmp_path).begun), len(read_journal(tmp_path).done)) == (1, 0)
