"""Faults in Python, found by the syntax tree and planted in the text.

Left out is what would say little: annotations, docstrings, messages, and numbers outside of
functions, whose exact size no promise names.
"""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from mutants import sql
from mutants.expressions import variants
from mutants.mutation import Mutant, told

if TYPE_CHECKING:
    from collections.abc import Iterator

_NULL = '__import__("contextlib").nullcontext()'
_STRUCTURAL = frozenset(
    {"property", "staticmethod", "classmethod", "dataclass", "abstractmethod", "overload", "setter"}
)
"""Decorators without which nothing runs: their absence is noticed anywhere."""


def mutants(path: str, source: str) -> list[Mutant]:
    """Return all faults that can be planted in a file, each once, and each with its own name."""
    finder = _Finder(path, source)
    finder.visit(ast.parse(source))
    seen: Counter[tuple[int, str]] = Counter()
    found = []
    for mutant in dict.fromkeys(finder.found):
        place = mutant.first, mutant.what
        seen[place] += 1
        again = f" (number {seen[place]})" if seen[place] > 1 else ""
        found.append(replace(mutant, what=mutant.what + again))
    return found


class _Finder(ast.NodeVisitor):
    """Goes through a file and notes what can be changed."""

    def __init__(self, path: str, source: str) -> None:
        self.found: list[Mutant] = []
        self._path = path
        self._source = source
        self._raw = source.encode()
        lines = self._raw.splitlines(keepends=True)
        self._starts = [sum(map(len, lines[:number])) for number in range(len(lines) + 1)]
        self._in_function = 0

    # ------------------------------------------------------------ noting
    def _span(self, first: ast.AST, last: ast.AST | None = None) -> tuple[int, int]:
        last = last or first
        start = self._starts[first.lineno - 1] + first.col_offset  # type: ignore[attr-defined]
        end = self._starts[last.end_lineno - 1] + last.end_col_offset  # type: ignore[attr-defined]
        return start, end

    def _note(self, start: int, end: int, new: str, what: str = "") -> None:
        words = what or told(self._raw[start:end].decode(), new)
        self.found.append(Mutant(self._path, self._source, start, end, new, words))

    def _replace(self, node: ast.AST, new: str, *, last: ast.AST | None = None) -> None:
        start, end = self._span(node, last)
        old = ast.unparse(node) if last is None else self._raw[start:end].decode()
        self._note(start, end, new, told(old, "" if new == "pass" else new))

    # ------------------------------------------------------------ what holds others
    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Remove decorators; change defaults and the body, not annotations."""
        for decorator in node.decorator_list:
            if not _STRUCTURAL & set(ast.unparse(decorator).replace("(", ".").split(".")):
                start, end = self._span(decorator)
                self._note(start - 1, end, "")
                self.visit(decorator)
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(default)
        self._in_function += 1
        for statement in node.body:
            self.visit(statement)
        self._in_function -= 1

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - names of ast

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Change the body: bases and decorators say what it is, and little of what it does."""
        for statement in node.body:
            self.visit(statement)

    def visit_If(self, node: ast.If) -> None:
        """Leave out what only type checkers read."""
        if ast.unparse(node.test) not in {"TYPE_CHECKING", "__name__ == '__main__'"}:
            self._force(node.test, "True", "False")
            self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        """Never `while True`: that only takes time."""
        self._force(node.test, "False")
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        """Take one side always."""
        self._force(node.test, "True", "False")
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        """Let everything in."""
        for test in node.ifs:
            self._force(test, "True")
        self.generic_visit(node)

    def _force(self, test: ast.expr, *values: str) -> None:
        if not isinstance(test, ast.Constant):
            for value in values:
                self._replace(test, value)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        """Remove the handler, and each of several exceptions that it handles."""
        if not isinstance(node.body[0], ast.Raise) or node.body[0].exc:
            self._replace(node.body[0], "raise", last=node.body[-1])
        if isinstance(node.type, ast.Tuple):
            for dropped in node.type.elts:
                left = [ast.unparse(each) for each in node.type.elts if each is not dropped]
                self._replace(node.type, f"({', '.join(left)},)")
        for statement in node.body:
            self.visit(statement)

    def visit_withitem(self, node: ast.withitem) -> None:
        """Remove what is entered."""
        if node.optional_vars is None:
            self._replace(node.context_expr, _NULL)
        self.visit(node.context_expr)

    # ------------------------------------------------------------ statements
    def visit_Expr(self, node: ast.Expr) -> None:
        """Remove a call; a docstring is none."""
        if not isinstance(node.value, ast.Constant):
            self._replace(node, "pass")
            self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        """Remove what others see; a name that is missing would be noticed anywhere."""
        if self._in_function and not isinstance(node.targets[0], ast.Name | ast.Tuple):
            self._replace(node, "pass")
        self.visit(node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Change the value only."""
        if node.value:
            self.visit(node.value)

    def visit_Raise(self, node: ast.Raise) -> None:
        """Remove it; its message is not looked at."""
        self._replace(node, "pass")

    def visit_Assert(self, node: ast.Assert) -> None:
        """Leave it: it is for type checkers."""

    def visit_Return(self, node: ast.Return) -> None:
        """Return nothing, or do not return; nothing is as good as False."""
        value = ast.unparse(node.value) if node.value else "None"
        if value != "False":
            self._replace(node, "pass" if value == "None" else "return None")
        self.generic_visit(node)

    def _remove(self, node: ast.stmt) -> None:
        self._replace(node, "pass")
        self.generic_visit(node)

    visit_AugAssign = visit_Delete = visit_Break = visit_Continue = _remove  # noqa: N815

    # ------------------------------------------------------------ expressions
    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Change SQL; other text is for people."""
        first = node.values[0] if node.values else None
        if isinstance(first, ast.Constant) and sql.is_sql(str(first.value)):
            self._change_sql(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Change SQL, truth and, in functions, numbers."""
        if isinstance(node.value, str) and sql.is_sql(node.value):
            self._change_sql(node)
        if isinstance(node.value, bool) or self._in_function:
            self._vary(node)

    def generic_visit(self, node: ast.AST) -> None:
        """Change an expression, and what it consists of."""
        if isinstance(node, ast.expr):
            self._vary(node)
        super().generic_visit(node)

    def _vary(self, node: ast.expr) -> None:
        for new in variants(node):
            self._replace(node, f"({new})" if _needs_brackets(node) else new)

    def _change_sql(self, node: ast.expr) -> None:
        start, end = self._span(node)
        text = self._raw[start:end].decode()
        for first, last, new in sql.changes(text):
            begin = start + len(text[:first].encode())
            self._note(begin, begin + len(text[first:last].encode()), new)


def _needs_brackets(node: ast.expr) -> bool:
    return isinstance(node, ast.BoolOp | ast.Compare | ast.BinOp | ast.UnaryOp)


def names_used(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield every name that is read somewhere, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id, node.lineno
        if isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
