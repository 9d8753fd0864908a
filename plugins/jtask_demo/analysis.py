"""Measure Python source: lines, functions, classes, cyclomatic complexity."""

import ast
import io
import tokenize
from dataclasses import dataclass

_TOP = 10
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.match_case,
)
_NOT_CODE = frozenset(
    {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENCODING,
        tokenize.ENDMARKER,
    }
)


@dataclass(frozen=True, slots=True)
class FunctionFacts:
    """One function or method.

    Attributes:
        name: With the classes and functions around it.
        line: Where its `def` stands.
        length: In lines, decorators left out.
        complexity: Ways through it, after McCabe: one, and one more for each `if`, `elif`, loop,
            `except`, `case`, conditional expression, `for` and `if` of a comprehension, and each
            further operand of `and` and `or`. A nested function counts for itself.
    """

    name: str
    line: int
    length: int
    complexity: int


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """One module.

    Attributes:
        module: Its dotted name.
        lines: All.
        code_lines: Those with code on them: neither blank, nor comment, nor docstring.
        functions: How many, methods and nested ones included.
        classes: How many.
        longest: The longest function; None without any.
        most_complex: At most ten functions, the most complex one first.
    """

    module: str
    lines: int
    code_lines: int
    functions: int
    classes: int
    longest: FunctionFacts | None
    most_complex: list[FunctionFacts]


def measure(module: str, source: str) -> ModuleFacts:
    """Measure a module's source.

    Raises:
        SyntaxError: It is not Python of this version.
    """
    tree = ast.parse(source)
    scopes = _scopes(tree)
    functions = [f for scope in scopes if (f := scope.facts())]
    return ModuleFacts(
        module=module,
        lines=len(source.splitlines()),
        code_lines=len(_code_lines(source) - _docstring_lines(scopes)),
        functions=len(functions),
        classes=sum(isinstance(scope.node, ast.ClassDef) for scope in scopes),
        longest=max(functions, key=lambda f: f.length, default=None),
        most_complex=sorted(functions, key=lambda f: f.complexity, reverse=True)[:_TOP],
    )


@dataclass(slots=True)
class _Scope:
    """A module, class or function while it is walked.

    Attributes:
        path: The names of what is around it and its own, each with a dot behind it.
        branches: Counted so far, those of inner definitions left out.
    """

    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    path: str = ""
    branches: int = 0

    def facts(self) -> FunctionFacts | None:
        node = self.node
        if isinstance(node, ast.Module | ast.ClassDef):
            return None
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        return FunctionFacts(self.path[:-1], node.lineno, length, 1 + self.branches)


def _scopes(tree: ast.Module) -> list[_Scope]:
    top = _Scope(tree)
    scopes = [top]
    waiting: list[tuple[ast.AST, _Scope]] = [(child, top) for child in tree.body]
    while waiting:
        node, scope = waiting.pop()
        if isinstance(node, _DEFINITIONS):
            scope = _Scope(node, f"{scope.path}{node.name}.")
            scopes.append(scope)
        else:
            scope.branches += _branches(node)
        waiting.extend((child, scope) for child in ast.iter_child_nodes(node))
    return scopes


def _branches(node: ast.AST) -> int:
    """Count what a node adds to the ways through its function."""
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    return int(isinstance(node, _BRANCHES))


def _code_lines(source: str) -> set[int]:
    lines: set[int] = set()
    # Tokens rather than nodes: a text over several lines is code on each of them.
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NOT_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return lines


def _docstring_lines(scopes: list[_Scope]) -> set[int]:
    lines: set[int] = set()
    for scope in scopes:
        first = scope.node.body[0] if scope.node.body else None
        if isinstance(first, ast.Expr) and _is_text(first.value):
            lines.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return lines


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
