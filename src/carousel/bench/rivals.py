"""What is timed: builders of functions that all do the same work for one shape.

Forward: outputs of a whole sequence, without anything kept for gradients. Training: outputs, and from a given gradient
of them the gradients of the input and of every weight.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..cells import LSTM, Cell
from ..nn import Recurrent

__all__ = [
    "EagerLSTM",
    "LSTMWeights",
    "Problem",
    "Rival",
    "Shape",
    "eager_loop",
    "installed",
    "jax_scan",
    "of_cell",
    "of_layer",
    "onnx_session",
    "prepare_peers",
    "torch_layer",
]

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


class Shape(NamedTuple):
    """Time steps, rows of the batch, hidden units; the input has as many features as there are hidden units."""

    time: int
    batch: int
    hidden: int


class Problem:
    """Input of one shape, and gradients of outputs, drawn from a seed.

    Args:
        shape: time, batch and hidden units.
        features: of the input; as many as hidden units if not given.
        seed: of the numbers.
    """

    def __init__(self, shape: Shape, *, features: int | None = None, seed: int = 0):
        self.shape, self.seed = shape, seed
        self.x = self._normal(shape.hidden if features is None else features).requires_grad_()

    def gradient(self, size: int) -> Tensor:
        """Of an output with `size` features; the same numbers for the same size."""
        return self._normal(size, 1)

    def _normal(self, size: int, salt: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(2 * self.seed + salt)
        return torch.randn(self.shape.time, self.shape.batch, size, generator=generator, dtype=torch.float32)


@dataclass(frozen=True)
class Rival:
    """Something to time.

    Attributes:
        name: shown.
        forward: returns the output.
        train: returns the gradient of the input and those of the weights (None where there is none); None for rivals
            that have no training.
        operations: of the forward pass's matrix products, a multiplication and an addition counted as two; training
            needs three times as many.
    """

    name: str
    forward: Callable[[], Any]
    train: Callable[[], tuple[Any, ...]] | None
    operations: int = 0

    def passes(self) -> dict[str, Callable[[], Any]]:
        """What it can do, by name: "forward", "training"."""
        found: dict[str, Callable[[], Any] | None] = {"forward": self.forward, "training": self.train}
        return {name: function for name, function in found.items() if function is not None}


def of_layer(name: str, layer: nn.Module, problem: Problem, *, operations: int = 0) -> Rival:
    """Any module that returns `(output, …)`."""
    parameters, x = list(layer.parameters()), problem.x
    with torch.no_grad():
        gradient = problem.gradient(layer(x[:1])[0].shape[-1])

    def forward() -> Tensor:
        with torch.no_grad():
            return layer(x)[0]

    def train() -> tuple[Tensor | None, ...]:
        for p in (x, *parameters):
            p.grad = None
        output = layer(x)[0]
        if output.requires_grad:
            output.backward(gradient)
        return tuple(p.grad for p in (x, *parameters))

    return Rival(name, forward, train, operations)


def of_cell(name: str, cell: Cell, problem: Problem, *, backend: str = "auto", operations: int | None = None) -> Rival:
    """A cell through `carousel.nn.Recurrent`."""
    counted = count_operations(cell, problem.shape) if operations is None else operations
    return of_layer(name, Recurrent([cell], backend=backend), problem, operations=counted)


def torch_layer(kind: str, problem: Problem, name: str | None = None) -> Rival:
    """`torch.nn.LSTM`, `GRU` or `RNN`."""
    time, batch, hidden = problem.shape
    layer = getattr(nn, kind)(hidden, hidden)
    operations = 2 * time * batch * GATES[kind] * hidden * (hidden + hidden)
    return of_layer(name or f"torch.nn.{kind}", layer, problem, operations=operations)


def count_operations(cell: Cell, shape: Shape) -> int:
    """Of the matrix products in a forward pass, counted while one step runs on the plain loop."""
    from torch.utils.flop_counter import FlopCounterMode

    x = torch.zeros(1, shape.batch, cell.input_size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        Recurrent([cell], backend="reference")(x)
    return shape.time * counter.get_total_flops()


class LSTMWeights(NamedTuple):
    """Of an LSTM, gates i, f, g, o, as they stand in `x @ wx + h @ wh + b`; peepholes may be missing."""

    wx: Tensor
    wh: Tensor
    b: Tensor
    pi: Tensor | None = None
    pf: Tensor | None = None
    po: Tensor | None = None

    @classmethod
    def random(cls, hidden: int, *, peephole: bool = True) -> LSTMWeights:
        """Uniform on ±1/√hidden, as PyTorch starts its layers."""
        shapes = [(hidden, 4 * hidden), (hidden, 4 * hidden), (4 * hidden,), *[(hidden,)] * (3 if peephole else 0)]
        return cls(*((2 * torch.rand(shape) - 1) / math.sqrt(hidden) for shape in shapes))

    @classmethod
    def of(cls, cell: Cell) -> LSTMWeights | None:
        """Those of an LSTM of the registry; None for cells that this form does not hold."""
        if type(cell) is not LSTM or cell.coupled or cell.layer_norm or cell.projection or cell.bias_ih is None:
            return None
        assert cell.bias_hh is not None
        peepholes = (cell.weight_ci, cell.weight_cf, cell.weight_co) if cell.peephole else ()
        found = (cell.weight_ih.T, cell.weight_hh.T, cell.bias_ih + cell.bias_hh, *peepholes)
        return cls(*(w.detach().clone(memory_format=torch.contiguous_format) for w in found))

    def tensors(self) -> tuple[Tensor, ...]:
        """Those that are there."""
        return tuple(w for w in self if w is not None)


class EagerLSTM(nn.Module):
    """The loop as an expert writes it in plain PyTorch: one product for all inputs, fused operations in the step."""

    def __init__(self, weights: LSTMWeights):
        super().__init__()
        self.wx, self.wh, self.b = (nn.Parameter(w.clone()) for w in weights[:3])
        self.peepholes = nn.ParameterList(w.clone() for w in weights[3:] if w is not None)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Outputs (time, batch, hidden) and the last h and c, from zeros."""
        time, batch, size = x.shape
        gates = torch.addmm(self.b, x.reshape(time * batch, size), self.wx).view(time, batch, -1)
        h = c = x.new_zeros(batch, self.wh.shape[0])
        peepholes, outputs = list(self.peepholes), []
        for from_x in gates.unbind(0):
            i, f, g, o = torch.addmm(from_x, h, self.wh).chunk(4, 1)
            if peepholes:
                i, f = torch.addcmul(i, peepholes[0], c), torch.addcmul(f, peepholes[1], c)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            if peepholes:
                o = torch.addcmul(o, peepholes[2], c)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs), (h, c)


def eager_loop(weights: LSTMWeights, problem: Problem, name: str = "eager loop") -> Rival:
    """`EagerLSTM`; training returns the gradients of x and of `weights.tensors()`, in this order."""
    return of_layer(name, EagerLSTM(weights), problem, operations=_lstm_operations(problem.shape))


def _lstm_operations(shape: Shape) -> int:
    return 8 * shape.time * shape.batch * shape.hidden * (shape.hidden + shape.hidden)


def installed() -> list[str]:
    """The peers that are: "jax", "onnxruntime"."""
    needs = {"jax": ("jax",), "onnxruntime": ("onnxruntime", "onnx")}
    return [peer for peer, names in needs.items() if all(importlib.util.find_spec(name) for name in names)]


def prepare_peers(threads: int) -> None:
    """Tell JAX's thread pool its size, which it reads once, when it starts; to be called before JAX is imported."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ["PJRT_NPROC"] = str(threads)
    flags = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if "multi_thread_eigen" not in flag]
    parallel = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
    os.environ["XLA_FLAGS"] = " ".join([*flags, parallel])


def jax_scan(weights: LSTMWeights, problem: Problem, name: str = "JAX scan") -> Rival:
    """The same LSTM as `jax.lax.scan`, compiled; one product for all inputs stands before the scan.

    Training returns the gradients of x and of `weights.tensors()`, in this order.
    """
    jax: Any = importlib.import_module("jax")
    np: Any = importlib.import_module("jax.numpy")
    has_peepholes = weights.pi is not None

    def run(x: Any, wx: Any, wh: Any, b: Any, *peepholes: Any) -> Any:
        time, batch, size = x.shape
        gates = (x.reshape(time * batch, size) @ wx + b).reshape(time, batch, -1)

        def step(state: Any, from_x: Any) -> Any:
            h, c = state
            i, f, g, o = np.split(from_x + h @ wh, 4, axis=1)
            if has_peepholes:
                pi, pf, _ = peepholes
                i, f = i + pi * c, f + pf * c
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * np.tanh(g)
            o = o + peepholes[2] * c if has_peepholes else o
            h = jax.nn.sigmoid(o) * np.tanh(c)
            return (h, c), h

        zeros = np.zeros((batch, wh.shape[0]), x.dtype)
        return jax.lax.scan(step, (zeros, zeros), gates)[1]

    def both(gradient: Any, *arguments: Any) -> Any:
        output, back = jax.vjp(run, *arguments)
        return output, back(gradient)

    arguments = [np.asarray(t.detach().numpy()) for t in (problem.x, *weights.tensors())]
    gradient = np.asarray(problem.gradient(problem.shape.hidden).numpy())
    forward, train = jax.jit(run), jax.jit(both)
    return Rival(
        name,
        lambda: jax.block_until_ready(forward(*arguments)),
        lambda: jax.block_until_ready(train(gradient, *arguments))[1],
        _lstm_operations(problem.shape),
    )


def onnx_session(weights: LSTMWeights, problem: Problem, threads: int, name: str = "onnxruntime") -> Rival:
    """The same LSTM as ONNX's operator in onnxruntime, which has no training."""
    onnx: Any = importlib.import_module("onnx")
    runtime: Any = importlib.import_module("onnxruntime")
    time, batch, hidden = problem.shape
    wx, wh, b = (_in_onnx_order(w) for w in (weights.wx.T, weights.wh.T, weights.b))
    constants = {"W": wx, "R": wh, "B": torch.cat([b, torch.zeros_like(b)])}
    inputs = ["x", *constants]
    if weights.pi is not None:
        _, _, _, pi, pf, po = weights.tensors()
        constants["P"] = torch.cat([pi, po, pf])
        inputs += ["", "", "", "P"]  # sequence_lens, initial_h and initial_c are left out
    floats = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("LSTM", inputs, ["y"], hidden_size=hidden)],
        "lstm",
        [onnx.helper.make_tensor_value_info("x", floats, [time, batch, weights.wx.shape[0]])],
        [onnx.helper.make_tensor_value_info("y", floats, [time, 1, batch, hidden])],
        [onnx.numpy_helper.from_array(w.unsqueeze(0).contiguous().numpy(), key) for key, w in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {"x": problem.x.detach().numpy()}
    return Rival(name, lambda: session.run(None, feed)[0][:, 0], None, _lstm_operations(problem.shape))


def _in_onnx_order(w: Tensor) -> Tensor:
    """Rows of the gates i, f, g, o as i, o, f, g."""
    i, f, g, o = w.detach().chunk(4)
    return torch.cat([i, o, f, g])
