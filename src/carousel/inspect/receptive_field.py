r"""Receptive fields: which elements of the input a unit of a layer can see.

A chain of windows (convolutions and poolings) has a closed form. With kernel :math:`k`, stride :math:`s`, dilation
:math:`d` and padding :math:`p` of each layer, and the jump :math:`j` from unit to unit in elements of the input,

.. math:: r ← r + d (k - 1)\, j, \qquad a ← a - p\, j, \qquad j ← j\, s

from :math:`r = 1, a = 0, j = 1` on: unit :math:`i` sees :math:`[a + i j, a + i j + r)` (Araujo, Norris & Sim,
"Computing receptive fields of convolutional neural networks", Distill 2019; Dumoulin & Visin, arXiv:1603.07285, 2016).

Of any other network the field is found by putting NaN into the input. What is computed from a NaN is NaN, whatever the
weights and the other values are: ReLU and max-pooling pass it on, also where another element is larger, and so does a
weight of 0. The support of a gradient has no such property: it misses what a ReLU or a maximum happens to block at
that input, and the union over many inputs only grows toward the field. The price: what is computed by comparing alone
(`x > 0`, `torch.where`) loses the NaN, and is said to see nothing. Kernels that mix windows (Winograd's, FFT) would
spread it; they are off meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..nn.units import Maxout, Threshold
from .layers import Tap

__all__ = ["FieldFormula", "ReceptiveFields", "Window", "field_formula", "receptive_fields", "receptive_mask"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_MAXIMA = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_MEANS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_PADS = (nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d)
_POINTWISE = (
    nn.Identity, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
    nn.AlphaDropout, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Softsign, nn.LogSigmoid,
    nn.Threshold, Threshold, Maxout,
)  # fmt: skip
"""Layers that look at one position at a time (all of its channels)."""


# -- closed form ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """What one layer of a chain does along one axis: sizes in elements of its own input."""

    kernel: int
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1
    ceil: bool = False

    def outputs(self, size: int) -> int:
        """Units along the axis for an input of `size` elements, rounded as PyTorch does."""
        room = size + self.before + self.after - self.dilation * (self.kernel - 1) - 1
        if not self.ceil:
            return room // self.stride + 1
        count = -(-room // self.stride) + 1
        return count - ((count - 1) * self.stride >= size + self.before)  # a last window in the padding is dropped

    def seen(self, units: Iterable[int], size: int) -> set[int]:
        """Elements of the input, those of the padding left out."""
        taps = range(-self.before, -self.before + self.dilation * self.kernel, self.dilation)
        return {place for unit in units for tap in taps if 0 <= (place := unit * self.stride + tap) < size}


@dataclass(frozen=True)
class FieldFormula:
    r"""The receptive field of a chain of convolutions and poolings.

    Attributes:
        size: r, elements from the first to the last that a unit sees, per axis.
        stride: j, elements by which the fields of neighboring units differ.
        start: a, the first element of unit 0's field; negative where it begins in the padding.
        windows: per layer with a window, per axis.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    start: tuple[int, ...]
    windows: tuple[tuple[Window, ...], ...]

    def box(self, position: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """(begin, end) along each axis, not cut at the border: parts may lie in the padding."""
        begins = [a + i * j for a, i, j in zip(self.start, self._checked(position), self.stride, strict=True)]
        return tuple((begin, begin + size) for begin, size in zip(begins, self.size, strict=True))

    def seen(self, position: Sequence[int], input_size: Sequence[int]) -> tuple[list[int], ...]:
        """The elements that the unit sees along each axis, exactly: with the holes of dilation, without any padding.

        A position counts where all of its coordinates do. Empty lists for a unit in the padding.

        Args:
            position: of the unit, a number per axis.
            input_size: elements of the input, per axis.
        """
        found: list[list[int]] = []
        for axis, (unit, size) in enumerate(zip(self._checked(position), self._checked(input_size), strict=True)):
            chain = [window[axis] for window in self.windows]
            sizes = [size]
            for window in chain:
                sizes.append(window.outputs(sizes[-1]))
            if not 0 <= unit < sizes[-1]:
                raise UsageError(f"Axis {axis} has {sizes[-1]} units; there is no unit {unit}.")
            units = {unit}
            for window, inputs in zip(reversed(chain), reversed(sizes[:-1]), strict=True):
                units = window.seen(units, inputs)
            found.append(sorted(units))
        return tuple(found) if all(found) else tuple([] for _ in found)

    def _checked(self, numbers: Sequence[int]) -> Sequence[int]:
        if len(numbers) != len(self.size):
            raise UsageError(f"Got {len(numbers)} numbers, {tuple(numbers)}; the layers have {len(self.size)} axes.")
        return numbers


def field_formula(layers: nn.Module | Iterable[nn.Module]) -> FieldFormula:
    """Receptive field of the last of some layers, one behind the other, by formula.

    Args:
        layers: an `nn.Sequential`, nested or not, or modules in their order: convolutions, poolings, zero padding, and
            layers that look at one position (activations, batch norm, dropout).

    Returns:
        `FieldFormula`. Weights play no role. Padding other than by constants is taken as theirs: near a border, what
        `padding_mode="reflect"` mirrors is not counted.

    Raises:
        UsageError: a layer is of another kind (`receptive_fields` knows any), or there is none with a window.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1))
        >>> found = field_formula(net)
        >>> found.size, found.stride, found.start
        ((10, 10), (2, 2), (-2, -2))
        >>> found.seen((0, 3), (28, 28))            # the first row lies half in the padding
        ([0, 1, 2, 3, 4, 5, 6, 7], [4, 5, 6, 7, 8, 9, 10, 11, 12, 13])
    """
    windows: list[tuple[Window, ...]] = []
    for layer in _chain(layers):
        if not isinstance(layer, _POINTWISE):
            windows.append(_window(layer))
    if not windows:
        raise UsageError("No layer has a window; give at least one convolution or pooling.")
    axes = {len(window) for window in windows}
    if len(axes) > 1:
        raise UsageError(f"The layers have {' and '.join(map(str, sorted(axes)))} axes; give layers of one kind.")
    size, stride, start = [1] * len(windows[0]), [1] * len(windows[0]), [0] * len(windows[0])
    for window in windows:
        for axis, one in enumerate(window):
            size[axis] += one.dilation * (one.kernel - 1) * stride[axis]
            start[axis] -= one.before * stride[axis]
            stride[axis] *= one.stride
    return FieldFormula(tuple(size), tuple(stride), tuple(start), tuple(windows))


def _chain(layers: nn.Module | Iterable[nn.Module]) -> Iterator[nn.Module]:
    if isinstance(layers, nn.Module) and not isinstance(layers, nn.Sequential | nn.ModuleList):
        yield layers
        return
    for layer in layers:
        yield from _chain(layer)


def _window(layer: nn.Module) -> tuple[Window, ...]:
    if isinstance(layer, _PADS):
        flat = layer.padding  # the last axis first: left, right, top, bottom
        pairs = [(int(flat[i]), int(flat[i + 1])) for i in range(0, len(flat), 2)]
        return tuple(Window(1, before=before, after=after) for before, after in reversed(pairs))
    if not isinstance(layer, _CONVOLUTIONS + _MAXIMA + _MEANS):
        raise UsageError(f"There is no closed form for a {type(layer).__name__} here; take receptive_fields instead.")
    axes = int(type(layer).__name__[-2])
    kernel, stride = _each(layer.kernel_size, axes), _each(layer.stride, axes)
    dilation = _each(getattr(layer, "dilation", 1), axes)
    if isinstance(layer.padding, str):
        total = [d * (k - 1) if layer.padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
    else:
        total = [2 * p for p in _each(layer.padding, axes)]
    ceil = bool(getattr(layer, "ceil_mode", False))
    return tuple(
        Window(k, s, t // 2, t - t // 2, d, ceil) for k, s, t, d in zip(kernel, stride, total, dilation, strict=True)
    )


def _each(value: int | Sequence[int], axes: int) -> list[int]:
    return [value] * axes if isinstance(value, int) else [int(v) for v in value]


# -- any network ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReceptiveFields:
    """The receptive field of every unit of a layer, as the smallest box around it, cut at the borders of the input.

    Attributes:
        layer: its name.
        input_shape: (channels, …), without the batch.
        begin, end: (axes, *units) the box of each unit, whole numbers; for 2-D maps (2, channels, height, width). Both
            are 0 for a unit that sees nothing: a constant, or one that depends on the input by comparisons alone.
    """

    layer: str
    input_shape: tuple[int, ...]
    begin: Tensor
    end: Tensor

    def box(self, *unit: int) -> tuple[slice, ...]:
        """The field of a unit, as slices of the input's axes behind the channels.

        Args:
            unit: its place in the layer's output without the batch, such as channel, row, column.
        """
        shape = tuple(self.begin.shape[1:])
        if len(unit) != len(shape) or not all(-n <= i < n for i, n in zip(unit, shape, strict=True)):
            raise UsageError(f"There is no unit {unit}; the layer's output has the shape {shape}.")
        pairs = zip(self.begin[(slice(None), *unit)].tolist(), self.end[(slice(None), *unit)].tolist(), strict=True)
        return tuple(slice(begin, end) for begin, end in pairs)

    @property
    def size(self) -> tuple[int, ...]:
        """The largest field of any unit, along each axis."""
        return tuple((self.end - self.begin).flatten(1).amax(1).tolist())


@torch.no_grad()
def receptive_fields(
    model: nn.Module, layer: str | nn.Module | None, input_shape: Sequence[int], *, batch: int = 32
) -> ReceptiveFields:
    """The exact receptive field of every unit of a layer, in any network, whatever its code is.

    An input of 0.1 to 1 with one row of NaN, then the next row, and so on, for every axis: a unit's box reaches from
    the first to the last that makes it NaN. That is as many passes as the input has rows and columns.

    Args:
        model: takes one floating-point tensor, (batch, channels, …). It is left as it was.
        layer: name or module; None for the network's output.
        input_shape: (channels, …) of one input, without the batch.
        batch: inputs of a pass.

    Returns:
        `ReceptiveFields`: what a unit could see with other weights; a weight of 0 counts.

    Raises:
        UsageError: there is no such layer, the shape does not fit, or no unit carries a NaN through.

    Example:
        >>> from carousel.nn import network
        >>> net = network("resnet20", (3, 32, 32), 10)
        >>> found = receptive_fields(net, "layer1.1", (3, 32, 32))
        >>> found.size, found.box(0, 0, 16)
        ((11, 11), (slice(0, 6, None), slice(11, 22, None)))
    """
    tap, shape = Tap(model, layer), _shape(input_shape)
    with tap.looking(), _no_mixing():
        base = _base(tap, shape)
        units = tuple(base.shape[1:])
        begin = torch.zeros(len(shape) - 1, *units, dtype=torch.int32)
        end = begin.clone()
        first = tap.on_device(_input(shape))
        for axis, size in enumerate(shape[1:]):
            for low in range(0, size, batch):
                rows = range(low, min(low + batch, size))
                inputs = first.repeat(len(rows), *[1] * len(shape))
                for number, row in enumerate(rows):
                    inputs[number].select(axis + 1, row).fill_(torch.nan)
                for row, hit in zip(rows, tap(inputs).isnan().cpu(), strict=True):
                    new = hit & (end[axis] == 0)
                    begin[axis][new] = row
                    end[axis][hit] = row + 1
    return ReceptiveFields(tap.name, shape, begin, end)


@torch.no_grad()
def receptive_mask(
    model: nn.Module, layer: str | nn.Module | None, input_shape: Sequence[int], unit: Sequence[int], *, batch: int = 64
) -> Tensor:
    """Exactly which positions of the input a unit sees: the box of `receptive_fields` with its holes.

    Args:
        model, layer, input_shape: as of `receptive_fields`.
        unit: its place in the layer's output without the batch, such as (channel, row, column).
        batch: inputs of a pass; there is an input for each position in the box.

    Returns:
        (…) bool, of the input's shape without the channels.

    Raises:
        UsageError: as of `receptive_fields`, or there is no such unit.

    Example:
        >>> receptive_mask(nn.Conv1d(1, 1, 3, dilation=2), None, (1, 8), (0, 1)).int().tolist()
        [0, 1, 0, 1, 0, 1, 0, 0]
    """
    fields = receptive_fields(model, layer, input_shape, batch=batch)
    box = fields.box(*unit)
    tap, shape = Tap(model, layer), tuple(input_shape)
    places = torch.cartesian_prod(*[torch.arange(s.start, s.stop) for s in box]).reshape(-1, len(box))
    mask = torch.zeros(shape[1:], dtype=torch.bool)
    with tap.looking(), _no_mixing():
        first = tap.on_device(_input(shape))
        for some in places.split(batch):
            inputs = first.repeat(len(some), *[1] * len(shape))
            for number, place in enumerate(some.tolist()):
                inputs[(number, slice(None), *place)] = torch.nan
            hit = tap(inputs)[(slice(None), *unit)].isnan().cpu()
            mask[tuple(some[hit].unbind(1))] = True
    return mask


def _shape(given: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(given, Sequence) or len(given) < 2 or min(given) < 1:
        raise UsageError(f"The input's shape is {given}; expected (channels, height, width), or with other axes.")
    return tuple(given)


def _input(shape: tuple[int, ...]) -> Tensor:
    """Nothing special: no zeros, not all alike."""
    return torch.linspace(0.1, 1, max(prod(shape), 1)).reshape(1, *shape)


def _base(tap: Tap, shape: tuple[int, ...]) -> Tensor:
    """The layer's output for an input without NaN, checked."""
    first = tap.on_device(_input(shape))
    base = tap(first)
    if base.ndim < 2 or len(base) != 1:
        raise UsageError(f"The layer gives the shape {tuple(base.shape)} for one input; expected (1, channels, …).")
    if base.isnan().any():
        raise UsageError("The layer gives NaN for an ordinary input: its weights or statistics are not finite.")
    if not tap(torch.full_like(first, torch.nan)).isnan().any():
        raise UsageError(
            "No unit of the layer becomes NaN with its input: it depends on it by comparisons alone, or not at all. "
            "Look at the layer before."
        )
    return base


@contextlib.contextmanager
def _no_mixing() -> Iterator[None]:
    """Kernels that compute each output from its own window alone."""
    libraries: list[Any] = [torch.backends.mkldnn, torch.backends.cudnn]
    before = [library.enabled for library in libraries]
    try:
        for library in libraries:
            library.enabled = False
        with torch.backends.nnpack.flags(enabled=False):
            yield
    finally:
        for library, enabled in zip(libraries, before, strict=True):
            library.enabled = enabled
