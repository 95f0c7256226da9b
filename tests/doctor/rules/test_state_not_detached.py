"""A state that is kept with its graph, and those that are let go."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from ..planted import codes


@pytest.mark.parametrize(
    ("detach", "update", "found"),
    [(False, True, ["state-not-detached"]), (True, True, []), (False, False, [])],  # the last adds up over one sequence
)
def test_a_state_that_is_kept_with_its_graph(detach: bool, update: bool, found: list[str], findings: Callable) -> None:
    def train() -> None:
        cell, state = nn.RNNCell(4, 8), torch.zeros(2, 8)
        for _ in range(20):
            state = cell(torch.randn(2, 4), state.detach() if detach else state)
            state.square().mean().backward(retain_graph=True)
            for p in cell.parameters() if update else ():
                assert p.grad is not None
                p.data.add_(p.grad, alpha=-0.01)
                p.grad = None

    assert codes(findings(train)) == found


@pytest.mark.parametrize(
    ("how", "found"), [("kept", ["state-not-detached"]), ("detached", []), ("one pass", []), ("two losses", [])]
)
def test_a_state_that_is_kept_within_an_update(how: str, found: list[str], findings: Callable) -> None:
    def train() -> None:
        cell = nn.RNNCell(4, 8)
        rule = torch.optim.Adam(cell.parameters(), lr=1e-3)
        for _ in range(4):
            rule.zero_grad()
            state, losses = torch.zeros(2, 8), []
            for _ in range(12):
                state = cell(torch.randn(2, 4), state.detach() if how == "detached" else state)
                losses.append((state - 1).square().mean())
                if how == "two losses":  # of one graph
                    state.sum().backward(retain_graph=True)
                    losses[-1].backward()
                    state = state.detach()
                elif how != "one pass":
                    losses[-1].backward(retain_graph=True)
            if how == "one pass":
                torch.stack(losses).sum().backward()
            rule.step()

    assert codes(findings(train)) == found
