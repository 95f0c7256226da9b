"""Element-wise PyTorch operations as formulas of the functions that `graph` has."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .graph import Graph, Node
from .standin import ObstacleError

__all__ = ["POINTWISE", "Builder", "Rule", "add", "plain"]

Rule = Callable[..., Node]
"""From a `Builder` and the operation's arguments, tensors as nodes, to the result."""


class Builder:
    """Element-wise formulas over rows of `n` features; numbers are made constants, truth values numbers."""

    def __init__(self, graph: Graph, n: int):
        self.graph, self.n = graph, n

    def node(self, value: Any) -> Node:
        """A row, of a row or number."""
        return value if isinstance(value, Node) else self.graph.const(float(value), self.n)

    def number(self, value: Any) -> Node:
        """A row of numbers, also of a row of truth values."""
        value = self.node(value)
        return self("where", value, 1.0, 0.0) if value.is_mask else value

    def truth(self, value: Any) -> Node:
        """A row of truth values, also of a row of numbers."""
        value = self.node(value)
        return value if value.is_mask else self("ne", value, 0.0)

    def __call__(self, fn: str, *args: Any) -> Node:
        nodes = [self.node(a) for a in args]
        if fn in ("and", "or", "not"):
            nodes = [self.truth(a) for a in nodes]
        elif fn == "where":
            nodes = [self.truth(nodes[0]), *(self.number(a) for a in nodes[1:])]
        else:
            nodes = [self.number(a) for a in nodes]
        return self.graph.apply(fn, *nodes)


def plain(fn: str) -> Rule:
    """The rule of an operation that is one function of the graph."""

    def rule(e: Builder, *args: Any, **options: Any) -> Node:
        if any(v is not None for v in options.values()):
            raise ObstacleError(f"there is no rule for torch's {fn} with {', '.join(options)}")
        return e(fn, *args)

    return rule


def add(e: Builder, a: Any, b: Any, *, alpha: float = 1) -> Node:
    """The sum a + alpha · b."""
    return e("add", a, b if alpha == 1 else e("mul", b, alpha))


def _sub(e: Builder, a: Any, b: Any, *, alpha: float = 1) -> Node:
    return e("sub", a, b if alpha == 1 else e("mul", b, alpha))


def _rsub(e: Builder, a: Any, b: Any, alpha: float = 1) -> Node:
    return _sub(e, b, a, alpha=alpha)


def _div(e: Builder, a: Any, b: Any, *, rounding_mode: str | None = None) -> Node:
    quotient = e("div", a, b)
    return quotient if rounding_mode is None else e({"floor": "floor", "trunc": "trunc"}[rounding_mode], quotient)


def _pow(e: Builder, a: Any, b: Any) -> Node:
    if isinstance(b, int | float):
        if b == 2:
            return e("mul", a, a)
        if b == 1:
            return e.node(a)
        if b == 0.5:
            return e("sqrt", a)
        if b == 3:
            return e("mul", e("mul", a, a), a)
    return e("pow", a, b)


def _clamp(e: Builder, a: Any, low: Any = None, high: Any = None) -> Node:
    if high is not None:
        a = e("where", e("gt", a, high), high, a)
    if low is not None:
        a = e("where", e("lt", a, low), low, a)
    return e.node(a)


def _hardtanh(e: Builder, a: Any, low: float = -1, high: float = 1) -> Node:
    return e("where", e("le", a, low), low, e("where", e("ge", a, high), high, a))


def _leaky_relu(e: Builder, a: Any, slope: float = 0.01) -> Node:
    return e("where", e("gt", a, 0), a, e("mul", a, slope))


def _elu(e: Builder, a: Any, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Node:
    below = e("where", e("gt", a, 0), 0.0, a)  # so that nothing overflows on the side that is not taken
    inside = e("mul", e("expm1", e("mul", below, input_scale)), alpha)
    return e("mul", e("where", e("gt", a, 0), a, inside), scale)


def _silu(e: Builder, a: Any) -> Node:
    return e("mul", a, e("sigmoid", a))


def _softplus(e: Builder, a: Any, beta: float = 1, threshold: float = 20) -> Node:
    scaled = e("mul", a, beta)
    small = e("div", e("log1p", e("exp", e("where", e("gt", scaled, threshold), 0.0, scaled))), beta)
    return e("where", e("gt", scaled, threshold), a, small)


def _gelu(e: Builder, a: Any, *, approximate: str = "none") -> Node:
    half = e("mul", a, 0.5)
    if approximate == "tanh":
        cube = e("mul", e("mul", a, a), a)
        inner = e("mul", e("add", a, e("mul", cube, 0.044715)), math.sqrt(2 / math.pi))
        return e("mul", half, e("add", e("tanh", inner), 1.0))
    return e("mul", half, e("add", e("erf", e("mul", a, math.sqrt(0.5))), 1.0))


def _hardsigmoid(e: Builder, a: Any) -> Node:
    return e("div", _hardtanh(e, e("add", a, 3.0), 0.0, 6.0), 6.0)


def _hardswish(e: Builder, a: Any) -> Node:
    return e("mul", a, _hardsigmoid(e, a))


def _mish(e: Builder, a: Any) -> Node:
    return e("mul", a, e("tanh", _softplus(e, a)))


def _threshold(e: Builder, a: Any, threshold: float, value: float) -> Node:
    return e("where", e("le", a, threshold), value, a)


def _lerp(e: Builder, a: Any, b: Any, w: Any) -> Node:
    return e("add", a, e("mul", w, e("sub", b, a)))


def _addcmul(e: Builder, a: Any, b: Any, c: Any, *, value: float = 1) -> Node:
    product = e("mul", b, c)
    return e("add", a, product if value == 1 else e("mul", product, value))


def _addcdiv(e: Builder, a: Any, b: Any, c: Any, *, value: float = 1) -> Node:
    quotient = e("div", b, c)
    return e("add", a, quotient if value == 1 else e("mul", quotient, value))


def _where(e: Builder, m: Any, a: Any, b: Any) -> Node:
    return e("where", m, a, b)


def _masked_fill(e: Builder, a: Any, m: Any, value: Any) -> Node:
    return e("where", m, value, a)


def _shrink(e: Builder, a: Any, width: float = 0.5, *, soft: bool) -> Node:
    above = e("sub", a, width) if soft else a
    below = e("add", a, width) if soft else a
    return e("where", e("gt", a, width), above, e("where", e("lt", a, -width), below, 0.0))


def _logaddexp(e: Builder, a: Any, b: Any) -> Node:
    return e("add", e("max", a, b), e("log1p", e("exp", e("neg", e("abs", e("sub", a, b))))))


POINTWISE: dict[str, Rule] = {
    "sinh": lambda e, a: e("mul", e("sub", e("expm1", a), e("expm1", e("neg", a))), 0.5),
    "cosh": lambda e, a: e("mul", e("add", e("exp", a), e("exp", e("neg", a))), 0.5),
    "tan": lambda e, a: e("div", e("sin", a), e("cos", a)),
    "exp2": lambda e, a: e("exp", e("mul", a, math.log(2))),
    "log2": lambda e, a: e("mul", e("log", a), 1 / math.log(2)),
    "log10": lambda e, a: e("mul", e("log", a), 1 / math.log(10)),
    "logit": lambda e, a, eps=None: e("log", e("div", a, e("sub", 1.0, a))),
    "logaddexp": _logaddexp, "isnan": lambda e, a: e("ne", a, a), "logical_xor": lambda e, a, b: e("ne", a, b),
    "celu": lambda e, a, alpha=1.0: _elu(e, a, alpha, 1.0, 1.0 / alpha),
    "selu": lambda e, a: _elu(e, a, 1.6732632423543772, 1.0507009873554805),
    "_prelu_kernel": lambda e, a, w: e("where", e("gt", a, 0), a, e("mul", w, a)),
    "hardshrink": lambda e, a, width=0.5: _shrink(e, a, width, soft=False),
    "softshrink": lambda e, a, width=0.5: _shrink(e, a, width, soft=True),
    **{fn: plain(fn) for fn in "neg exp expm1 log log1p sqrt rsqrt sigmoid tanh abs sign sin cos erf atan floor ceil "
       "trunc round relu mul reciprocal lt le gt ge eq ne".split()},
    "maximum": plain("max"), "minimum": plain("min"), "detach": plain("detach"),
    "logical_and": plain("and"), "logical_or": plain("or"), "logical_not": plain("not"),
    "bitwise_and": plain("and"), "bitwise_or": plain("or"), "bitwise_not": plain("not"),
    "square": lambda e, a: e("mul", a, a),
    "add": add, "sub": _sub, "rsub": _rsub, "div": _div, "pow": _pow,
    "clamp": _clamp, "clamp_min": _clamp,
    "clamp_max": lambda e, a, high: _clamp(e, a, None, high),
    "hardtanh": _hardtanh, "leaky_relu": _leaky_relu, "elu": _elu, "silu": _silu, "softplus": _softplus,
    "gelu": _gelu, "hardsigmoid": _hardsigmoid, "hardswish": _hardswish, "mish": _mish, "threshold": _threshold,
    "relu6": lambda e, a: _hardtanh(e, a, 0.0, 6.0),
    "lerp": _lerp, "addcmul": _addcmul, "addcdiv": _addcdiv, "where": _where, "masked_fill": _masked_fill,
}  # fmt: skip
