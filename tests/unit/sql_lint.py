"""Finds SQL that is put together at run time on its way to a database: injection begins there.

Ruff's S608 knows SQL by its words; this knows it by where it goes, so that a column's name that is
pasted into a constant is found, too.
"""

from __future__ import annotations

import ast
from itertools import pairwise

CALLS = frozenset(
    {"fetch", "fetchrow", "fetchval", "execute", "executemany", "prepare", "cursor", "text"}
)
"""Methods whose argument is SQL; what passes one of them on counts as a call of it."""


def built(source: str) -> list[tuple[str, int]]:
    """Return where SQL is built: the function's name, and the line."""
    tree = ast.parse(source)
    found = []
    for scope in ast.walk(tree):
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
            names = _assigned(tree) | _assigned(scope)
            found += [(scope.name, line) for line in _calls(scope, names)]
    return sorted(set(found))


def _assigned(scope: ast.AST) -> dict[str, ast.expr]:
    """Return what names stand for, as far as a plain assignment says it."""
    body = scope.body if isinstance(scope, ast.Module) else list(ast.walk(scope))
    return {
        target.id: node.value
        for node in body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _calls(scope: ast.AST, names: dict[str, ast.expr]) -> list[int]:
    lines = []
    for node in ast.walk(scope):
        if not isinstance(node, ast.Call):
            continue
        # SQL comes right after what takes it: `execute(SQL, value)`, `work(execute, SQL, value)`.
        sql = [
            argument
            for taker, argument in pairwise((node.func, *node.args))
            if _name(taker) in CALLS and _is_built(argument, names)
        ]
        if sql:
            lines.append(node.lineno)
    return lines


def _name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def _is_built(node: ast.expr, names: dict[str, ast.expr]) -> bool:
    if isinstance(node, ast.Name) and node.id in names:
        others = {name: value for name, value in names.items() if name != node.id}
        return _is_built(names[node.id], others)
    if isinstance(node, ast.IfExp):
        return _is_built(node.body, names) or _is_built(node.orelse, names)
    if isinstance(node, ast.JoinedStr):
        # What is constant itself may be part of a constant.
        parts = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
        return any(_is_built(part, names) or not _is_constant(part, names) for part in parts)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return not (_is_constant(node.left, names) and _is_constant(node.right, names))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in {"format", "format_map", "join", "replace"}
    return False


def _is_constant(node: ast.expr, names: dict[str, ast.expr]) -> bool:
    if isinstance(node, ast.Name) and node.id in names:
        others = {name: value for name, value in names.items() if name != node.id}
        return _is_constant(names[node.id], others)
    if isinstance(node, ast.JoinedStr):
        parts = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
        return all(_is_constant(part, names) for part in parts)
    return isinstance(node, ast.Constant)
