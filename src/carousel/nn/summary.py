"""What a network is made of: per layer the shape of its output, parameters, activations, multiply-adds.

The network is run once on tensors without data (PyTorch's "meta" device), so that even large ones cost milliseconds;
what refuses them is run on zeros. Multiply-adds are those of products and convolutions that really run, wherever in the
code they stand: PyTorch's `FlopCounterMode` sees each operation, and a layer's own are those between its hooks. What
works element by element (activations, norms, pooling, biases) counts as nothing, as in the published numbers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ..errors import UsageError
from .recurrent import Recurrent

__all__ = ["Row", "Summary", "summary"]

WHOLE = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, Recurrent)
"""One row each, whatever they are made of."""
NO_PRODUCTS = (
    nn.Embedding,
    nn.EmbeddingBag,
    _NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.PReLU,
    ParametrizationList,
)
"""Have weights, and need no product of matrices."""


@dataclass(frozen=True)
class Row:
    """One call of one layer.

    Attributes:
        name: its name in the model, such as "layer1.0.conv2".
        kind: its class.
        output: the shape that it gives, the batch included; of several tensors the first.
        parameters: numbers that are learned or stored as weights, each counted where it is first met.
        activations: numbers that it gives, of all its tensors; none where it passes on what it is given, or writes
            over it. (Dropout counts: while training it makes new ones.)
        multiply_adds: of its products and convolutions.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    activations: int
    multiply_adds: int


@dataclass(frozen=True)
class Summary:
    """All layers in the order in which they ran; `str()` is a table.

    Attributes:
        rows: one for each call of a layer.
        inputs: the shapes of the model's arguments, the batch included.
        parameters: of the model, each counted once; also those that no layer of the table holds.
        trainable: those of them that a gradient changes.
        one: whether all counts are for one example, whose shape was given; else they are for the arguments given.
        notes: what could not be counted, in sentences.
    """

    rows: list[Row]
    inputs: list[tuple[int, ...]]
    parameters: int
    trainable: int
    one: bool
    notes: list[str]

    @property
    def input_numbers(self) -> int:
        """Numbers that the model is given."""
        return sum(map(prod, self.inputs))

    @property
    def activations(self) -> int:
        """Numbers that all layers give together, the input not among them."""
        return sum(row.activations for row in self.rows)

    @property
    def activation_bytes(self) -> int:
        """Their memory at 4 bytes each: what a backward pass finds kept, if every layer keeps its output."""
        return 4 * self.activations

    @property
    def multiply_adds(self) -> int:
        """Of one forward pass."""
        return sum(row.multiply_adds for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the sums."""
        sums = {name: getattr(self, name) for name in ("activations", "activation_bytes", "multiply_adds")}
        return {**vars(self), "rows": [vars(row) for row in self.rows], **sums}

    def __str__(self) -> str:
        head = ("layer", "kind", "output", "parameters", "activations", "memory", "multiply-adds")
        body = [
            (
                row.name,
                row.kind,
                _times(row.output[1:] if self.one and len(row.output) > 1 else row.output),
                f"{row.parameters:,}" if row.parameters else "",
                f"{row.activations:,}",
                _bytes(4 * row.activations),
                f"{row.multiply_adds:,}" if row.multiply_adds else "",
            )
            for row in self.rows
        ]
        total = (
            f"{self.parameters:,}",
            f"{self.activations:,}",
            _bytes(self.activation_bytes),
            f"{self.multiply_adds:,}",
        )
        body.append(("all", "", "", *total))
        widths = [max(len(row[column]) for row in [head, *body]) for column in range(len(head))]
        lines = [
            "  ".join(
                text.ljust(width) if column < 2 else text.rjust(width)
                for column, (text, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in [head, *body]
        ]
        rule = "-" * max(map(len, lines))
        given = " and ".join(_times(shape[1:] if self.one else shape) for shape in self.inputs)
        frozen = self.parameters - self.trainable
        last = f"For {'one example' if self.one else 'an input'} of {given}, numbers of 4 bytes." + (
            f" {frozen:,} parameters are frozen." * bool(frozen)
        )
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], "", last, *self.notes])


def summary(model: nn.Module, input_shape: tuple[int, ...] | Tensor | tuple[Tensor, ...]) -> Summary:
    r"""Count what each layer holds, gives and computes.

    A dense layer of n inputs and m units takes n m multiply-adds, a convolution
    :math:`\prod_i W'_i \prod_i F_i \, C_{in} C_{out} / G`, a recurrent layer its matrices once a step. One multiply-add
    is two floating-point operations; He et al. (2016) and many others write "FLOPs" and mean multiply-adds.

    Args:
        model: any module; it is left as it was.
        input_shape: of one example, without the batch. Or the arguments themselves, a tensor or a tuple of tensors,
            batch included, where a model takes several or takes numbers of words: then all counts are for this batch.

    Returns:
        A `Summary`.

    Raises:
        UsageError: the model cannot run on such an input; the message has its own error.

    Example:
        >>> import carousel
        >>> found = summary(carousel.nn.network("vgg11", (3, 64, 64), 10, hidden_size=100), (3, 64, 64))
        >>> found.rows[0].output, found.rows[0].parameters, found.rows[0].multiply_adds     # 64² · 3² · 3 · 64
        ((1, 64, 64, 64), 1792, 7077888)
        >>> print(summary(nn.Linear(3, 2), (3,)))
        layer   kind    output  parameters  activations  memory  multiply-adds
        ----------------------------------------------------------------------
        Linear  Linear       2           8            2     8 B              6
        ----------------------------------------------------------------------
        all                              8            2     8 B              6
        <BLANKLINE>
        For one example of 3, numbers of 4 bytes.
    """
    if any(is_lazy(p) for p in model.parameters()):
        raise UsageError(f"{type(model).__name__} has layers without a size yet; run it once before the summary.")
    tensors, one = _arguments(model, input_shape)
    given = [tuple(t.shape) for t in tensors]
    for run in (_run_without_data, _run):
        watch = _Watch(model)
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]), _still(model), watch:
                run(model, tensors)
            break
        except Exception as error:  # a model may raise anything, and refuse tensors without data for any reason
            if run is _run:
                raise UsageError(
                    f"{type(model).__name__} cannot run on an input of {' and '.join(map(str, given))}: "
                    f"{_first_line(error)} Give summary the shape of one example without the batch, or the arguments "
                    "themselves as tensors."
                ) from error
    parameters = list(model.parameters())
    total = sum(p.numel() for p in parameters)
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    missing = total - sum(row.parameters for row in watch.rows)  # pyright: ignore[reportPossiblyUnboundVariable]
    return Summary(watch.rows, given, total, trainable, one, _notes(watch, missing))  # pyright: ignore[reportPossiblyUnboundVariable]


def _arguments(model: nn.Module, given: Any) -> tuple[tuple[Tensor, ...], bool]:
    """What the model is called with, and whether that is one example of a shape."""
    tensors = given if isinstance(given, tuple | list) else (given,)
    if tensors and all(isinstance(t, Tensor) for t in tensors):
        return tuple(tensors), False
    if not tensors or not all(isinstance(size, int) and size > 0 for size in tensors):
        raise UsageError(f"summary got the input shape {given!r}; give that of one example, as (1, 28, 28).")
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(()))
    return (torch.zeros((1, *tensors), dtype=like.dtype, device=like.device),), True


class _Watch:
    """While it is entered, each call of a layer of `model` becomes a row."""

    def __init__(self, model: nn.Module):
        self.rows: list[Row] = []
        self.uncounted: list[str] = []
        self.names = {module: name or type(module).__name__ for name, module in model.named_modules()}
        self.counter = FlopCounterMode(display=False, custom_mapping=_VECTORS)
        self._counted: set[int] = set()  # parameters
        self._open: list[tuple[int, int]] = []  # of the calls under way: the counter, and what rows had of it
        self._in_rows = 0
        self._last: list[Tensor] = []  # what the last row gave
        self._exits = contextlib.ExitStack()

    def __enter__(self) -> None:
        hidden = {child for m in self.names if isinstance(m, WHOLE) for child in m.modules() if child is not m}
        for module in self.names:
            if module not in hidden:
                self._exits.callback(module.register_forward_pre_hook(self._before).remove)
                self._exits.callback(module.register_forward_hook(self._behind).remove)
        self._exits.enter_context(self.counter)

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def _before(self, module: nn.Module, inputs: Any) -> None:
        self._open.append((self.counter.get_total_flops(), self._in_rows))

    def _behind(self, module: nn.Module, inputs: Any, output: Any) -> None:
        before, in_rows = self._open.pop()
        work = (self.counter.get_total_flops() - before) // 2 - (self._in_rows - in_rows)
        layer = isinstance(module, WHOLE) or next(module.children(), None) is None
        own = {id(p): p for p in module.parameters(recurse=layer)}
        if not (layer or own or work):
            return
        self._in_rows += work
        if isinstance(module, nn.RNNBase | nn.RNNCellBase):  # PyTorch's own kernels, which the counter can't see into
            work = _recurrent_work(module, inputs[0])
        tensors = _tensors(output)
        known = {_storage(t) for t in (*_tensors(inputs), *self._last)}
        new = [t for t in tensors if isinstance(module, _DropoutNd) or _storage(t) not in known]
        self.rows.append(
            Row(
                self.names[module],
                type(module).__name__,
                tuple(tensors[0].shape) if tensors else (),
                sum(p.numel() for key, p in own.items() if key not in self._counted),
                sum(t.numel() for t in new),
                work,
            )
        )
        self._counted |= set(own)
        self._last = tensors
        if not work and not isinstance(module, NO_PRODUCTS) and any(p.ndim > 1 for p in own.values()):
            self.uncounted.append(f"{self.names[module]} ({type(module).__name__})")


def _product_with_vector(matrix: tuple[int, int], *_: Any, **__: Any) -> int:
    return 2 * matrix[0] * matrix[1]


def _sum_with_product(_: Any, matrix: tuple[int, int], *__: Any, **___: Any) -> int:
    return 2 * matrix[0] * matrix[1]


_VECTORS: dict[Any, Any] = {torch.ops.aten.mv: _product_with_vector, torch.ops.aten.addmv: _sum_with_product}
"""What `FlopCounterMode` leaves out."""


def _tensors(values: Any) -> list[Tensor]:
    return [t for t in tree_leaves(values) if isinstance(t, Tensor)]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _recurrent_work(module: nn.Module, x: Any) -> int:
    """Each matrix once for each step of each sequence."""
    matrices = sum(p.numel() for p in module.parameters() if p.ndim > 1)
    if isinstance(x, PackedSequence):
        return matrices * len(x.data)
    return matrices * (x.numel() // x.shape[-1])


@contextlib.contextmanager
def _still(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; recurrent layers on the loop, attention in single steps, where every product can be seen."""
    training = {module: module.training for module in model.modules()}
    backends = {module: module.backend for module in training if isinstance(module, Recurrent)}
    fused = torch.backends.mha.get_fastpath_enabled()
    try:
        model.eval()
        for module in backends:
            module.backend = "reference"
        torch.backends.mha.set_fastpath_enabled(False)
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for module, backend in backends.items():
            module.backend = backend
        for module, flag in training.items():
            module.training = flag


def _run(model: nn.Module, tensors: tuple[Tensor, ...]) -> None:
    model(*tensors)


def _run_without_data(model: nn.Module, tensors: tuple[Tensor, ...]) -> None:
    state = {name: t.detach().to("meta") for name, t in (*model.named_parameters(), *model.named_buffers())}
    functional_call(model, state, tuple(t.to("meta") for t in tensors))


def _notes(watch: _Watch, missing: int) -> list[str]:
    notes = []
    if watch.uncounted:
        notes.append(
            f"Not counted: the multiply-adds of {', '.join(dict.fromkeys(watch.uncounted))}, which have weights but "
            "neither multiply matrices nor convolve."
        )
    if missing:
        notes.append(f"{missing:,} parameters belong to modules that did not run.")
    return notes


def _first_line(error: Exception) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
