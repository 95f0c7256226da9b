"""Rules that make experiments: each finds a planted fault, and is silent on the healthy run that looks most like it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carousel.doctor import RULES, Doctor
from carousel.doctor.apart import can_fork
from carousel.doctor.lab import Lab
from carousel.doctor.rules import AHEAD

from . import test_rules
from .test_rules import Run, apart, blobs, codes, cross_entropy, hard, misaligned, mlp, scaled

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system cannot copy a process")


def spirals(count: int = 900) -> tuple[Tensor, Tensor]:
    """Three arms, as eight features of which two matter."""
    y = torch.randint(3, (count,))
    r = torch.rand(count)
    angle = 4.0 * r + 2.1 * y + 0.1 * torch.randn(count)
    x = torch.randn(count, 8) * 0.1
    x[:, 0], x[:, 1] = 2 * r * angle.cos(), 2 * r * angle.sin()
    return x, y


def raw() -> tuple[Tensor, Tensor]:
    """The classes are in small features; a large one says nothing."""
    x, y = blobs(900)
    return torch.cat([x[:, :7], 3000.0 + 1000.0 * torch.randn(len(x), 1)], 1), y


def noisy_line() -> tuple[Tensor, Tensor]:
    x = torch.randn(900, 8)
    return x, x[:, :1] + 3.0 * torch.randn(900, 1)


def bent() -> tuple[Tensor, Tensor]:
    """Mostly a line, and a part that is none."""
    x = torch.randn(900, 8)
    return x, x[:, :1] + x[:, 1:2] + 0.7 * x[:, 2:3].abs()


def bumps() -> tuple[Tensor, Tensor]:
    x = torch.randn(900, 8)
    return x, torch.sin(2 * x[:, :1]) + x[:, 1:2].abs()


def mixed() -> Tensor:
    """Eight features that are mostly two."""
    return torch.randn(900, 2) @ torch.randn(2, 8) + 0.5 * torch.randn(900, 8)


def linear(width: int, *between: nn.Module, out: int = 1) -> nn.Module:
    return nn.Sequential(nn.Linear(8, width), *between, nn.Linear(width, out))


def squared(scores: Tensor, y: Tensor) -> Tensor:
    return F.mse_loss(scores, y)


def islands(count: int = 900) -> tuple[Tensor, Tensor]:
    """Ten classes of three clouds each."""
    centers = 1.5 * torch.randn(10, 3, 8)
    y, which = torch.randint(10, (count,)), torch.randint(3, (count,))
    return centers[y, which] + 0.3 * torch.randn(count, 8), y


def faint(count: int) -> tuple[Tensor, Tensor]:
    """Labels that the inputs determine by a little."""
    x = torch.randn(count, 8)
    return x, (x[:, 0] + 3 * torch.randn(count) > 0).long()


class Codes(nn.Module):
    """A network with signs in its middle."""

    def __init__(self, *, through: bool) -> None:
        super().__init__()
        self.first, self.last, self.through = mlp(out=16), nn.Linear(16, 5), through

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).tanh()
        code = torch.sign(x)
        return self.last(x + (code - x).detach() if self.through else code)


def windows(*, by_series: bool | None) -> Run:
    """Which of two frequencies is in a series; split by series, in time, or at random."""
    kind = torch.arange(40) % 2
    phase = 6 * torch.rand(40, 1)
    series = torch.sin(torch.arange(120) * (0.4 + 0.3 * kind[:, None]) + phase) + 0.3 * torch.randn(40, 120)
    x, y = series.unfold(1, 24, 6), kind[:, None].expand(-1, 17)
    if by_series is None:
        x, y = x.transpose(0, 1), y.T
    x, y = x.reshape(-1, 24), y.reshape(-1)
    order = torch.randperm(len(x)) if by_series is False else torch.arange(len(x))
    train, dev = order[:480], order[480:]
    net = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 2))
    return Run(net, x[train], y[train], dev=(x[dev], y[dev]), epochs=8)


def copied(*, aligned: bool) -> Run:
    """Each row three times with some noise, one round after the other."""
    x, y = torch.randn(200, 30), torch.arange(200) % 4
    x[:, :2] += 3.0 * torch.stack([y % 2, y // 2], 1)
    order = torch.randperm(200)
    x, y = x[order], y[order]
    x = torch.cat([x + 0.1 * torch.randn(200, 30) for _ in range(3)])
    net = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 4))
    return Run(net, x, y.repeat(3) if aligned else y.repeat_interleave(3), epochs=40, size=20)


class Deep(nn.Module):
    def __init__(self, kind: str, layers: int = 20) -> None:
        super().__init__()
        self.kind, self.first, self.last = kind, nn.Linear(8, 24), nn.Linear(24, 10)
        self.layers = nn.ModuleList(nn.Linear(24, 24) for _ in range(layers))
        self.norms = nn.ModuleList(nn.BatchNorm1d(24) for _ in range(layers))
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.get_parameter("weight"), nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            y = F.relu(layer(x))
            x = x + 0.2 * y if self.kind == "residual" else norm(y) if self.kind == "norm" else y
        return self.last(x)


def function(forward: Callable[[Tensor], Tensor], backward: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
    """A network with a hand-written function in its middle."""

    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return forward(x)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            return backward(ctx.saved_tensors[0], grad)

    class Calls(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Own.apply(x)  # pyright: ignore[reportReturnType]

    return mlp(Calls())


class Reads(nn.Module):
    """A recurrent layer, and a layer on what it says last, or on all it says."""

    def __init__(self, kind: str, batch_first: bool = True, pick: str = "last", out: int = 1, width: int = 3) -> None:
        super().__init__()
        self.rnn: nn.RNNBase = getattr(nn, kind)(width, 32, batch_first=batch_first)
        self.head, self.pick = nn.Linear(32, out), pick

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.rnn(x)
        chosen = {
            "last": lambda: out[:, -1],
            "last in time": lambda: out[-1],
            "mean": lambda: out.mean(1),
            "all": lambda: out,
        }[self.pick]()
        return self.head(chosen)


def first_symbol(steps: int, count: int = 800) -> tuple[Tensor, Tensor]:
    """Which of three symbols came first, before noise."""
    y = torch.randint(3, (count,))
    x = 0.3 * torch.randn(count, steps, 3)
    x[:, 0] += 2.0 * F.one_hot(y, 3)
    return x, y


def plain(std: float) -> nn.Module:
    net = Reads("RNN", out=3)
    nn.init.normal_(net.rnn.get_parameter("weight_hh_l0"), std=std)
    return net


def last_symbol(steps: int, doubt: float) -> tuple[Tensor, Tensor]:
    """Which of three symbols came last, behind noise, where a share of the labels is chance."""
    x, y = first_symbol(steps)
    return x.flip(1), torch.where(torch.rand(len(y)) < doubt, torch.randint(3, y.shape), y)


class Loop(nn.Module):
    """A plain recurrent network, step by step."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.inner, self.again, self.head = nn.Linear(3, 32), nn.Linear(32, 32), nn.Linear(32, 3)
        nn.init.normal_(self.again.weight, std=std)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), 32)
        for step in x.unbind(1):
            state = torch.tanh(self.inner(step) + self.again(state))
        return self.head(state)


def orthogonal() -> nn.Module:
    net = Reads("RNN", out=3)
    nn.init.orthogonal_(net.rnn.get_parameter("weight_hh_l0"))
    return net


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


def falling(per_batch: bool) -> Callable[[], None]:
    """A schedule in epochs, stepped once an epoch or once a batch."""

    def train() -> None:
        (x, y), net = spirals(), mlp(out=3)
        rule = torch.optim.Adam(net.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.StepLR(rule, 3, 0.3)
        for _ in range(8):
            for batch in torch.randperm(len(x)).split(30):
                rule.zero_grad()
                F.cross_entropy(net(x[batch]), y[batch]).backward()
                rule.step()
                if per_batch:
                    schedule.step()
            if not per_batch:
                schedule.step()

    return train


def decaying(x: Tensor, y: Tensor, net: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], None]:
    """A learning rate that falls by the batch, to nothing in the first third of the run."""

    def train() -> None:
        rule = torch.optim.Adam(net.parameters(), lr=4e-3)
        schedule = torch.optim.lr_scheduler.ExponentialLR(rule, 0.9)
        for _ in range(8):
            for batch in torch.randperm(len(x)).split(30):
                rule.zero_grad()
                loss(net(x[batch]), y[batch]).backward()
                rule.step()
                schedule.step()

    return train


def one_sided(net: nn.Module, std: float = 1.0) -> nn.Module:
    """Weights above zero."""
    for p in net.parameters():
        if p.ndim > 1:
            nn.init.uniform_(p, 0.0, std * 2 / p.shape[1] ** 0.5)
    return net


def relus(*sizes: int) -> nn.Sequential:
    pairs = itertools.pairwise((8, *sizes))
    return nn.Sequential(*(m for a, b in pairs for m in (nn.Linear(a, b), nn.ReLU())))[:-1]


def row_by_row(x: Tensor, y: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Each row by itself of mean 0 and standard deviation 1; the last feature is far above all others, or is not."""
    x = torch.cat([x[:, :7], level + x[:, 7:]], 1)
    return (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True), y


class WithCodes(nn.Module):
    """A table for the codes in the last column, joined to the other columns as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.net = nn.Embedding(10, 4), nn.Sequential(nn.Linear(11, 64), nn.ReLU(), nn.Linear(64, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(torch.cat([self.table(x[:, 7].long()), x[:, :7]], 1))


def coded(scale: float) -> Run:
    x, y = blobs(900)
    x = torch.cat([scale * (x[:, :1] + 2), x[:, 1:7], torch.randint(10, (900, 1)).float()], 1)
    return Run(WithCodes(), x, y, epochs=6, lr=1e-3)


def written_out(scores: Tensor, y: Tensor) -> Tensor:
    return ((scores - y) ** 2).mean()


def heavy(momentum: float, lr: float) -> Callable[[], None]:
    """A regression by momentum: with too much of it the network swings past what it has learned, and back."""

    def train() -> None:
        x, net = torch.randn(1500, 10), nn.Sequential(nn.Linear(10, 64), nn.Tanh(), nn.Linear(64, 1))
        y = torch.sin(2 * x[:, :1]) + x[:, 1:2] * x[:, 2:3] + 0.1 * torch.randn(len(x), 1)
        rule = torch.optim.SGD(net.parameters(), lr=lr, momentum=momentum)
        for _ in range(12):
            for batch in torch.randperm(len(x)).split(30):
                rule.zero_grad()
                F.mse_loss(net(x[batch]), y[batch]).backward()
                rule.step()

    return train


def numbered(order: Tensor) -> Run:
    """Eight levels of a quantity, by their numbers or by others."""
    level = torch.randint(8, (1200,))
    x = torch.randn(1200, 8)
    x[:, 0] = level / 2 - 2 + 0.05 * torch.randn(1200)
    return Run(mlp(out=1), x, order[level].float()[:, None], loss=squared, epochs=12, lr=3e-3)


def shares(data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return data[0], F.one_hot(data[1]).float()


def regimes(shuffle: bool) -> Run:
    """A log of six regimes, each with its own law and level."""
    regime = torch.arange(1200) // 200
    x = 0.35 * torch.randn(1200, 8)
    x[:, 0] += 2 * torch.sin(2.1 * regime)
    x[:, 1] += 2 * torch.cos(2.1 * regime)
    y = 1.5 * torch.sin(2 * x[:, :1]) + x[:, 1:2] * x[:, 2:3] + 0.8 * torch.cos(1.7 * regime)[:, None]
    return Run(mlp(out=1, width=48), x, y, loss=squared, lr=0.1, epochs=8, shuffle=shuffle)


def series() -> None:
    """The next value of a wandering one, read in order."""
    torch.manual_seed(1)
    values = [0.0]
    for step in torch.randn(2000).tolist():
        values.append(0.98 * values[-1] + 0.2 * step)
    windows = torch.tensor(values).unfold(0, 9, 1)
    Run(mlp(out=1), windows[:, :8], windows[:, 8:], loss=squared, lr=3e-3, epochs=4, shuffle=False)()


def curve(shuffle: bool) -> Run:
    """A measured curve, point by point along it."""
    x = torch.linspace(-1, 1, 800)[:, None]
    net = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
    y = torch.sin(5 * x) + 0.6 * x**2 + 0.1 * torch.randn(800, 1)
    return Run(net, x, y, loss=squared, epochs=40, size=20, shuffle=shuffle)


def blocks(size: int, lr: float, epochs: int = 3, *, norm: bool = False) -> Callable[[], None]:
    """Batches of 30 samples, made of blocks of a single class in random order."""

    def run() -> None:
        torch.manual_seed(5)
        x, y = test_rules.blobs(1200)
        order = y.argsort()
        pure = [order[y[order] == k] for k in range(test_rules.CLASSES)]
        pieces = torch.cat([rows[: len(rows) // size * size].reshape(-1, size) for rows in pure])
        net = mlp(*[nn.BatchNorm1d(32)] * norm, nn.ReLU())
        rule = torch.optim.Adam(net.parameters(), lr=lr)
        for _ in range(epochs):
            mixed = pieces[torch.randperm(len(pieces))].flatten()
            for rows in mixed.split(30):
                if len(rows) == 30:
                    rule.zero_grad()
                    F.cross_entropy(net(x[rows]), y[rows]).backward()
                    rule.step()

    return run


def large(scale: float) -> tuple[Tensor, Tensor]:
    """A regression with targets around `scale`."""
    x = torch.randn(900, 8)
    return x, scale * (3.0 + x[:, :1] + 0.5 * x[:, 1:2])


def dropping(*, on_purpose: bool, train_mode: bool) -> Callable[[], None]:
    """Evaluated with dropout on: once, or as the mean of many passes; or never trained with it."""

    def train() -> None:
        (x, y), net = blobs(), mlp(nn.Dropout(0.3), nn.ReLU())
        rule = torch.optim.Adam(net.parameters(), lr=3e-3)
        net.train(train_mode)
        for _ in range(4):
            for batch in torch.randperm(len(x)).split(30):
                rule.zero_grad()
                F.cross_entropy(net(x[batch]), y[batch]).backward()
                rule.step()
            with torch.no_grad():
                parts = [x] if on_purpose else x.split(100)
                for part in parts:
                    torch.stack([net(part) for _ in range(20 if on_purpose else 1)]).mean(0)

    return train


def all_zero(net: nn.Module) -> nn.Module:
    for p in net.parameters():
        nn.init.zeros_(p)
    return net


def huge() -> nn.Module:
    net = nn.Sequential(*(m for n in (8, 32, 32, 32) for m in (nn.Linear(n, 32), nn.ReLU())), nn.Linear(32, 5))
    for p in net.parameters():
        nn.init.normal_(p)
    return net


def tiny(norm: type[nn.Module] | None = None) -> nn.Module:
    """Five layers whose weights begin at a hundredth."""
    layers: list[nn.Module] = []
    for n in (8, 32, 32, 32):
        layers += [nn.Linear(n, 32), *([] if norm is None else [norm(32)]), nn.ReLU()]
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
    return nn.Sequential(*layers, nn.Linear(32, 5))


class ByHand(nn.Module):
    """Two matrices, of which all units between them may have the same weights."""

    def __init__(self, *, alike: bool = True, std: float = 0.3) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.full((8, 16), 0.1) if alike else std * torch.randn(8, 16))
        self.second = nn.Parameter(torch.randn(1, 5).repeat(16, 1) if alike else torch.zeros(16, 5))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.first).tanh() @ self.second


class Products(nn.Module):
    """Five layers written as products with matrices (inputs, outputs)."""

    def __init__(self, std: float | None = None) -> None:
        super().__init__()
        sizes = [(8, 32), (32, 32), (32, 32), (32, 32), (32, 5)]
        self.first, *more = (nn.Parameter((std or (2 / n) ** 0.5) * torch.randn(n, m)) for n, m in sizes)
        self.bias, self.more = nn.Parameter(torch.zeros(32)), nn.ParameterList(more)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.addmm(self.bias, x, self.first)
        for matrix in self.more:
            x = x.relu() @ matrix
        return x


def rate(p: Tensor, y: Tensor, log_input: bool = True) -> Tensor:
    return F.poisson_nll_loss(p, y, log_input)


def counts() -> tuple[Tensor, Tensor]:
    """Numbers of events, and what their rate depends on."""
    x = torch.randn(900, 8)
    return x, torch.poisson((0.5 * x[:, :1] + 0.5).exp())


def swapped(batch_first: bool, pick: str) -> Run:
    """Batches of samples first, as they come from a data set."""
    return Run(Reads("GRU", batch_first=batch_first, pick=pick, out=3), *first_symbol(9), epochs=3, size=20)


class Ends(nn.Module):
    """Of the last states of two directions."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.rnn, self.head, self.how = nn.GRU(3, 24, bidirectional=True, batch_first=True), nn.Linear(48, 3), how

    def forward(self, x: Tensor) -> Tensor:
        _, last = self.rnn(x)
        return self.head(last.reshape(-1, 48) if self.how == "view" else last.transpose(0, 1).reshape(-1, 48))


class Unsorted(nn.Module):
    """Reads the longest sequences first, and says what it has to say in the order of the data."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Reads("GRU", pick="mean", out=3)

    def forward(self, x: Tensor) -> Tensor:
        order = x.abs().sum((1, 2)).argsort()
        return self.net(x[order])[order.argsort()]


class Flat(nn.Module):
    """Scores of all steps and samples in one row, time first."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(3, 32), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x.transpose(0, 1))[0]).flatten(0, 1)


def since(*, ordered: bool) -> Run:
    """At each step: which symbol came one step before? The targets are in the order of the scores, or by samples."""
    which = torch.randint(3, (400, 7))
    before = which.roll(1, 1)

    def loss(scores: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(scores, (y.T if ordered else y).reshape(-1))

    return Run(Flat(), F.one_hot(which, 3).float(), before, loss=loss, epochs=4, size=20, lr=1e-2)


def running(batch_first: bool) -> Run:
    """At each step: is the sum of the signs so far positive?"""
    x = torch.randn(900, 12, 1).sign()
    net = Reads("GRU", batch_first=batch_first, pick="all", width=1)
    return Run(net, x, (x.cumsum(1) > 0).float(), loss=F.binary_cross_entropy_with_logits, epochs=4, lr=1e-2)


class TimeFirst(nn.Module):
    """Brings the time to the front by one of tensors' methods."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.net = how, Reads("GRU", batch_first=False, pick="last in time", out=3)

    def forward(self, x: Tensor) -> Tensor:
        samples, steps = x.shape[:2]
        return self.net(x.view(steps, samples, 3) if self.how == "view" else x.transpose(0, 1).reshape(steps, -1, 3))


def rolled_out(dt: float, steps: int, lr: float = 0.02) -> Callable[[], None]:
    """The dynamics of an oscillator, learned over some steps of its path."""

    def train() -> None:
        turn = torch.tensor([[0.96, 0.2], [-0.2, 0.96]])
        net = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
        for layer in net[::2]:
            nn.init.orthogonal_(layer.get_parameter("weight"))
        rule = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
        for _ in range(200):
            path = [torch.randn(32, 2)]
            for _ in range(steps):
                path.append(path[-1] @ turn)
            state, losses = path[0], []
            for truth in path[1:]:
                state = state + dt * net(state)
                losses.append((state - truth).square().mean())
            rule.zero_grad()
            torch.stack(losses).mean().backward()
            rule.step()

    return train


def adding(spread: float, lr: float, updates: int = 200) -> Callable[[], None]:
    """The sum of the marked numbers of a sequence, by a loop of rectifiers without modules."""

    def train() -> None:
        start = torch.eye(32) + spread * torch.randn(32, 32)
        weights = [0.1 * torch.randn(2, 32), start, torch.zeros(32), 0.1 * torch.randn(32, 1), torch.zeros(1)]
        inner, again, bias, outer, last = (w.requires_grad_() for w in weights)
        rule = torch.optim.Adam(weights, lr=lr)
        for _ in range(updates):
            x = torch.rand(30, 32, 2)
            x[..., 1] = (torch.rand(30, 32).argsort(0) < 3).float()
            y = (x[..., :1] * x[..., 1:]).sum(0)
            state = torch.zeros(32, 32)
            for step in x:
                state = torch.relu(step @ inner + state @ again + bias)
            loss = ((state @ outer + last - y) ** 2).mean()
            rule.zero_grad()
            loss.backward()
            if spread < 0.01:
                nn.utils.clip_grad_norm_(weights, 1.0)
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
    "lr-too-high": lambda: Run(mlp(out=3), *spirals(), lr=20.0, epochs=6),
    "lr-too-high, momentum": lambda: heavy(0.99, lr=0.01),
    "lr-too-high, late": lambda: heavy(0.99, lr=0.03),
    "lr-too-low": lambda: Run(mlp(), *blobs(900), lr=1e-6, epochs=8),
    "unnormalized-input": lambda: Run(mlp(), *raw(), epochs=4),
    "parameters-not-training, behind a step": lambda: Run(Codes(through=False), *blobs(), epochs=4),
    "too-deep-plain": lambda: Run(Deep("plain", 40), *islands(), epochs=5, size=20, lr=1e-3),
    "too-deep-plain, as it comes": lambda: Run(
        nn.Sequential(
            nn.Linear(8, 24), *(m for _ in range(24) for m in (nn.Linear(24, 24), nn.ReLU())), nn.Linear(24, 10)
        ),
        *islands(),
        epochs=8,
        size=20,
        lr=1e-3,
    ),
    "too-deep-plain, by small steps": lambda: Run(Deep("plain", 40), *islands(), epochs=2, size=20, lr=2e-4),
    "underfitting": lambda: Run(mlp(width=1, out=3), *spirals(), epochs=25, size=40, lr=1e-2),
    "underfitting, nothing between the layers": lambda: Run(linear(64), *bent(), loss=squared, epochs=20, size=20),
    "underfitting, a loss written out": lambda: Run(
        mlp(width=1, out=1), *bumps(), loss=written_out, epochs=20, size=20, lr=1e-2
    ),
    "underfitting, of data in one batch": lambda: Run(mlp(width=1, out=3), *spirals(), epochs=400, size=900, lr=1e-2),
    "wrong-gradient": lambda: Run(
        function(lambda x: (-x * x).exp(), lambda x, g: 2 * x * (-x * x).exp() * g), *blobs()
    ),
    "vanishing-gradient-time": lambda: Run(plain(0.05), *first_symbol(60), epochs=5, lr=1e-3),
    "vanishing-gradient-time, noise by heart": lambda: Run(
        plain(0.05), *first_symbol(36, count=400), epochs=13, size=20, lr=3e-3
    ),
    "vanishing-gradient-time, by hand": lambda: Run(
        Loop(0.05), *first_symbol(24, count=320), epochs=12, size=20, lr=5e-3
    ),
    "exploding-gradient-time": lambda: Run(plain(0.5), *first_symbol(40), epochs=5, lr=1e-3),
    "exploding-gradient-time, behind an update": lambda: rolled_out(dt=1.0, steps=40),
    "exploding-gradient-time, by hand": lambda: adding(spread=0.08, lr=1e-3),
    "lr-too-high, over time": lambda: rolled_out(dt=0.1, steps=20, lr=5.0),
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
    "horizon-too-short, of samples": lambda: forecast(look=6),
    "batch-time-swapped": lambda: swapped(False, "last"),
    "batch-time-swapped, mean": lambda: swapped(False, "mean"),
    "batch-time-swapped, each step": lambda: running(batch_first=False),
    "batch-time-swapped, view": lambda: Run(TimeFirst("view"), *first_symbol(9), epochs=3, size=20),
    "batch-time-swapped, last states": lambda: Run(Ends("view"), *first_symbol(7), epochs=3, size=20),
    "batch-time-swapped, targets": lambda: since(ordered=False),
    "lr-too-low, a schedule stepped by batch": lambda: falling(per_batch=True),
    "lr-too-low, a schedule that decays by batch": lambda: decaying(*spirals(), mlp(nn.Tanh(), out=3), cross_entropy),
    "unnormalized-input, row by row": lambda: Run(mlp(), *row_by_row(*blobs(900), 60.0), epochs=4, lr=1e-3),
    "unnormalized-input, beside codes": lambda: coded(3000.0),
    "bad-init, of one sign": lambda: Run(one_sided(relus(64, 64, 64, 64, 5), 3.0), *blobs(900), epochs=2, lr=1e-3),
    "bad-init, of one sign, over time": lambda: Run(
        one_sided(Reads("LSTM", out=3), 3.0), *first_symbol(9), epochs=3, size=20, lr=1e-3
    ),
    "unnormalized-input, targets": lambda: Run(mlp(out=1), *large(2e4), loss=squared, epochs=8, lr=1e-3),
    "wrong-loss, a table": lambda: Run(mlp(out=1), *noisy_line(), loss=lambda p, y: ((p - y[:, 0]) ** 2).mean()),
    "unshuffled-data, of numbers": lambda: regimes(shuffle=False),
    "unshuffled-data, along a curve": lambda: curve(shuffle=False),
    "unshuffled-data, in whole batches": lambda: blocks(size=30, lr=1e-2, norm=True),
    "wrong-loss, names of classes": lambda: numbered(torch.randperm(8)),
    "wrong-loss, of shares": lambda: Run(
        scaled(mlp(width=64), 20.0).append(nn.Softmax(1)), *shares(blobs()), loss=squared, lr=1e-3
    ),
    "wrong-loss, one score": lambda: Run(mlp(out=1), *noisy_line(), loss=F.cross_entropy),
    "label-noise, little learned": lambda: apart(
        misaligned(*hard(900)), mlp(width=64, out=2), epochs=8, dev_size=500, size=10
    ),
    "label-noise, of copies": lambda: copied(aligned=False),
    "data-leakage, of windows that overlap": lambda: windows(by_series=False),
    "train-eval-mode, never in training": lambda: dropping(on_purpose=True, train_mode=False),
    "train-eval-mode, in batches": lambda: dropping(on_purpose=False, train_mode=True),
    "bad-init, zeros": lambda: Run(all_zero(mlp()), *blobs()),
    "bad-init, tiny": lambda: Run(tiny(), *blobs(900), lr=1e-3, epochs=3),
    "bad-init, tiny by hand": lambda: Run(Products(std=0.01), *blobs(900), lr=1e-3, epochs=3),
    "bad-init, by hand": lambda: Run(ByHand(), *blobs(900), lr=1e-2, epochs=4),
    "wrong-loss, a rate as its logarithm": lambda: Run(mlp(out=1).append(nn.Softplus()), *counts(), loss=rate),
    "bad-init, huge": lambda: Run(huge(), *blobs(), lr=1e-4),
    "dead-relu, at the output": lambda: Run(
        mlp(width=16, out=1).append(nn.ReLU()), *(d := noisy_line())[:1], -3 - d[1].abs(), loss=squared
    ),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "a large learning rate that does": lambda: Run(mlp(), *blobs(900), lr=3e-2, epochs=6),
    "momentum that does": lambda: heavy(0.9, lr=0.03),
    "a small learning rate that does": lambda: Run(mlp(), *blobs(900), lr=3e-4, epochs=15),
    "linear layers, and an activation": lambda: Run(linear(64, nn.ReLU()), *bent(), loss=squared, epochs=20, size=20),
    "linear layers that compress": lambda: Run(linear(2, out=8), *[mixed()] * 2, loss=squared, epochs=20, size=20),
    "a converged plateau": lambda: Run(nn.Linear(8, 1), *noisy_line(), loss=squared, epochs=12, lr=3e-2),
    "raw, but normalized inside": lambda: Run(nn.Sequential(nn.BatchNorm1d(8), mlp()), *raw(), epochs=6, lr=1e-2),
    "deep and residual": lambda: Run(Deep("residual"), *spirals(), epochs=3, size=20, lr=1e-3),
    "deep with norms": lambda: Run(Deep("norm", 10), *spirals(), epochs=4, size=20, lr=1e-2),
    "a right gradient": lambda: Run(function(torch.sin, lambda x, g: x.cos() * g), *blobs()),
    "codes, straight through": lambda: Run(Codes(through=True), *blobs(), epochs=8),
    "straight through": lambda: Run(function(torch.round, lambda x, g: g), *blobs(), epochs=8),
    "small numbers in front of norms": lambda: Run(tiny(nn.BatchNorm1d), *blobs(900), lr=1e-2, epochs=4),
    "five matrices by hand": lambda: Run(Products(), *blobs(900), lr=1e-3, epochs=4),
    "a tiny matrix by hand, that is learned": lambda: Run(ByHand(alike=False, std=0.005), *blobs(900), lr=1e-2),
    "matrices by hand": lambda: Run(ByHand(alike=False), *blobs(900), lr=1e-2, epochs=4),
    "a rate": lambda: Run(mlp(out=1).append(nn.Softplus()), *counts(), loss=lambda p, y: rate(p, y, False)),
    "a logarithm of a rate": lambda: Run(mlp(out=1), *counts(), loss=rate),
    "straight through, scaled": lambda: Run(
        function(lambda x: x.abs().mean() * x.sign(), lambda x, g: g), *blobs(), epochs=8
    ),
    "gradient scaling": lambda: Run(function(lambda x: x.clone(), lambda x, g: 0.5 * g), *blobs()),
    "clamp, with a gradient outside": lambda: Run(function(lambda x: x.clamp(-1, 1), lambda x, g: g), *blobs()),
    "a gated cell": lambda: Run(Reads("GRU", out=3), *first_symbol(15), epochs=8, lr=1e-2),
    "orthogonal": lambda: Run(orthogonal(), *first_symbol(30), epochs=6),
    "a short memory that suffices": lambda: Run(plain(0.05), *last_symbol(12, doubt=0.6), epochs=3, size=20, lr=5e-3),
    "rectifiers by hand": lambda: adding(spread=0.002, lr=3e-3),
    "small steps": lambda: rolled_out(dt=0.1, steps=40),
    "a window that is long enough": lambda: echo(window=24, lag=3),
    "a state of a cell that is carried": lambda: chunks(size=8, lag=1, carried=True),
    "an empty state that loses little": lambda: echo(window=12, lag=1, carried=False),
    "detached behind what matters": lambda: Run(Cell(cut=5), *last_symbol(10, doubt=0.3), epochs=2, size=20, lr=1e-2),
    "each step by itself": lambda: Run(Cell(forgets=True), *counted(), epochs=8, size=20, lr=1e-2),
    "a loop that is long enough": lambda: loop(chunk=20, lag=7),
    "a look far enough back": lambda: forecast(look=14),
    "batch first": lambda: swapped(True, "last"),
    "mean over time": lambda: swapped(True, "mean"),
    "each step": lambda: running(batch_first=True),
    "a transpose": lambda: Run(TimeFirst("transpose"), *first_symbol(9), epochs=3, size=20),
    "last states": lambda: Run(Ends("transpose"), *first_symbol(7), epochs=3, size=20),
    "sorted and back": lambda: Run(Unsorted(), *first_symbol(7), epochs=3, size=20),
    "targets in the order of the scores": lambda: since(ordered=True),
    "a schedule that decays by batch, to a converged end": lambda: decaying(*noisy_line(), nn.Linear(8, 1), squared),
    "rows of unit length": lambda: Run(mlp(), *row_by_row(*blobs(900), 0.0), epochs=6, lr=1e-2),
    "small numbers beside codes": lambda: coded(1.0),
    "weights of one sign that do": lambda: Run(one_sided(mlp(out=2), 0.3), *hard(900), epochs=8, lr=1e-2),
    "deep and plain, by small steps": lambda: Run(Deep("plain", 8), *islands(), epochs=6, size=20, lr=1e-3),
    "a loss written out": lambda: Run(mlp(out=1), *bumps(), loss=written_out, epochs=20, size=20, lr=1e-2),
    "narrow on purpose, a loss written out": lambda: Run(
        linear(2, nn.ReLU(), out=8), *[mixed()] * 2, loss=written_out, epochs=20, size=20
    ),
    "a schedule stepped by epoch": lambda: falling(per_batch=False),
    "regimes, shuffled": lambda: regimes(shuffle=True),
    "a curve, shuffled": lambda: curve(shuffle=True),
    "blocks of classes, all in a batch": lambda: blocks(size=6, lr=1e-2, norm=True),
    "batches of one class, by small steps": lambda: blocks(size=30, lr=1e-3, epochs=60),
    "episodes of two classes": lambda: blocks(size=15, lr=3e-3, epochs=12),
    "a series in its order": lambda: series,
    "numbers that count": lambda: numbered(torch.arange(8)),
    "squared error of shares": lambda: Run(
        mlp(width=64).append(nn.Softmax(1)), *shares(blobs()), loss=squared, lr=1e-2, epochs=8
    ),
    "targets of some size": lambda: Run(mlp(out=1), *large(1.0), loss=squared, epochs=8, lr=1e-2),
    "copies with their labels": lambda: copied(aligned=True),
    "windows, split by series": lambda: windows(by_series=True),
    "windows, split in time": lambda: windows(by_series=None),
    "little to learn": lambda: apart(faint(900), mlp(width=64, out=2), epochs=8, dev_size=500, size=10),
    "data in one batch": lambda: Run(mlp(width=64, out=3), *spirals(), epochs=400, size=900, lr=1e-2),
    "data in one batch, slow but learning": lambda: Run(mlp(width=64, out=3), *spirals(), epochs=400, size=900),
    "data in one batch, mostly noise": lambda: Run(
        nn.Linear(8, 1), *noisy_line(), loss=squared, epochs=400, size=900, lr=1e-2
    ),
    "many passes with dropout, on purpose": lambda: dropping(on_purpose=True, train_mode=True),
}


SLOW = (
    "too-deep-plain, as it comes",
    "too-deep-plain, by small steps",
    "exploding-gradient-time, behind an update",
)
"""Runs of the largest networks."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in FAULTS])
def test_a_planted_fault_is_named(name: str, findings: Callable) -> None:
    found = findings(FAULTS[name])
    assert codes(found) == [name.split(",")[0]]
    assert all(f.where and f.evidence.endswith(".") and f.advice.endswith(".") for f in found)


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_left_in_peace(name: str, findings: Callable) -> None:
    assert codes(findings(HEALTHY[name])) == []


@pytest.mark.parametrize("name", ["lr-too-high", "underfitting"])
def test_experiments_change_nothing(name: str) -> None:
    def trained(watch: bool) -> tuple[list[Tensor], dict[str, Any], Tensor]:
        torch.manual_seed(3)
        run = FAULTS[name]()
        if watch:
            with Doctor(lab=Lab(AHEAD, seconds=60.0)) as doctor:  # some begin beside the run
                run()
            assert [f.code for f in doctor.findings] == [name]
        else:
            run()
        return list(copy.deepcopy(run.net).state_dict().values()), {}, torch.random.get_rng_state()

    (weights, _, state), (others, _, other) = trained(True), trained(False)
    assert all(torch.equal(a, b) for a, b in zip(weights, others, strict=True))
    assert torch.equal(state, other)


def test_without_experiments_only_what_was_seen(findings: Callable) -> None:
    assert codes(findings(FAULTS["lr-too-low"], probe=False)) == []


def test_every_rule_has_a_planted_fault() -> None:
    planted = {name.split(",")[0] for name in (*test_rules.FAULTS, *FAULTS)}
    assert {rule.CODE for rule in RULES} - planted == {"state-not-detached"}  # ends in an error: test_script
