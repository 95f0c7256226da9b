"""PyTorch's own kernels (ATen, oneDNN, cuDNN) for the cells that they have."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ..cells.base import AtenForm, Cell
from .sequence import Result, Sequence, start_state, state_before

__all__ = ["aten_obstacle", "run_aten"]

_KERNELS = {"lstm": torch.lstm, "gru": torch.gru, "rnn_tanh": torch.rnn_tanh, "rnn_relu": torch.rnn_relu}


def aten_obstacle(cell: Cell, sequence: Sequence) -> str | None:
    """Why ATen can't run this, in words; None when it can."""
    if cell.aten() is None:
        return f"PyTorch has no kernel for {type(cell).__name__} with these options"
    if not issubclass(_definer(cell, "aten"), _definer(cell, "step")):
        return f"{type(cell).__name__} has a step() of its own"
    if hasattr(cell, "begin"):
        return f"{type(cell).__name__} defines begin()"
    if torch._C._are_functorch_transforms_active():
        return "PyTorch's kernels do not go through torch.func's transforms"
    if sequence.record:
        return "PyTorch's kernels do not show the states of every step"
    if sequence.lengths is not None and (sequence.reset is not None or int(sequence.lengths.min()) == 0):
        return "PyTorch's kernels take neither resets together with lengths nor sequences of length 0"
    return None


def _definer(cell: Cell, method: str) -> type:
    return next(base for base in type(cell).__mro__ if method in vars(base))


def run_aten(cell: Cell, sequence: Sequence) -> Result:
    """Run the cell's `aten()` form. Resets cut the sequence into pieces, lengths pack it."""
    form = cell.aten()
    assert form is not None
    if sequence.lengths is not None:
        return _packed(form, cell, sequence)
    if sequence.reset is None:
        output, state = _call(form, sequence.x, None, state_before(cell, sequence))
        return Result(output, state)
    batch = sequence.x.shape[1]
    initial = start_state(cell, batch, dtype=sequence.x.dtype, device=sequence.x.device)
    cuts = sequence.reset.any(1).nonzero().flatten().tolist()
    outputs, state, position = [], state_before(cell, sequence), 0
    for cut in [*cuts, sequence.x.shape[0]]:
        if cut > position:
            output, state = _call(form, sequence.x[position:cut], None, state)
            outputs.append(output)
        if cut < sequence.x.shape[0]:
            mask = sequence.reset[cut].unsqueeze(1)
            state = tuple(torch.where(mask, i, s) for i, s in zip(initial, state, strict=True))
        position = cut
    return Result(torch.cat(outputs), state)


def _packed(form: AtenForm, cell: Cell, sequence: Sequence) -> Result:
    assert sequence.lengths is not None
    packed = pack_padded_sequence(sequence.x, sequence.lengths.cpu(), enforce_sorted=False)
    state = state_before(cell, sequence)
    order, back = packed.sorted_indices, packed.unsorted_indices
    data, state = _call(form, packed.data, packed.batch_sizes, tuple(s[order] for s in state))
    output, _ = pad_packed_sequence(packed._replace(data=data), total_length=sequence.x.shape[0])
    return Result(output, tuple(s[back] for s in state))


def _call(
    form: AtenForm, x: Tensor, batch_sizes: Tensor | None, state: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    states = [s.unsqueeze(0) for s in state]
    hx = states if form.kind == "lstm" else states[0]
    one_layer = (form.has_biases, 1, 0.0, torch.is_grad_enabled(), False)
    kernel = _KERNELS[form.kind]
    if batch_sizes is None:
        output, *final = kernel(x, hx, list(form.weights), *one_layer, False)
    else:
        output, *final = kernel(x, batch_sizes, hx, list(form.weights), *one_layer)
    return output, tuple(s.squeeze(0) for s in final)
