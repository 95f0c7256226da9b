"""Every cell equals its equations, written out in NumPy, at odd sizes and in both precisions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from carousel.cells import REGISTRY, RNN, PreActivationRNN
from carousel.nn import Recurrent

from . import textbook
from .cases import CASES, SIZES, Case, fill, names, normal
from .helpers import assert_near, random_state

WRITTEN_OUT = [case for case in CASES if case.cell_class in textbook.EQUATIONS]
"""The cells of `user_cells.py` are equations already."""


def test_every_registered_cell_has_its_equations() -> None:
    missing = {entry.cell_class.__name__ for entry in REGISTRY.values()} - {c.__name__ for c in textbook.EQUATIONS}
    assert not missing, f"write the equations of {missing} in tests/contract/textbook.py"


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{str(s[0])[6:]}-batch{s[1]}-hidden{s[2]}-time{s[3]}")
@pytest.mark.parametrize("case", WRITTEN_OUT, ids=names(WRITTEN_OUT))
def test_equals_the_textbook(case: Case, size: tuple[torch.dtype, int, int, int]) -> None:
    dtype, batch, hidden, time = size
    layer = case.layer(5, hidden, dtype=dtype)
    (cell,) = layer.cells
    x = normal(time, batch, cell.input_size, seed=1, dtype=dtype)
    state = random_state(layer, batch, seed=2, dtype=dtype)
    per_step = None
    if case.draws:
        _, drawn = cell.begin(time, batch, torch.Generator().manual_seed(5))
        per_step = {name: v.double().numpy() for name, v in drawn.items()}
    with torch.no_grad():
        output, final = layer(x, state, generator=torch.Generator().manual_seed(5))
    expected, last = textbook.run(cell, x.numpy(), tuple(s[0].detach().double().numpy() for s in state), per_step)
    assert output.dtype == dtype
    # An element is a sum of `hidden + 5` products, and a memory adds one rounding per step: that many roundings, none
    # of which is amplified, as the recurrent matrices are contractions (see `fill`).
    tolerance = (hidden + 5 + time) * torch.finfo(dtype).eps
    assert_near(output, torch.from_numpy(expected), tolerance, "output")
    assert_near([s[0] for s in final], [torch.from_numpy(np.ascontiguousarray(s)) for s in last], tolerance, "state")


@pytest.mark.parametrize("case", [c for c in WRITTEN_OUT if not c.draws], ids=lambda c: c.name)
def test_from_its_own_start(case: Case) -> None:
    layer = case.layer(2, 3)
    (cell,) = layer.cells
    x = normal(10, 4, cell.input_size, seed=1)
    learned = dict(cell.named_parameters()).get("h0")
    state = []
    for name, shape in cell.state_shapes.items():
        first = np.zeros(shape) if learned is None else learned.detach().numpy()
        depth = [max(cell.delays[name])] if name in cell.delays else []
        state.append(np.broadcast_to(first, (*depth, 4, *shape)))  # a delay line is full of the first state
    expected, _ = textbook.run(cell, x.numpy(), tuple(state))
    # Twenty roundings, not amplified; but layer norm divides by the spread of U h, zero at the start: by √1e-5 there.
    tolerance = 20 * 2.2e-16 * (1e5**0.5 if getattr(cell, "layer_norm", False) else 1)
    assert_near(layer(x)[0], torch.from_numpy(expected), tolerance)


def test_preactivation_form_is_the_vanilla_network_in_other_coordinates() -> None:
    theirs, ours = Recurrent(RNN, 3, 5, backend="reference").double(), Recurrent(PreActivationRNN, 3, 5).double()
    fill(theirs)
    ours.load_state_dict(theirs.state_dict())
    x = normal(20, 2, 3, seed=3)
    # tanh(0) = 0, so the zero states correspond; the same sums in another order.
    assert_near(ours(x)[0], theirs(x)[0], 1e-15 * 20)
    assert_near(torch.tanh(ours(x)[1][0]), theirs(x)[1][0], 1e-15 * 20)
