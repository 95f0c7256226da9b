"""Recomputation: the same gradients from the states of every n-th step, in less memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from carousel.cells import GRU, LSTM, MultiTapRNN
from carousel.engine import pool
from carousel.errors import CellError
from carousel.nn import Recurrent


@pytest.mark.parametrize("steps", [1, 4, 7, 50])
@pytest.mark.parametrize(("cell", "options"), [(LSTM, {"peephole": True}), (GRU, {}), (MultiTapRNN, {})])
def test_same_numbers(cell: Any, options: dict[str, Any], steps: int) -> None:
    x = torch.randn(23, 3, 5, dtype=torch.float64)
    reset = torch.rand(23, 3) < 0.1
    results = []
    for n in (0, steps):
        torch.manual_seed(1)
        layer = Recurrent(cell, 5, 6, 2, backend="cpu", recompute=n, **options).double()
        given = x.clone().requires_grad_()
        output, state = layer(given, lengths=torch.tensor([23, 9, 1]), reset=reset)
        (output.square().sum() + sum(s.sum() for s in state)).backward()
        results.append([output, *state, given.grad, *(p.grad for p in layer.parameters())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


def test_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the engine takes for both passes, outputs included, where the loss sees the last state."""
    peaks = []
    for n in (0, 64):
        monkeypatch.setattr(pool, "_POOL", fresh := pool.Pool())
        layer = Recurrent(LSTM, 16, 64, backend="cpu", recompute=n)
        _, (h, _) = layer(torch.randn(4096, 4, 16))
        h.sum().backward()
        peaks.append(fresh.most_lent)
    assert peaks[1] < peaks[0] / 4


def test_a_wrong_number_is_refused() -> None:
    with pytest.raises(CellError, match="recompute=-1"):
        Recurrent(LSTM, 3, 4, recompute=-1)
