"""`Trajectory`: every state of a run through time, and the total gradient of each. The supported way to look inside."""

from __future__ import annotations

import torch
from torch import Tensor

from ..cells.base import Cell
from ..errors import CellError

__all__ = ["Trajectory", "reverse_time"]

Steps = list[tuple[Tensor, Tensor]]
Record = tuple[Cell, tuple[Steps, ...] | None, Tensor | None, bool]


class Trajectory:
    r"""States s_t and, after `backward()`, total gradients ∂L/∂s_t (through the output and through all later steps).

    Step t of every method is step t of the input, in the backward direction as well; beyond a sequence's length the
    last state is repeated; its whole gradient stands at the sequence's own last step, zeros beyond.

    Example:
        >>> import carousel, torch
        >>> layer = carousel.nn.Recurrent(carousel.cells.LSTM, 3, 4)
        >>> output, _, trajectory = layer(torch.randn(20, 2, 3), trajectory=True)
        >>> output[-1].sum().backward()
        >>> trajectory.states("c").shape, trajectory.gradients("h").shape
        (torch.Size([20, 2, 4]), torch.Size([20, 2, 4]))
    """

    def __init__(self, records: list[Record], directions: int):
        self._records = records
        self._directions = directions

    @property
    def lengths(self) -> Tensor | None:
        """(batch,) steps of each sequence; None where all have as many as the input."""
        return self._records[0][2]

    @property
    def tensors(self) -> list[Tensor]:
        """Every state of every step, layer and direction as it stands in the graph.

        `torch.autograd.backward(loss, inputs=trajectory.tensors)` computes what `gradients` returns without the
        gradients of the parameters, which over single steps are most of the work.
        """
        return [made for _, states, *_ in self._records for steps in states or () for _, made in steps]

    def states(self, name: str, layer: int = 0, direction: int = 0) -> Tensor:
        """The state `name` after every step, (time, batch, *shape)."""
        steps, lengths, backward = self._find(name, layer, direction)
        return self._in_input_order([state for state, _ in steps], lengths, backward)

    def gradients(self, name: str, layer: int = 0, direction: int = 0) -> Tensor:
        """∂L/∂(state `name`) after every step, (time, batch, *shape); zero where no path leads to the loss.

        Raises:
            CellError: no gradient has arrived; call `backward()` first, on a loss that depends on the output.
        """
        steps, lengths, backward = self._find(name, layer, direction)
        if all(made.grad is None for _, made in steps):
            raise CellError(f"No gradient has reached state {name!r}; call backward() on a loss of the output first.")
        gradients = [torch.zeros_like(made) if made.grad is None else made.grad for _, made in steps]
        return self._in_input_order(gradients, lengths, backward)

    def _find(self, name: str, layer: int, direction: int) -> tuple[Steps, Tensor | None, bool]:
        layers = len(self._records) // self._directions
        if not (0 <= layer < layers and 0 <= direction < self._directions):
            raise CellError(
                f"There is no layer {layer}, direction {direction}; layers 0 to {layers - 1}, directions 0 to "
                f"{self._directions - 1}."
            )
        cell, steps, lengths, backward = self._records[layer * self._directions + direction]
        names = list(cell.state_sizes)
        if name not in names:
            raise CellError(f"{type(cell).__name__} has no state {name!r}; it has {', '.join(names)}.")
        assert steps is not None
        return steps[names.index(name)], lengths, backward

    @staticmethod
    def _in_input_order(steps: list[Tensor], lengths: Tensor | None, backward: bool) -> Tensor:
        stacked = torch.stack(steps)
        return reverse_time(stacked, lengths) if backward else stacked


def reverse_time(x: Tensor, lengths: Tensor | None) -> Tensor:
    """`x` (time, batch, …) with every row's own `lengths` steps in reverse order; what lies beyond stays."""
    if lengths is None:
        return x.flip(0)
    time = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    order = torch.where(time < lengths, lengths - 1 - time, time)
    return x.gather(0, order.view(*order.shape, *[1] * (x.ndim - 2)).expand_as(x))
