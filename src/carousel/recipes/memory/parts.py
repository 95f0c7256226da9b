r"""The two tasks, the cells that are tried on them, and what bounds their gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import carousel

UNITS, SYMBOLS, ALPHABET = 32, 3, 4
SOLVED = {"adding": 0.01 / 6, "copy": 0.99}


class NARX(carousel.Cell):
    r"""Only the output is fed back, through several taps (Lin, Horne, Tiňo & Giles 1996).

    .. math:: y_t = \tanh(C \tanh(W x_t + \sum_d V_d y_{t-d} + b) + c)
    """

    def __init__(self, input_size: int, hidden_size: int, *, outputs: int = 8, taps: Sequence[int] = range(1, 11)):
        super().__init__(input_size, hidden_size)
        self.output_size, self.state_sizes, self.delays = outputs, {"y": outputs}, {"y": tuple(taps)}
        self.w, self.b = carousel.weight(hidden_size, input_size), carousel.weight(hidden_size)
        self.v = carousel.weight(hidden_size, len(self.delays["y"]) * outputs)
        self.out, self.c = carousel.weight(outputs, hidden_size), carousel.weight(outputs)

    def step(self, x: Tensor, state: tuple[tuple[Tensor, ...]]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step."""
        back = sum(F.linear(y, v) for y, v in zip(state[0], self.v.chunk(len(state[0]), 1), strict=True))
        y = torch.tanh(F.linear(torch.tanh(F.linear(x, self.w, self.b) + back), self.out, self.c))
        return y, (y,)


CELLS: dict[str, tuple[type[carousel.Cell], dict[str, Any]]] = {
    "vanilla": (carousel.cells.RNN, {}),
    "leaky": (carousel.cells.LeakyRNN, {"time_constant": 20.0}),
    "multi-tap 1, 5, 8": (carousel.cells.MultiTapRNN, {"taps": (1, 5, 8)}),
    "NARX, taps 1 to 10": (NARX, {}),
    "GRU": (carousel.cells.GRU, {}),
    "LSTM, forget bias 0": (carousel.cells.LSTM, {"forget_bias": 0.0}),
    "LSTM, forget bias 1": (carousel.cells.LSTM, {"forget_bias": 1.0}),
    "minGRU": (carousel.cells.MinGRU, {}),
}


def factors(cell: Any) -> dict[int, float]:
    """For each tap d a bound γ_d of ‖∂s_t/∂s_{t-d}‖ at any input; {} for cells without one that says anything."""

    def norm(w: Tensor) -> float:
        return float(torch.linalg.matrix_norm(w.detach(), 2))

    if isinstance(cell, carousel.cells.RNN):
        return {1: norm(cell.weight_hh)}
    if isinstance(cell, carousel.cells.LeakyRNN):
        a = torch.sigmoid(cell.theta.detach())
        return {1: float(a.max()) + norm((1 - a).unsqueeze(1) * cell.wh)}
    if isinstance(cell, carousel.cells.MultiTapRNN):
        taps = cell.taps["h"]
        return {d: norm(u) for d, u in zip(taps, cell.wh.chunk(len(taps), 1), strict=True)}
    if isinstance(cell, NARX):
        taps = cell.taps["y"]
        return {d: norm(cell.out) * norm(v) for d, v in zip(taps, cell.v.chunk(len(taps), 1), strict=True)}
    return {}


def bound(cell: Any, steps: int) -> list[float]:
    """How much larger than at the last step the gradient can be, for steps 1 to `steps`: g_k = Σ_d γ_d g_{k+d}."""
    found, gamma = [1.0], factors(cell)
    while gamma and len(found) < steps:
        found.append(sum(g * found[-d] for d, g in gamma.items() if d <= len(found)))
    return found[::-1] if gamma else []


def adding(lag: int, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(lag, batch, 2) numbers from 0 to 1 and marks, one in the first 10 steps, one in the rest of the first half."""
    x = torch.rand(lag, batch, 2, generator=generator)
    x[..., 1] = 0
    for low, high in ((0, 10), (10, lag // 2)):
        x[torch.randint(low, high, (batch,), generator=generator), torch.arange(batch), 1] = 1
    return x, (x[..., 0] * x[..., 1]).sum(0)


def copying(lag: int, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(steps, batch, ALPHABET + 2): symbols, blanks, a sign to begin, blanks; and the symbols (SYMBOLS, batch)."""
    symbols = torch.randint(ALPHABET, (SYMBOLS, batch), generator=generator)
    ids = torch.full((SYMBOLS + lag + SYMBOLS, batch), ALPHABET)
    ids[:SYMBOLS], ids[SYMBOLS + lag] = symbols, ALPHABET + 1
    return F.one_hot(ids, ALPHABET + 2).float(), symbols


TASKS: dict[str, Callable[[int, int, torch.Generator], tuple[Tensor, Tensor]]] = {"adding": adding, "copy": copying}


class Network(nn.Module):
    """One recurrent layer, and linear outputs from its last steps."""

    def __init__(self, cell: str, task: str):
        super().__init__()
        kind, options = CELLS[cell]
        self.task, inputs, outputs = task, *((2, 1) if task == "adding" else (ALPHABET + 2, ALPHABET))
        self.recurrent = carousel.nn.Recurrent(kind, inputs, UNITS, **options)
        self.out = nn.Linear(self.recurrent.output_size, outputs)

    def loss(self, states: Tensor, target: Tensor) -> Tensor:
        """Mean square, or nats per symbol."""
        if self.task == "adding":
            return F.mse_loss(self.out(states[-1]).squeeze(-1), target)
        return F.cross_entropy(self.out(states[-SYMBOLS:]).flatten(0, 1), target.flatten())

    @torch.no_grad()
    def score(self, x: Tensor, target: Tensor) -> float:
        """Mean square error, or the share of right symbols."""
        states = self.recurrent(x)[0]
        if self.task == "adding":
            return float(self.loss(states, target))
        return float((self.out(states[-SYMBOLS:]).argmax(-1) == target).double().mean())

    def solves(self, score: float) -> bool:
        """Whether it is good enough."""
        return score < SOLVED["adding"] if self.task == "adding" else score > SOLVED["copy"]

    def gradient_norms(self, x: Tensor, target: Tensor) -> list[float]:
        """‖∂L/∂s_t‖ for every step, root mean square over the sequences; s is h, with c in an LSTM, y in a NARX.

        In float64: in float32 what is left after 100 steps may be rounded to zero.
        """
        exact = copy.deepcopy(self).double()
        states, _, trajectory = exact.recurrent(x.double(), trajectory=True)
        exact.loss(states, target.double() if target.is_floating_point() else target).backward()
        cell: Any = exact.recurrent.cells[0]
        squares = sum(trajectory.gradients(name).square().sum(-1).mean(1) for name in cell.state_sizes)
        return torch.as_tensor(squares).sqrt().tolist()
