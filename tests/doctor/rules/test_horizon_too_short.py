"""Windows, chunks and looks back that end before what matters, and those that are long enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..planted import Run, first_symbol, last_symbol, names, runs, squared


def echo(window: int, lag: int, *, carried: bool = True) -> Callable[[], None]:
    """The bit that came `lag` steps before, in windows of a stream; the state is carried, or empty in each."""

    def train() -> None:
        net, head = nn.RNN(1, 24), nn.Linear(24, 1)
        rule = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=3e-3)
        bits = torch.randint(2, (window * 120 + lag, 16)).float()
        state = None
        for number in range(120):
            x = 2 * bits[lag + number * window : lag + (number + 1) * window].unsqueeze(-1) - 1
            y = bits[number * window : (number + 1) * window]
            out, state = net(x, None if state is None or not carried else state.detach())
            loss = F.binary_cross_entropy_with_logits(head(out).squeeze(-1), y)
            rule.zero_grad()
            loss.backward()
            rule.step()

    return train


def loop(chunk: int, lag: int) -> Callable[[], None]:
    """The same with a cell, in sequences of 40 steps; the state is detached after each chunk."""

    def train() -> None:
        cell, head = nn.GRUCell(1, 24), nn.Linear(24, 1)
        rule = torch.optim.Adam([*cell.parameters(), *head.parameters()], lr=1e-2)
        for _ in range(chunk):
            bits = torch.randint(2, (40, 16, 1)).float()
            state = torch.zeros(16, 24)
            for part in range(0, 40, chunk):
                losses, state = [], state.detach()
                for step in range(part, part + chunk):
                    state = cell(2 * bits[step] - 1, state)
                    if step >= lag:
                        losses.append(F.binary_cross_entropy_with_logits(head(state), bits[step - lag]))
                if losses:
                    rule.zero_grad()
                    torch.stack(losses).mean().backward()
                    rule.step()

    return train


def filtered(window: int, lags: dict[int, float]) -> Callable[[], None]:
    """A weighted sum of earlier inputs of a stream; the state is carried."""

    def train() -> None:
        net, head = nn.GRU(1, 24), nn.Linear(24, 1)
        rule = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=1e-2)
        u, longest, state = torch.randn(window * 200 + max(lags), 16, 1), max(lags), None
        for number in range(200):
            at = torch.arange(window) + longest + number * window
            y = torch.stack([weight * u[at - lag] for lag, weight in lags.items()]).sum(0)
            out, state = net(u[at], None if state is None else state.detach())
            loss = F.mse_loss(head(out), y + 0.05 * torch.randn_like(y))
            rule.zero_grad()
            loss.backward()
            rule.step()

    return train


class Cell(nn.Module):
    """A cell over the steps; its state is detached now and then, or forgotten at each."""

    def __init__(self, *, cut: int = 1000, forgets: bool = False) -> None:
        super().__init__()
        self.cell, self.head, self.cut, self.forgets = nn.GRUCell(3, 32), nn.Linear(32, 3), cut, forgets

    def forward(self, x: Tensor) -> Tensor:
        state, said = x.new_zeros(len(x), 32), []
        for number, step in enumerate(x.unbind(1), 1):
            state = self.cell(step, None if self.forgets else state)
            said.append(state)
            state = state.detach() if number % self.cut == 0 else state
        return self.head(torch.stack(said).mean(0) if self.forgets else said[-1])


def later(steps: int) -> tuple[Tensor, Tensor]:
    """Of two symbols before noise, whether the second is the one that follows the first."""
    a, b = torch.randint(3, (2, 400))
    x = 0.3 * torch.randn(400, steps, 3)
    x[:, 0] += 2.0 * F.one_hot(a, 3)
    x[:, 2] += 2.0 * F.one_hot(b, 3)
    return x, (b - a) % 3


def counted() -> tuple[Tensor, Tensor]:
    """How often the first symbol comes in noise: 0 or 1, or more often, or most often."""
    which = torch.randint(3, (400, 6))
    return 0.3 * torch.randn(400, 6, 3) + F.one_hot(which, 3), ((which == 0).sum(1) // 2).clamp_max(2)


def chunks(size: int, lag: int, *, carried: bool) -> Callable[[], None]:
    """The symbol that came `lag` steps before, by a cell, with one loss for the steps of a chunk."""

    def train() -> None:
        cell, head = nn.GRUCell(3, 32), nn.Linear(32, 3)
        rule = torch.optim.Adam([*cell.parameters(), *head.parameters()], lr=1e-2)
        symbols, state = torch.randint(3, (16, size * 80 + lag)), torch.zeros(16, 32)
        for begin in range(lag, size * 80 + lag, size):
            state, said = state.detach() if carried else torch.zeros(16, 32), []
            for step in range(begin, begin + size):
                state = cell(F.one_hot(symbols[:, step], 3).float(), state)
                said.append(head(state))
            rule.zero_grad()
            F.cross_entropy(torch.stack(said, 2), symbols[:, begin - lag : begin - lag + size]).backward()
            rule.step()

    return train


def forecast(look: int, period: int = 12) -> Run:
    """The next value of a series with a period, from the last ones; in random order."""
    values = torch.randn(period).tolist()
    for step in torch.randn(1500).tolist():
        values.append(0.9 * values[-period] + 0.4 * step)
    rows = torch.tensor(values).unfold(0, look + 1, 1)
    net = nn.Sequential(nn.Linear(look, 32), nn.ReLU(), nn.Linear(32, 1))
    return Run(net, rows[:, :-1], rows[:, -1:], loss=squared, epochs=4)


FAULTS: dict[str, Callable[[], Any]] = {
    "horizon-too-short": lambda: echo(window=4, lag=7),
    "horizon-too-short, inside a loop": lambda: loop(chunk=4, lag=7),
    "horizon-too-short, an empty state": lambda: echo(window=12, lag=7, carried=False),
    "horizon-too-short, an empty state of a cell": lambda: chunks(size=8, lag=5, carried=False),
    "horizon-too-short, detached on its way": lambda: Run(
        Cell(cut=5), *first_symbol(12, count=400), epochs=6, size=20, lr=1e-2
    ),
    "horizon-too-short, an empty state at each step": lambda: Run(
        Cell(forgets=True), *later(6), epochs=8, size=20, lr=1e-2
    ),
    "horizon-too-short, beside what is in the window": lambda: filtered(5, {1: 0.5, 10: 0.8}),
    "horizon-too-short, of samples": lambda: forecast(look=6),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "a window that is long enough": lambda: echo(window=24, lag=3),
    "a state of a cell that is carried": lambda: chunks(size=8, lag=1, carried=True),
    "an empty state that loses little": lambda: echo(window=12, lag=1, carried=False),
    "detached behind what matters": lambda: Run(Cell(cut=5), *last_symbol(10, doubt=0.3), epochs=2, size=20, lr=1e-2),
    "each step by itself": lambda: Run(Cell(forgets=True), *counted(), epochs=8, size=20, lr=1e-2),
    "a window that holds all that matters": lambda: filtered(12, {1: 0.5, 10: 0.8}),
    "a loop that is long enough": lambda: loop(chunk=20, lag=7),
    "a look far enough back": lambda: forecast(look=14),
}


SLOW = (
    "horizon-too-short, an empty state",
    "horizon-too-short, an empty state of a cell",
    "horizon-too-short, detached on its way",
    "horizon-too-short, an empty state at each step",
    "an empty state that loses little",
    "detached behind what matters",
    "each step by itself",
    "a window that holds all that matters",
    "a loop that is long enough",
)
"""Runs that take long."""


@pytest.mark.parametrize("name", names(FAULTS, slow=SLOW))
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", runs(HEALTHY, slow=SLOW))
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
