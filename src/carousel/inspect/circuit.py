r"""A computation as a graph, with the value that goes forward and the gradient that comes back on each edge.

An operation :math:`z = f(x, y)` knows its local derivatives :math:`∂z/∂x` and :math:`∂z/∂y` from its own inputs alone.
Given what the rest of the graph says of its output, :math:`∂L/∂z`, it hands :math:`∂L/∂z · ∂z/∂x` to x; where a value
goes to several operations, what they hand back is added. That is backpropagation, and all of it.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import UsageError

__all__ = ["Circuit", "Edge", "Node", "circuit"]

MOST = 400
"""Operations beyond which no picture is of use."""

SYMBOLS = {
    "add": "+", "sub": "−", "mul": "×", "div": "÷", "neg": "−( )", "pow": "^", "reciprocal": "1 ÷ ( )",
    "matmul": "matmul", "mm": "matmul", "sigmoid": "σ", "tanh": "tanh", "exp": "exp", "log": "log", "relu": "relu",
    "maximum": "max", "minimum": "min", "max": "max", "min": "min", "sqrt": "√", "square": "^2", "abs": "|( )|",
    "linear": "linear", "t": "transpose", "cat": "join", "getitem": "[ ]",
}  # fmt: skip


@dataclass(frozen=True)
class Node:
    """A value: something given, or what an operation made of others.

    Attributes:
        number: its place, in the order of the computation.
        operation: the function's name, such as "mul"; "" where the value is given.
        label: for a picture: "x", "×", "+ 1".
        name: what the code calls the value; "" where it has no name.
        value: it.
        gradient: ∂L/∂(value), all paths together; None where none leads to the output, or it is not differentiable.
        parameter: given by the module, not by the caller.
    """

    number: int
    operation: str
    label: str
    name: str
    value: Tensor
    gradient: Tensor | None
    parameter: bool = False


@dataclass(frozen=True)
class Edge:
    """A value on its way into an operation.

    Attributes:
        source, target: numbers of nodes.
        local: ∂(target)/∂(source) of two single numbers; None where there are more, see `gradient`.
        gradient: what comes back along it: ∂L/∂target · ∂target/∂source, of the shape of the source; None if nothing.
    """

    source: int
    target: int
    local: float | None
    gradient: Tensor | None


@dataclass(frozen=True)
class Circuit:
    """A computation as a graph.

    Attributes:
        nodes: in the order of the computation, the given ones first where they are first used.
        edges: between them.
        output: number of the node whose gradient is 1.
    """

    nodes: list[Node]
    edges: list[Edge]
    output: int

    def __getitem__(self, name: str) -> Node:
        """The value that the code calls so, the last one if there are several."""
        for node in reversed(self.nodes):
            if node.name == name:
                return node
        names = ", ".join(dict.fromkeys(node.name for node in self.nodes if node.name))
        raise UsageError(f"No value of the computation is called {name!r}; there are {names}.")

    def svg(self) -> str:
        """The picture, as SVG text: values in bold, gradients in italics, local derivatives at the edges."""
        from .circuit_drawing import svg

        return svg(self)

    def html(self, title: str = "") -> str:
        """A page of its own, on which the passes can be played step by step."""
        from .circuit_drawing import page

        return page(self, title)

    def _repr_html_(self) -> str:
        return self.svg()

    def _repr_svg_(self) -> str:
        return self.svg()


def circuit(function: Callable[..., Any], *inputs: Any, gradient: Tensor | None = None) -> Circuit:
    r"""Run a function of tensors, or a module, and record every operation, value and gradient.

    Args:
        function: it gives one tensor; of several numbers their sum is the output L, unless `gradient` says otherwise.
            The names of its arguments and local variables name the values; so do those of a module's parameters.
        inputs: tensors, or numbers, which become tensors in float64.
        gradient: ∂L/∂(output), of the output's shape; None for ones.

    Returns:
        `Circuit`.

    Raises:
        UsageError: it gives no tensor, depends on no input, changes a tensor in place, or is far too large to draw.

    Example:
        >>> def f(x, y, z):
        ...     q = x + y
        ...     return q * z
        >>> found = circuit(f, -2.0, 5.0, -4.0)
        >>> {name: float(found[name].gradient) for name in "xyzq"}
        {'x': -4.0, 'y': -4.0, 'z': 3.0, 'q': -4.0}
        >>> [(found.nodes[e.source].name, e.local) for e in found.edges if found.nodes[e.target].label == "×"]
        [('q', -4.0), ('z', 3.0)]
    """
    given = [_leaf(value) for value in inputs]
    forward = function.forward if isinstance(function, nn.Module) else function
    names = _argument_names(forward, len(given))
    leaves = {id(tensor): (name, tensor, False) for tensor, name in zip(given, names, strict=True)}
    if isinstance(function, nn.Module):
        leaves |= {id(p): (name, p, True) for name, p in function.named_parameters()}
    own = not (getattr(function, "__module__", None) or "").startswith(
        "torch."
    )  # names in PyTorch's own code say nothing
    trace = _Trace(leaves, getattr(getattr(forward, "__func__", forward), "__code__", None) if own else None)
    with torch.enable_grad(), trace:
        made = function(*given)
    if not isinstance(made, Tensor):
        raise UsageError(f"The function gave a {type(made).__name__}; it must give one tensor.")
    if id(made) not in trace.numbers:
        raise UsageError("The output depends on no input through any operation of PyTorch; there is nothing to draw.")
    if not made.requires_grad:
        raise UsageError("The output is not differentiable: it depends on its inputs only through whole numbers.")
    return _with_gradients(trace, made, gradient)


# -- recording --------------------------------------------------------------------------------------------------------


@dataclass
class _Call:
    """An operation that ran: what it takes to run it again."""

    function: Callable[..., Any]
    args: Any
    kwargs: dict[str, Any]
    inputs: list[Tensor]
    output: Tensor
    place: int | None
    """Of the output, where the operation gave several."""


@dataclass
class _Trace(TorchFunctionMode):
    """While it is entered, every operation on tracked tensors becomes a node."""

    leaves: dict[int, tuple[str, Tensor, bool]]
    code: CodeType | None
    numbers: dict[int, int] = field(default_factory=dict)
    tensors: list[Tensor] = field(default_factory=list)
    calls: list[_Call | None] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        self._inside = 0

    def __enter__(self) -> Any:
        self._before = sys.getprofile()
        if self.code is not None:
            sys.setprofile(self._event)
        return super().__enter__()

    def __exit__(self, *error: Any) -> Any:
        sys.setprofile(self._before)
        return super().__exit__(*error)

    def _event(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "return" and frame.f_code is self.code:
            for name, value in frame.f_locals.items():
                if isinstance(value, Tensor) and id(value) in self.numbers:
                    self.names.setdefault(self.numbers[id(value)], name)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        versions = [(t, t._version) for t in _tensors(args, kwargs)]
        made = func(*args, **kwargs)
        name = _name(func)
        if name in _READS or not _tensors(made):
            return made
        if any(t._version != version for t, version in versions):
            raise UsageError(
                f"The computation changes a tensor in place ({name}), so that a value has no single place in the "
                "picture; write h = h + 1 instead of h += 1."
            )
        inputs = [t for t in _tensors(args, kwargs) if id(t) in self.numbers or self._is_leaf(t)]
        if not inputs:
            return made
        for t in inputs:
            self._number(t)
        outputs = list(made) if isinstance(made, tuple | list) else [made]
        for place, output in enumerate(outputs):
            if isinstance(output, Tensor) and id(output) not in self.numbers:
                several = place if isinstance(made, tuple | list) else None
                self._add(output, _Call(func, args, kwargs, inputs, output, several))
        return made

    def _is_leaf(self, tensor: Tensor) -> bool:
        return id(tensor) in self.leaves or (tensor.is_leaf and tensor.is_floating_point())

    def _number(self, tensor: Tensor) -> int:
        if id(tensor) not in self.numbers:
            self._add(tensor, None)
            if id(tensor) in self.leaves:
                self.names[len(self.tensors) - 1] = self.leaves[id(tensor)][0]
        return self.numbers[id(tensor)]

    def _add(self, tensor: Tensor, call: _Call | None) -> None:
        if len(self.tensors) >= MOST:
            raise UsageError(f"The computation has more than {MOST} operations; draw a part of it.")
        self.numbers[id(tensor)] = len(self.tensors)
        self.tensors.append(tensor)
        self.calls.append(call)


_READS = {"shape", "size", "dim", "numel", "item", "tolist", "is_floating_point", "requires_grad", "grad", "dtype",
          "device", "__len__", "__bool__", "__float__", "__int__", "is_leaf", "ndim", "stride", "layout", "__repr__",
          "is_nested", "is_complex", "_version", "is_contiguous", "__format__"}  # fmt: skip


def _name(function: Any) -> str:
    """The plain name of an operation: "mul" of `Tensor.__mul__`, `torch.mul`, `operator.mul`."""
    name = getattr(function, "__name__", str(function))
    if name == "__get__":  # a property
        return getattr(getattr(function, "__self__", None), "__name__", name)
    plain = name.strip("_")
    reverse = {"radd": "add", "rsub": "rsub", "rmul": "mul", "rdiv": "rdiv", "rtruediv": "rdiv", "rpow": "rpow",
               "truediv": "div", "rmatmul": "rmatmul"}  # fmt: skip
    return name if name in _READS else reverse.get(plain, plain)


def _tensors(*values: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, tuple | list):
            found += _tensors(*value)
        elif isinstance(value, dict):
            found += _tensors(*value.values())
    return found


def _leaf(value: Any) -> Tensor:
    tensor = value.detach().clone() if isinstance(value, Tensor) else torch.tensor(value)
    tensor = tensor.double() if not isinstance(value, Tensor) and not isinstance(value, bool) else tensor
    return tensor.requires_grad_() if tensor.is_floating_point() else tensor


def _argument_names(function: Callable[..., Any], count: int) -> list[str]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "x")
    return [names[i] if i < len(names) else f"{rest}{i - len(names) + 1}" for i in range(count)]


# -- gradients --------------------------------------------------------------------------------------------------------


def _with_gradients(trace: _Trace, output: Tensor, gradient: Tensor | None) -> Circuit:
    seed = torch.ones_like(output) if gradient is None else gradient.to(output)
    if seed.shape != output.shape:
        raise UsageError(f"The gradient has the shape {tuple(seed.shape)}, the output {tuple(output.shape)}.")
    kept = _before(trace, trace.numbers[id(output)])
    tensors = [trace.tensors[number] for number in kept]
    asked = [tensor for tensor in tensors if tensor.requires_grad]
    found = dict(
        zip(map(id, asked), torch.autograd.grad(output, asked, seed, retain_graph=True, allow_unused=True), strict=True)
    )
    place = {number: new for new, number in enumerate(kept)}
    nodes, edges = [], []
    for number in kept:
        tensor, call = trace.tensors[number], trace.calls[number]
        name = trace.names.get(number, "")
        is_parameter = call is None and trace.leaves.get(id(tensor), ("", tensor, False))[2]
        label = (name or _shown(tensor)) if call is None else _label(call)
        operation = "" if call is None else _name(call.function)
        own = found.get(id(tensor))
        nodes.append(Node(place[number], operation, label, name, tensor.detach(), own, is_parameter))
        if call is not None:
            edges += [
                Edge(place[trace.numbers[id(source)]], place[number], local, back)
                for source, local, back in _backward(call, own)
            ]
    return Circuit(nodes, edges, place[trace.numbers[id(output)]])


def _before(trace: _Trace, last: int) -> list[int]:
    """The nodes on which the output depends, in order."""
    wanted, open_ = {last}, [last]
    while open_:
        call = trace.calls[open_.pop()]
        for source in call.inputs if call is not None else ():
            number = trace.numbers[id(source)]
            if number not in wanted:
                wanted.add(number)
                open_.append(number)
    return sorted(wanted)


def _backward(call: _Call, gradient: Tensor | None) -> list[tuple[Tensor, float | None, Tensor | None]]:
    """For each use of a tensor by an operation: local derivative, and what is handed back."""
    copies = [t.detach().clone().requires_grad_(t.requires_grad) for t in call.inputs]
    fresh = iter(copies)
    known = [id(t) for t in call.inputs]
    args, kwargs = _replaced(call.args, known, fresh), _replaced(call.kwargs, known, fresh)
    with torch.enable_grad():
        made = call.function(*args, **kwargs)
    again = made if call.place is None else made[call.place]
    uses = []
    for source, copy in zip(call.inputs, copies, strict=True):
        local = back = None
        if copy.requires_grad and again.requires_grad:
            if copy.numel() == again.numel() == 1:
                (slope,) = torch.autograd.grad(again.sum(), copy, retain_graph=True, allow_unused=True)
                local = 0.0 if slope is None else float(slope)
            if gradient is not None:
                (back,) = torch.autograd.grad(again, copy, gradient, retain_graph=True, allow_unused=True)
                back = torch.zeros_like(copy) if back is None else back
        uses.append((source, local, back))
    return uses


def _replaced(values: Any, known: Sequence[int], fresh: Any) -> Any:
    """The same arguments, with a copy for each use of a tracked tensor, in the order of `_tensors`."""
    if isinstance(values, Tensor):
        return next(fresh) if id(values) in known else values
    if isinstance(values, tuple | list):
        return type(values)([_replaced(value, known, fresh) for value in values])
    if isinstance(values, dict):
        return {name: _replaced(value, known, fresh) for name, value in values.items()}
    return values


# -- labels -----------------------------------------------------------------------------------------------------------


def _label(call: _Call) -> str:
    """The symbol, as × of two values; × 2 of one and a constant, 1 ÷ ( ) where the constant is on the left."""
    name = _name(call.function)
    constants = [value for value in call.args if isinstance(value, int | float) and not isinstance(value, bool)]
    symbol = SYMBOLS.get(name, name)
    if name in ("rsub", "rdiv", "rpow") and constants:
        sign = {"rsub": "−", "rdiv": "÷", "rpow": "^"}[name]
        return f"{number_text(constants[0])} {sign} ( )"
    if name in ("max", "min", "sum", "mean", "getitem", "reshape", "view", "transpose", "softmax") or not constants:
        return symbol
    constant = number_text(constants[0])
    if name in ("add", "sub", "mul", "div", "pow"):
        if isinstance(call.args[0], Tensor):
            return f"{symbol} {constant}"
        return f"{constant} {symbol} ( )"
    return symbol


def number_text(value: float) -> str:
    """Three digits at most, with a true minus sign.

    Example:
        >>> number_text(-0.19661), number_text(12), number_text(1.5e-7), number_text(float("nan"))
        ('−0.197', '12', '1.5e−7', 'nan')
    """
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == int(value) and abs(value) < 1e5:
        text = str(int(value))
    elif 1e-3 <= abs(value) < 1e5:
        text = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    else:
        mantissa, exponent = f"{value:.2g}".split("e") if "e" in f"{value:.2g}" else (f"{value:.2e}").split("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", "−")


def _shown(tensor: Tensor) -> str:
    return number_text(float(tensor)) if tensor.numel() == 1 else " × ".join(map(str, tensor.shape))
