"""Faults in an expression: what could have been written instead, by the kind of its node."""

from __future__ import annotations

import ast
from copy import deepcopy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}


def variants(node: ast.expr) -> Iterator[str]:
    """Yield what an expression is changed to."""
    change = _CHANGES.get(type(node))
    if change is not None:
        yield from change(node)


def _compare(node: ast.Compare) -> Iterator[str]:
    for number, operator in enumerate(node.ops):
        other = deepcopy(node)
        other.ops[number] = _COMPARISONS[type(operator)]()
        yield ast.unparse(other)
    several = node.comparators[-1]
    if isinstance(several, ast.Set | ast.Tuple | ast.List) and len(several.elts) > 1:
        for number in range(len(several.elts)):
            other = deepcopy(node)
            del other.comparators[-1].elts[number]  # type: ignore[attr-defined]
            yield ast.unparse(other)


def _boolean(node: ast.BoolOp) -> Iterator[str]:
    other = deepcopy(node)
    other.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    yield ast.unparse(other)
    for number in range(len(node.values)):
        left = [each for place, each in enumerate(node.values) if place != number]
        yield ast.unparse(left[0] if len(left) == 1 else ast.BoolOp(node.op, left))


def _unary(node: ast.UnaryOp) -> Iterator[str]:
    if isinstance(node.op, ast.Not | ast.USub):
        yield ast.unparse(node.operand)


def _binary(node: ast.BinOp) -> Iterator[str]:
    texts = (ast.JoinedStr, ast.Constant)
    sides = (node.left, node.right)
    if any(isinstance(side, texts) and "'" in ast.unparse(side) for side in sides):
        return  # text, for people or of a path
    if type(node.op) in _OPERATORS:
        yield ast.unparse(ast.BinOp(node.left, _OPERATORS[type(node.op)](), node.right))


def _constant(node: ast.Constant) -> Iterator[str]:
    if isinstance(node.value, bool):
        yield str(not node.value)
    elif isinstance(node.value, int | float):
        yield repr(node.value + 1)
        if node.value >= 1:
            yield repr(node.value - 1)


def _call(node: ast.Call) -> Iterator[str]:
    for number in range(len(node.keywords)):
        other = deepcopy(node)
        del other.keywords[number]
        yield ast.unparse(other)
    name = ast.unparse(node.func)
    if name in _CALLS:
        yield ast.unparse(ast.Call(ast.Name(_CALLS[name]), node.args, node.keywords))
    if name.endswith("shield"):
        yield ast.unparse(node.args[0])
    if name.endswith("suppress"):
        yield f"{name}()"


_CHANGES: dict[type[ast.expr], Callable[[Any], Iterator[str]]] = {
    ast.Compare: _compare,
    ast.BoolOp: _boolean,
    ast.UnaryOp: _unary,
    ast.BinOp: _binary,
    ast.Constant: _constant,
    ast.Call: _call,
}
