"""Networks, data and training runs that several tests plant faults in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carousel.doctor.apart import can_fork

CLASSES = 5
CENTERS = 2.0 * torch.randn(CLASSES, 8, generator=torch.Generator().manual_seed(1))


# data


def blobs(count: int = 600) -> tuple[Tensor, Tensor]:
    """Points of five classes around five centers, in random order."""
    y = torch.randint(CLASSES, (count,))
    return CENTERS[y] + 0.5 * torch.randn(count, 8), y


def yes_or_no(count: int = 600) -> tuple[Tensor, Tensor]:
    """Whether a point is of the first two classes."""
    x, y = blobs(count)
    return x, (y < 2).float()


def hard(count: int) -> tuple[Tensor, Tensor]:
    """Labels that the inputs half determine."""
    x = torch.randn(count, 8)
    return x, (x[:, 0] + torch.randn(count) > 0).long()


def rare(share: float, *, apart: bool) -> tuple[Tensor, Tensor]:
    y = (torch.rand(2000) < share).long()
    x = torch.randn(2000, 8)
    x[:, 0] += (4.0 if apart else 0.5) * y
    return x, y


def spirals(count: int = 900) -> tuple[Tensor, Tensor]:
    """Three arms, as eight features of which two matter."""
    y = torch.randint(3, (count,))
    r = torch.rand(count)
    angle = 4.0 * r + 2.1 * y + 0.1 * torch.randn(count)
    x = torch.randn(count, 8) * 0.1
    x[:, 0], x[:, 1] = 2 * r * angle.cos(), 2 * r * angle.sin()
    return x, y


def line(count: int = 600) -> tuple[Tensor, Tensor]:
    x = torch.randn(count, 8)
    return x, x[:, :1] - x[:, 1:2] + 0.3 * torch.randn(count, 1)


def noisy_line() -> tuple[Tensor, Tensor]:
    x = torch.randn(900, 8)
    return x, x[:, :1] + 3.0 * torch.randn(900, 1)


def first_symbol(steps: int, count: int = 800) -> tuple[Tensor, Tensor]:
    """Which of three symbols came first, before noise."""
    y = torch.randint(3, (count,))
    x = 0.3 * torch.randn(count, steps, 3)
    x[:, 0] += 2.0 * F.one_hot(y, 3)
    return x, y


def last_symbol(steps: int, doubt: float) -> tuple[Tensor, Tensor]:
    """Which of three symbols came last, behind noise, where a share of the labels is chance."""
    x, y = first_symbol(steps)
    return x.flip(1), torch.where(torch.rand(len(y)) < doubt, torch.randint(3, y.shape), y)


# networks


def mlp(*middle: nn.Module, width: int = 32, out: int = CLASSES) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, width), *(middle or (nn.ReLU(),)), nn.Linear(width, out))


def deep(activation: type[nn.Module], *, xavier: bool = False, norm: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n in [8, *[32] * 7]:
        layers += [nn.Linear(n, 32), *([nn.BatchNorm1d(32)] if norm else []), activation()]
    net = nn.Sequential(*layers, nn.Linear(32, CLASSES))
    for module in net if xavier else ():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
    return net


def frozen_body() -> nn.Module:
    net = mlp()
    net[0].requires_grad_(False)
    return net


def scaled(net: nn.Module, scale: float, bias: float = 0.0) -> nn.Module:
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Linear):
                module.weight.mul_(scale)
                module.bias.fill_(bias)
    return net


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


def plain(std: float) -> nn.Module:
    net = Reads("RNN", out=3)
    nn.init.normal_(net.rnn.get_parameter("weight_hh_l0"), std=std)
    return net


# losses, looked up when they are called, as by a script that runs under the doctor


def cross_entropy(scores: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(scores, y)


def bce_with_logits(scores: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(scores, y)


def squared(scores: Tensor, y: Tensor) -> Tensor:
    return F.mse_loss(scores, y)


# runs


@dataclass
class Run:
    """A plain training loop; what a test changes are its fields."""

    net: nn.Module
    x: Tensor
    y: Tensor
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy
    epochs: int = 4
    size: int = 30
    lr: float = 3e-3
    shuffle: bool = True
    zero: str = (
        "each"  # each, never, late, none (sets grad to None by hand), accumulate (two backward passes an update)
    )
    held: list[nn.Parameter] | None = None
    dev: tuple[Tensor, Tensor] | None = None
    dev_size: int = 50
    train_too: bool = False  # evaluate the training data as well
    eval_mode: bool = True
    compare: bool = False  # evaluate by == in place of the loss
    modes: str = "each"  # each (training mode before each epoch), once (before the first), never

    def __call__(self) -> None:
        held = list(self.net.parameters()) if self.held is None else self.held
        rule = torch.optim.Adam(held, lr=self.lr)
        self.net.train(self.modes != "never")
        for _ in range(self.epochs):
            if self.modes == "each":
                self.net.train()
            order = torch.randperm(len(self.x)) if self.shuffle else torch.arange(len(self.x))
            for number, batch in enumerate(order.split(self.size)):
                if self.zero == "each":
                    rule.zero_grad()
                elif self.zero == "none":
                    for p in held:
                        p.grad = None
                loss = self.loss(self.net(self.x[batch]), self.y[batch])
                loss.backward()
                if self.zero == "late":
                    rule.zero_grad()
                if self.zero != "accumulate" or number % 2:
                    rule.step()
                    if self.zero == "accumulate":
                        rule.zero_grad()
            if self.dev is not None:
                if self.eval_mode:
                    self.net.eval()
                with torch.no_grad():
                    for data in [(self.x, self.y)] * self.train_too + [self.dev]:
                        for x, y in zip(*(t.split(self.dev_size) for t in data), strict=True):
                            if self.compare:
                                (self.net(x).argmax(1) == y).float().mean()
                            else:
                                self.loss(self.net(x), y)


def apart(data: tuple[Tensor, Tensor], net: nn.Module, **options: Any) -> Run:
    x, y = data
    return Run(net, x[:400], y[:400], dev=(x[400:], y[400:]), **options)


def noise(net: nn.Module, **options: Any) -> Run:
    """Labels that say nothing, to be learned by heart."""
    x, y = torch.randn(120, 8), torch.randint(CLASSES, (120,))
    dev = torch.randn(100, 8), torch.randint(CLASSES, (100,))
    return Run(net, x, y, dev=dev, **options)


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


# tests


def names(faults: Iterable[str], *, seen: Collection[str] = (), slow: Collection[str] = ()) -> list[Any]:
    """Faults as parameters; all but those `seen` are found by experiments, for which the process must be copied."""
    copies = pytest.mark.skipif(not can_fork(), reason="this system cannot copy a process")
    return [
        pytest.param(name, marks=[*[copies] * (name not in seen), *[pytest.mark.slow] * (name in slow)])
        for name in faults
    ]


def runs(healthy: Iterable[str], *, slow: Collection[str]) -> list[Any]:
    """Healthy runs as parameters."""
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in slow)) for name in healthy]


def codes(found: list[Any]) -> list[str]:
    return [f.code for f in found]
