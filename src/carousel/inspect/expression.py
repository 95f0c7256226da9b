"""A formula that a person types, as a function of tensors: for the circuit of `(x + y) * z`."""

from __future__ import annotations

import ast
import difflib
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import UsageError
from .circuit import Circuit, circuit

__all__ = ["FUNCTIONS", "circuit_of"]

FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "abs": torch.abs, "cos": torch.cos, "exp": torch.exp, "log": torch.log, "max": torch.maximum,
    "min": torch.minimum, "relu": torch.relu, "sigmoid": torch.sigmoid, "sin": torch.sin, "sqrt": torch.sqrt,
    "tanh": torch.tanh,
}  # fmt: skip
"""What a formula may call."""

OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.USub: operator.neg,
}  # fmt: skip


def circuit_of(formula: str, values: Mapping[str, float]) -> Circuit:
    """The circuit of a formula of numbers.

    Args:
        formula: with + - * / **, parentheses, and `FUNCTIONS`.
        values: of its names.

    Returns:
        `Circuit`.

    Raises:
        UsageError: it is no such formula, or a value is missing or not used.

    Example:
        >>> found = circuit_of("(x + y) * z", {"x": -2, "y": 5, "z": -4})
        >>> [(node.label, float(node.value), float(node.gradient)) for node in found.nodes]
        [('x', -2.0, -4.0), ('y', 5.0, -4.0), ('+', 3.0, -4.0), ('z', -4.0, 3.0), ('×', -12.0, 1.0)]
    """
    try:
        tree = ast.parse(formula.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise UsageError(f'"{formula}" is no formula; write one as "(x + y) * z".') from error
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = list(dict.fromkeys(n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and n not in called))
    if not names:
        raise UsageError(f'"{formula}" has no names whose gradients there could be; write one as "(x + y) * z".')
    missing, unused = [name for name in names if name not in values], [name for name in values if name not in names]
    if missing:
        raise UsageError(f"The formula has {', '.join(missing)}, which has no value; give it as {missing[0]}=2.")
    if unused:
        raise UsageError(f"The formula has no {unused[0]}; its names are {', '.join(names)}.")

    def evaluate(node: ast.AST, given: Mapping[str, Tensor]) -> Any:
        if isinstance(node, ast.Name):
            return given[node.id]
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
            return node.value
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](evaluate(node.left, given), evaluate(node.right, given))
        if isinstance(node, ast.UnaryOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](evaluate(node.operand, given))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            return _called(node.func.id, [evaluate(argument, given) for argument in node.args])
        raise UsageError(
            f'"{ast.unparse(node)}" has no place in a formula; it has + - * / **, parentheses, and '
            f"{', '.join(FUNCTIONS)}."
        )

    def function(*given: Tensor) -> Tensor:
        return evaluate(tree, dict(zip(names, given, strict=True)))

    function.__signature__ = _signature(names)  # pyright: ignore[reportFunctionMemberAccess]
    try:
        return circuit(function, *(float(values[name]) for name in names))
    except (TypeError, OverflowError, ZeroDivisionError) as error:
        raise UsageError(f'"{formula}" cannot be computed: {error}.') from error


def _called(name: str, arguments: list[Any]) -> Any:
    if name not in FUNCTIONS:
        near = difflib.get_close_matches(name, FUNCTIONS, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(FUNCTIONS)}."
        raise UsageError(f"There is no function {name!r} for formulas. {hint}")
    tensors = [a if isinstance(a, Tensor) else torch.tensor(float(a), dtype=torch.float64) for a in arguments]
    return FUNCTIONS[name](*tensors)


def _signature(names: list[str]) -> Any:
    import inspect

    return inspect.Signature([inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names])
