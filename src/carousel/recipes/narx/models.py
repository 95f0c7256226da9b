r"""The series, the networks as cells, and their errors."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

import carousel

UNITS = 12


class Series(NamedTuple):
    """Inputs (time, inputs) and output (time, 1), standardized by the training part."""

    u: Tensor
    y: Tensor
    parts: dict[str, slice]
    scale: float
    """Of the output: what an error of one stands for."""

    def lagged(self, order: int, part: str) -> tuple[Tensor, Tensor, Tensor]:
        """Of every step of a part but the first `order`: u_{t-order} … u_t, y_{t-1} … y_{t-order}, and y_t."""
        u, y = self.u[self.parts[part]], self.y[self.parts[part]]
        past = y[:-1, 0].unfold(0, order, 1).flip(1)
        return u.unfold(0, order + 1, 1).flatten(1), past, y[order:]


def read(files: list[Path], inputs: list[str], output: str, parts: Callable[[list[int]], dict[str, slice]]) -> Series:
    """Files one after another; `parts` gets their lengths."""
    rows, lengths = [], []
    for file in files:
        with file.open(newline="", encoding="utf-8") as lines:
            found = [[float(row[name]) for name in (*inputs, output)] for row in csv.DictReader(lines)]
        rows += found
        lengths.append(len(found))
    table, cut = torch.tensor(rows, dtype=torch.float64), parts(lengths)
    known = table[cut["train"]]
    table = ((table - known.mean(0)) / known.std(0)).float()
    return Series(table[:, :-1], table[:, -1:], cut, float(known[:, -1].std()))


class NARX(carousel.Cell):
    r"""ŷ_t = A z_t + B tanh(W z_t + b), z_t = (u_{t-n} … u_t, ŷ_{t-1} … ŷ_{t-n}): past outputs are its own.

    Given the true past outputs instead, it is the series-parallel form (`one_step`).
    """

    def __init__(self, input_size: int, order: int, *, units: int = UNITS):
        super().__init__(input_size, units)
        self.output_size, self.state_sizes = 1, {"y": 1}
        self.delays = {"y": tuple(range(1, order + 1))}
        self.a = carousel.weight(1, input_size + order, init="zeros")
        self.w, self.b = carousel.weight(units, input_size + order), carousel.weight(units)
        self.out = carousel.weight(1, units, init="zeros")

    def one_step(self, x: Tensor, past: Tensor) -> Tensor:
        """ŷ_t, given the inputs and the past outputs, newest first."""
        z = torch.cat([x, past], -1)
        return z @ self.a.T + torch.tanh(z @ self.w.T + self.b) @ self.out.T

    def step(self, x: Tensor, state: tuple[tuple[Tensor, ...]]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step of the parallel form."""
        y = self.one_step(x, torch.cat(state[0], -1))
        return y, (y,)


class PastErrors(NARX):
    """z_t has the past errors y_{t-k} - ŷ_{t-k} too; the input is u's, the true past outputs, and y_t."""

    def __init__(self, input_size: int, order: int):
        super().__init__(input_size + order, order)
        self.input_size, self.state_sizes, self.delays = input_size + order + 1, {"e": 1}, {"e": self.delays["y"]}

    def step(self, x: Tensor, state: tuple[tuple[Tensor, ...]]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step; the output is ŷ_t."""
        y = self.one_step(x[:, :-1], torch.cat(state[0], -1))
        return y, (x[:, -1:] - y,)

    def without(self, inputs: int, order: int) -> NARX:
        """The parallel form: past outputs are its own, past errors unknown, that is zero."""
        cell, last = NARX(inputs, order), inputs + order
        values = {"a": self.a[:, :last], "w": self.w[:, :last], "b": self.b, "out": self.out}
        cell.load_state_dict({name: value.detach().clone() for name, value in values.items()})
        return cell


def arx(x: Tensor, past: Tensor, y: Tensor) -> Tensor:
    """Coefficients of the linear model of the same lags, by least squares (1, inputs)."""
    z = torch.cat([x, past], -1).double()
    return torch.linalg.lstsq(z, y.double()).solution.T.float()


def free_run(cell: NARX, x: Tensor, past: Tensor) -> Tensor:
    """Simulation from the true past of each row of `past` (batch, order) on; x is (time, batch, inputs)."""
    start = past.T.unsqueeze(-1)[None]  # layers, taps (newest first), batch, 1
    return carousel.nn.Recurrent([cell])(x, (start,))[0]


@torch.no_grad()
def errors(cell: NARX, series: Series, order: int, part: str) -> tuple[float, float]:
    """Root mean square error in one step and in free run, in the output's unit."""
    x, past, y = series.lagged(order, part)
    one = cell.one_step(x, past) - y
    free = free_run(cell, x.unsqueeze(1), past[:1])[:, 0] - y
    return tuple(float(e.square().mean().sqrt()) * series.scale for e in (one, free))  # pyright: ignore[reportReturnType]


def windows(series: Series, order: int, length: int, count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Pieces of the training part: (length, count, ·) inputs, (count, order) pasts, (length, count, 1) outputs."""
    x, past, y = series.lagged(order, "train")
    begin = torch.randint(len(y) - length + 1, (count,), generator=generator)
    at = begin + torch.arange(length).unsqueeze(1)
    return x[at], past[begin], y[at]
