"""`Recurrent`: any cell through time, layers and directions."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from ..cells.base import Cell
from ..engine import BACKENDS, Result, Sequence, choose, explain
from ..errors import CellError
from .layout import State, check_input, pack_state, unpack_state
from .trajectory import Trajectory, reverse_time

__all__ = ["Recurrent"]


class Recurrent(nn.Module):
    r"""Run a cell over sequences, in one or more layers, in one or both directions.

    For layer l and step t: (y_t^l, s_t^l) = step(y_t^{l-1}, s_{t-1}^l) with y^0 = x. With `bidirectional`, a second
    cell runs from the last step to the first and the outputs are joined. With `skip`, every layer sees the input too,
    and the output joins all layers' outputs (Graves 2013, fig. 1).

    Args:
        cell_class: a subclass of `carousel.Cell`; or a list of cell instances, layer by layer (forward before backward
            where `bidirectional`), then without the sizes.
        input_size: features per step; (time, batch, input_size) is the input.
        hidden_size: the size every cell gets.
        num_layers: how many layers.
        bidirectional: run every layer in both directions.
        batch_first: input and output are (batch, time, ·). States keep their layout, as in PyTorch.
        dropout: probability that an element of a layer's output is dropped on its way to the next layer.
        skip: connect the input to every layer and every layer to the output.
        backend: "auto" (the fastest that can), "reference" (the plain loop), "torch" (PyTorch's own kernels), "cpu"
            (compiled code).
        recompute: on compiled code, keep the states of every n-th step only and compute the steps between them again in
            the backward pass: less memory for long sequences, about a third more time. 0 keeps everything.
        cell_options: given to every cell.

    Raises:
        CellError: the sizes of a list of cells don't fit, or an option is unknown.

    Example:
        >>> import carousel, torch
        >>> layer = carousel.nn.Recurrent(carousel.cells.GRU, 8, 16, num_layers=2, bidirectional=True)
        >>> output, (h,) = layer(torch.randn(10, 3, 8))
        >>> output.shape, h.shape
        (torch.Size([10, 3, 32]), torch.Size([4, 3, 16]))
    """

    def __init__(
        self,
        cell_class: type[Cell] | Iterable[Cell],
        input_size: int | None = None,
        hidden_size: int | None = None,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        batch_first: bool = False,
        dropout: float = 0.0,
        skip: bool = False,
        backend: str = "auto",
        recompute: int = 0,
        **cell_options: Any,
    ):
        super().__init__()
        if not isinstance(recompute, int) or recompute < 0:
            raise CellError(f"Recurrent got recompute={recompute!r}; give a whole number of steps, 0 for none.")
        if not 0 <= dropout <= 1:
            raise CellError(f"Recurrent got dropout={dropout}; it is a probability from 0 to 1.")
        if backend not in BACKENDS:
            raise CellError(f"There is no backend {backend!r}; the backends are {', '.join(BACKENDS)}.")
        self.directions = 2 if bidirectional else 1
        self.batch_first, self.dropout, self.skip, self.backend = batch_first, dropout, skip, backend
        self.recompute = recompute
        if isinstance(cell_class, Cell | str):
            fix = f"[{type(cell_class).__name__}(…)]" if isinstance(cell_class, Cell) else "carousel.cells.LSTM, 8, 16"
            raise CellError(f"Recurrent got {cell_class!r}; give a class or a list of cells, as Recurrent({fix}).")
        if isinstance(cell_class, type):
            if input_size is None or hidden_size is None:
                raise CellError(f"Recurrent({cell_class.__name__}, …) needs input_size and hidden_size.")
            cells = self._build(cell_class, input_size, hidden_size, num_layers, cell_options)
        else:
            cells = list(cell_class)
            if input_size is not None or hidden_size is not None or num_layers != 1 or cell_options:
                raise CellError(
                    "Recurrent got a list of cells and sizes, num_layers or options; the cells already have them."
                )
        self._check(cells)
        self.cells = nn.ModuleList(cells)
        self.num_layers = len(cells) // self.directions
        self.input_size = cells[0].input_size
        widths = [sum(c.output_size for c in layer) for layer in self._by_layer(cells)]
        self.output_size = sum(widths) if skip else widths[-1]

    def _build(self, cell_class: type[Cell], input_size: int, hidden_size: int, num_layers: int, options: dict) -> list:
        if not issubclass(cell_class, Cell):
            raise CellError(f"Recurrent got {cell_class.__name__}, which is not a subclass of carousel.Cell.")
        if not isinstance(num_layers, int) or num_layers < 1:
            raise CellError(f"Recurrent got num_layers={num_layers}; give a whole number of at least 1.")
        known = inspect.signature(cell_class).parameters
        unknown = [name for name in options if name not in known]
        if unknown and all(p.kind is not p.VAR_KEYWORD for p in known.values()):
            raise CellError(
                f"{cell_class.__name__} has no option {', '.join(unknown)}; it has {', '.join([*known][2:]) or 'none'}."
            )
        cells: list[Cell] = []
        width = input_size
        for _ in range(num_layers):
            layer = [cell_class(width, hidden_size, **options) for _ in range(self.directions)]
            width = sum(c.output_size for c in layer) + (input_size if self.skip else 0)
            cells += layer
        return cells

    def _check(self, cells: list[Cell]) -> None:
        if not cells or len(cells) % self.directions:
            raise CellError(f"Recurrent got {len(cells)} cells; give one per layer and direction.")
        for cell in cells:
            if not isinstance(cell, Cell):
                raise CellError(f"Recurrent got a {type(cell).__name__} among the cells; each must be a carousel.Cell.")
            _ = cell.taps
        first = cells[0].input_size
        expected = first
        for number, layer in enumerate(self._by_layer(cells)):
            for cell in layer:
                if cell.input_size != expected:
                    raise CellError(
                        f"Layer {number} ({type(cell).__name__}) has input_size {cell.input_size}, but what it is "
                        f"given has {expected} features."
                    )
            expected = sum(c.output_size for c in layer) + (first if self.skip else 0)

    def _bound_cells(self) -> list[Cell]:
        """The cells with the parameters to use now; subclasses that own the parameters bind them here."""
        return list(self.cells)  # pyright: ignore[reportReturnType]

    def _by_layer(self, cells: list[Cell]) -> list[tuple[Cell, ...]]:
        return list(zip(*[iter(cells)] * self.directions, strict=True))

    def forward(
        self,
        x: Tensor | PackedSequence,
        state: State = None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
        generator: torch.Generator | None = None,
        trajectory: bool = False,
    ) -> Any:
        """Run over `x`.

        Args:
            x: (time, batch, input_size), or (batch, time, ·) with `batch_first`, or (time, input_size) for a single
                sequence, or a `PackedSequence`.
            state: where to start, in the layout of the returned state; None for the cells' initial state.
            lengths: (batch,) whole numbers, steps of each sequence; outputs beyond are zero, and the state is the one
                at the sequence's own end.
            reset: (time, batch) bool (or (batch, time) with `batch_first`): a new sequence begins at this step, the
                initial state is put in before it. The backward direction resets where it leaves that sequence.
            generator: random numbers for cells that draw some.
            trajectory: also return the states of every step, and after `backward()` the total gradient of each.

        Returns:
            `(output, state)`, or `(output, state, trajectory)`; the output is packed if `x` was.

        Raises:
            CellError: a shape does not fit; the message names both shapes.
        """
        packed = x if isinstance(x, PackedSequence) else None
        if packed is not None:
            if lengths is not None or reset is not None:
                raise CellError(
                    "A PackedSequence carries its lengths and has no resets; leave out lengths= and reset=."
                )
            x, lengths = pad_packed_sequence(packed)
            lengths = lengths.to(x.device)
        single = isinstance(x, Tensor) and x.ndim == 2
        turned = self.batch_first and packed is None and not single
        dims = ("time",) if single else ("batch", "time") if turned else ("time", "batch")
        cells = self._bound_cells()
        check_input(x, dims, self.input_size, lengths, reset, _a_parameter(cells))
        assert isinstance(x, Tensor)
        if single:
            x, reset = x.unsqueeze(1), None if reset is None else reset.unsqueeze(1)
        elif turned:
            x, reset = x.transpose(0, 1), None if reset is None else reset.transpose(0, 1)
        states = [None] * len(cells) if state is None else unpack_state(state, cells, x, single=single)

        signal, outputs, finals, records = x, [], [], []
        for number, layer in enumerate(self._by_layer(cells)):
            if number:
                signal = F.dropout(outputs[-1], self.dropout, self.training)
                signal = torch.cat([signal, x], dim=-1) if self.skip else signal
            directions = []
            for cell, backward in zip(layer, (False, True), strict=False):
                sequence = Sequence(signal, states[len(finals)], lengths, reset, generator, trajectory, self.recompute)
                run = _run_untraced if "torch._dynamo" in sys.modules else _run
                result = run(self.backend, cell, sequence, backward=backward)
                directions.append(result.output)
                finals.append(result.state)
                records.append((cell, result.steps, lengths, backward))
            outputs.append(torch.cat(directions, dim=-1) if len(directions) > 1 else directions[0])

        output = torch.cat(outputs, dim=-1) if self.skip else outputs[-1]
        if packed is not None:
            output = _pack_like(packed, output)
        elif single:
            output = output.squeeze(1)
        elif turned:
            output = output.transpose(0, 1)
        final = pack_state(finals, cells, single=single)
        return (output, final, Trajectory(records, self.directions)) if trajectory else (output, final)

    def explain(self, stages: tuple[str, ...] = ("summary", "analysis", "backward", "schedule")) -> str:
        """What the compiler makes of each cell, stage by stage; `carousel.engine.STAGES` are "summary", "capture" …

        Example:
            >>> import carousel
            >>> print(carousel.nn.Recurrent(carousel.cells.LSTM, 8, 16).explain(("summary",)).splitlines()[0])
            LSTM(8, 16), float32
        """
        return "\n\n".join(explain(cell, stages) for cell in self._bound_cells())

    def extra_repr(self) -> str:
        options = {"skip": self.skip, "batch_first": self.batch_first}
        parts = [f"{name}=True" for name, on in options.items() if on]
        parts += [f"dropout={self.dropout}"] if self.dropout else []
        return ", ".join([f"layers={self.num_layers}", f"directions={self.directions}", *parts])


def _a_parameter(cells: list[Cell]) -> Tensor | None:
    own = (p for cell in cells for p in cell._parameters.values() if p is not None)
    first = next(own, None)
    return next((p for cell in cells for p in cell.parameters()), None) if first is None else first


def _run(backend: str, cell: Cell, sequence: Sequence, *, backward: bool) -> Result:
    if not backward:
        return choose(backend, cell, sequence)(cell, sequence)
    turned = replace(
        sequence,
        x=reverse_time(sequence.x, sequence.lengths),
        reset=None if sequence.reset is None else _reverse_reset(sequence.reset, sequence.lengths),
    )
    result = choose(backend, cell, turned)(cell, turned)
    return replace(result, output=reverse_time(result.output, sequence.lengths))


_run_untraced: Any = _disable_dynamo(_run)
"""For `torch.compile`, which leaves its graph here and goes on behind it; else it would trace the engine's own code."""


def _reverse_reset(reset: Tensor, lengths: Tensor | None) -> Tensor:
    """Where step t begins a new sequence, the way back resets before step t - 1."""
    before_next = torch.cat([reset[1:], torch.zeros_like(reset[:1])])
    if lengths is not None:
        inside = torch.arange(1, len(reset) + 1, device=reset.device).unsqueeze(1) < lengths
        before_next = before_next & inside
    return reverse_time(before_next, lengths)


def _pack_like(packed: PackedSequence, padded: Tensor) -> PackedSequence:
    if packed.sorted_indices is not None:
        padded = padded[:, packed.sorted_indices]
    rows = torch.cat([padded[t, :n] for t, n in enumerate(packed.batch_sizes.tolist())])
    return PackedSequence(rows, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
