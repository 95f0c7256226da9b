r"""Any recurrent network as one map :math:`s_t = F(s_{t-1}, x_t)` from a flat state to the next.

What looks inside (dynamics, gradients through time) asks for nothing else, so that a cell, a deep layer, one of
PyTorch's own layers, whose kernels let nobody in, and a function written by hand are all the same to it.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ..cells import gru, lstm, rnn
from ..cells.base import Cell
from ..errors import UsageError
from ..nn import GRU, LSTM, RNN, Recurrent

__all__ = ["Part", "Recurrence", "evaluating", "layers_of", "like", "recurrence"]

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

LAYERS = {nn.LSTM: LSTM, nn.GRU: GRU, nn.RNN: RNN}
CELLS = {nn.LSTMCell: lstm.LSTM, nn.GRUCell: gru.GRU, nn.RNNCell: rnn.RNN}


@dataclass(frozen=True)
class Part:
    """Some of the numbers of a flat state: `state[..., begin:end]` is what the network calls `name`."""

    name: str
    begin: int
    end: int


class Recurrence:
    r"""A recurrent network as :math:`(y_t, s_t) = F(x_t, s_{t-1})` on flat states; made by `recurrence`.

    Attributes:
        size: numbers of a state: of all layers, all their states, and the past values that delays keep.
        input_size: features of a step's input; 0 where there is none.
        parts: what they are, in their order: "h" and "c" of an LSTM, "h of layer 2" of a deep network, "h[t-3]" where
            a cell looks back three steps.
        dtype, device: of states and inputs.
        cells: of each layer, the first at the input; empty for a function.
    """

    def __init__(
        self,
        step: Step,
        size: int,
        input_size: int,
        parts: Sequence[Part],
        start: Callable[[int], Tensor],
        like: Tensor,
        cells: Sequence[Cell] = (),
    ):
        self._step, self._start = step, start
        self.cells = tuple(cells)
        self.size, self.input_size, self.parts = size, input_size, tuple(parts)
        self.dtype, self.device = like.dtype, like.device

    def start(self, batch: int = 1) -> Tensor:
        """The state before the first step, (batch, size)."""
        return self._start(batch)

    def step(self, state: Tensor, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The next state and the output.

        Args:
            state: (batch, size), or (size,).
            x: (batch, input_size), or (input_size,); None for zeros.

        Returns:
            (batch, size) and (batch, outputs), or both without the batch.
        """
        if x is None:
            x = state.new_zeros(*state.shape[:-1], self.input_size)
        if state.ndim == 1:
            new, output = self._step(state.unsqueeze(0), x.unsqueeze(0))
            return new.squeeze(0), output.squeeze(0)
        return self._step(state, x)

    def run(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All states and outputs.

        Args:
            inputs: (time, batch, input_size), or (time, input_size) for one sequence.
            state: before the first step, (batch, size); None for the network's own.

        Returns:
            (time + 1, batch, size), the state before the first step first, and (time, batch, outputs); without the
            batch for one sequence.
        """
        single = inputs.ndim == 2
        inputs = self.checked(inputs.unsqueeze(1) if single else inputs)
        state = self.start(inputs.shape[1]) if state is None else state.reshape(inputs.shape[1], self.size)
        states, outputs = [state], []
        for x in inputs.unbind(0):
            state, output = self.step(state, x)
            states.append(state)
            outputs.append(output)
        found = torch.stack(states), torch.stack(outputs)
        return (found[0].squeeze(1), found[1].squeeze(1)) if single else found

    def part(self, name: str | None) -> slice:
        """Where the numbers of that name are in a state; all of them for None.

        Raises:
            UsageError: there is no such part.
        """
        if name is None:
            return slice(0, self.size)
        for part in self.parts:
            if part.name == name:
                return slice(part.begin, part.end)
        raise UsageError(f"The state has no part {name!r}; it has {', '.join(repr(p.name) for p in self.parts)}.")

    def checked(self, inputs: Tensor) -> Tensor:
        """The inputs as the network takes them.

        Raises:
            UsageError: their number of features is another.
        """
        if inputs.ndim not in (2, 3) or inputs.shape[-1] != self.input_size or not len(inputs):
            raise UsageError(
                f"The inputs have the shape {tuple(inputs.shape)}; expected (time, {self.input_size}) for one, "
                f"or (time, batch, {self.input_size})."
            )
        return inputs.to(self.device, self.dtype)


def recurrence(
    network: Any, *, size: int | None = None, input_size: int = 0, dtype: torch.dtype = torch.float64
) -> Recurrence:
    """A recurrent network, or a function, as one map of flat states. Dropout and noise are off, as in `eval()`.

    Args:
        network: a `carousel.Cell`; a `carousel.nn.Recurrent` in one direction; `torch.nn`'s `LSTM`, `GRU`, `RNN` or
            their cells; a network with exactly one of these inside, whose inputs then are those of that layer; or a
            function of a state (batch, size), and of an input (batch, input_size) if it takes one, that gives the next
            state, or the pair of output and next state.
        size: numbers of the state, where `network` is a function.
        input_size: features of its input; 0 where there is none.
        dtype: of its states.

    Returns:
        What `dynamics`, `through_time` and the rest of `carousel.inspect` work on; parameters are shared, not copied.

    Raises:
        UsageError: there is no recurrence in it, more than one, or one that runs in both directions.

    Example:
        >>> import carousel
        >>> system = recurrence(torch.nn.LSTM(3, 4, num_layers=2))
        >>> system.size, [part.name for part in system.parts]
        (16, ['h of layer 1', 'c of layer 1', 'h of layer 2', 'c of layer 2'])
        >>> logistic = recurrence(lambda s: 4 * s * (1 - s), size=1)
        >>> logistic.step(torch.tensor([0.25]))[0]
        tensor([0.7500])
    """
    if isinstance(network, Recurrence):
        return network
    if isinstance(network, nn.Module):
        return _of_cells(layers_of(network))
    if not callable(network):
        raise UsageError(f"There is no recurrence in a {type(network).__name__}; give a recurrent layer or a function.")
    if size is None or size < 1:
        raise UsageError("Of a function the size of its state must be told: recurrence(f, size=2).")
    return _of_function(network, size, input_size, dtype)


def like(layer: nn.Module) -> Recurrent:
    """One of PyTorch's recurrent layers as one of Carousel's, which lets itself be looked into; weights are shared."""
    ours = LAYERS[next(kind for kind in LAYERS if isinstance(layer, kind))]
    options: dict[str, Any] = {name: getattr(layer, name) for name in ("num_layers", "bias", "batch_first", "dropout")}
    options["bidirectional"] = layer.bidirectional
    if isinstance(layer, nn.LSTM):
        options["proj_size"] = layer.proj_size
    if isinstance(layer, nn.RNN):
        options["nonlinearity"] = layer.nonlinearity
    with _generator_kept():
        made = ours(layer.input_size, layer.hidden_size, **options)  # pyright: ignore[reportArgumentType]
    for name in [name for name, _ in made.named_parameters()]:
        made._parameters[name] = layer.get_parameter(name)
    made.training = layer.training
    return made


def layers_of(network: nn.Module) -> list[Cell]:
    """The cells of the only recurrence in a network, from the input on."""
    if isinstance(network, Cell):
        return [network]
    if isinstance(network, tuple(CELLS)):
        return [_cell_like(network)]
    kinds = (Recurrent, nn.RNNBase, nn.RNNCellBase, Cell)
    found = {name: module for name, module in network.named_modules() if isinstance(module, kinds)}
    outer = [n for n in found if not any(n != other and (not other or n.startswith(f"{other}.")) for other in found)]
    if not outer:
        raise UsageError(f"There is no recurrent layer in {type(network).__name__}; give one, or a function.")
    if len(outer) > 1:
        raise UsageError(
            f"{type(network).__name__} has {len(outer)} recurrent layers, {', '.join(outer[:5])}; give one of them."
        )
    layer = found[outer[0]]
    if isinstance(layer, Cell | nn.RNNCellBase):
        return layers_of(layer)
    layer = layer if isinstance(layer, Recurrent) else like(layer)
    if layer.directions > 1:
        raise UsageError(
            "A bidirectional layer has no state from which its outputs follow step by step; give one in one direction."
        )
    if layer.skip and layer.num_layers > 1:
        raise UsageError("A layer with skip=True joins layers with its input; give a single layer of it.")
    return layer._bound_cells()


def _cell_like(cell: nn.Module) -> Cell:
    """One of PyTorch's cells as one of Carousel's, with its weights."""
    kind = next(kind for kind in CELLS if isinstance(cell, kind))
    options: dict[str, Any] = {"bias": cell.bias}
    if isinstance(cell, nn.RNNCell):
        options["activation"] = cell.nonlinearity
    with _generator_kept():
        made = CELLS[kind](cell.input_size, cell.hidden_size, **options)  # pyright: ignore[reportArgumentType]
    for name in [name for name, _ in made.named_parameters()]:
        made._parameters[name] = cell.get_parameter(name)
    return made


def _of_cells(cells: list[Cell]) -> Recurrence:
    """The cells of a layer each, one above the other."""
    first = next((p for cell in cells for p in cell.parameters()), torch.zeros(()))
    parts: list[Part] = []
    places: list[list[tuple[int, int, tuple[int, ...]]]] = []  # per cell and state: begin, depth (0: no line), shape
    end = 0
    for number, cell in enumerate(cells, 1):
        of = f" of layer {number}" if len(cells) > 1 else ""
        own = []
        for name, shape in cell.state_shapes.items():
            depth = max(cell.taps[name]) if name in cell.delays else 0
            own.append((end, depth, shape))
            for back in range(max(depth, 1)):
                parts.append(Part(f"{name}{f'[t-{back}]' if back else ''}{of}", end, end + prod(shape)))
                end += prod(shape)
        places.append(own)

    def step(state: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        batch, new = len(state), []
        signal = x
        for cell, own in zip(cells, places, strict=True):
            lines = [
                [state[:, begin + i * prod(shape) : begin + (i + 1) * prod(shape)].reshape(batch, *shape)
                 for i in range(max(depth, 1))]
                for begin, depth, shape in own
            ]  # fmt: skip
            seen = tuple(
                tuple(line[tap - 1] for tap in taps) if depth else line[0]
                for line, taps, (_, depth, _) in zip(lines, cell.taps.values(), own, strict=True)
            )
            with evaluating(cell):
                signal, made = cell.step(signal, seen, *_extra(cell))
            new += [one.reshape(batch, -1) for line, n in zip(lines, made, strict=True) for one in (n, *line[:-1])]
        return torch.cat(new, -1), signal

    def start(batch: int) -> Tensor:
        flat = []
        for cell, own in zip(cells, places, strict=True):
            values = cell.initial_state(batch, dtype=first.dtype, device=first.device)
            for value, (_, depth, _) in zip(values, own, strict=True):
                flat += [value.reshape(batch, -1)] * max(depth, 1)
        return torch.cat(flat, -1).detach()

    return Recurrence(step, end, cells[0].input_size, parts, start, first, cells)


def _of_function(function: Callable[..., Any], size: int, input_size: int, dtype: torch.dtype) -> Recurrence:
    takes = [
        p for p in inspect.signature(function).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]  # fmt: skip
    like = torch.zeros((), dtype=dtype)

    def step(state: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        made = function(state) if len(takes) < 2 else function(state, x)
        output, new = made if isinstance(made, tuple) else (made, made)
        if new.shape != state.shape:
            raise UsageError(
                f"The function gave a state of {tuple(new.shape)} for one of {tuple(state.shape)}; it must work on "
                "batches, (batch, size), and give the same shape."
            )
        return new, output

    def start(batch: int) -> Tensor:
        return torch.zeros(batch, size, dtype=dtype)

    return Recurrence(step, size, input_size, [Part("s", 0, size)], start, like)


def _extra(cell: Cell) -> tuple[dict[str, Tensor], ...]:
    """What a cell with `begin` is given besides input and state, for a sequence of one step."""
    begin = getattr(cell, "begin", None)
    if begin is None:
        return ()
    constants, per_step = begin(1, 1, torch.Generator().manual_seed(0))
    return ({**constants, **{name: value[0] for name, value in per_step.items()}},)


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a moment, without a trace."""
    flags = [(part, part.training) for part in module.modules()]
    try:
        for part, _ in flags:
            part.__dict__["training"] = False
        yield
    finally:
        for part, flag in flags:
            part.__dict__["training"] = flag


@contextlib.contextmanager
def _generator_kept() -> Iterator[None]:
    """Building a layer draws weights; the caller's random numbers are not to change by that."""
    with torch.random.fork_rng(devices=[]):
        yield
