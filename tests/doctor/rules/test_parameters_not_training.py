"""Parameters that no update reaches, and those that are left alone on purpose."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..planted import CENTERS, CLASSES, Run, blobs, frozen_body, mlp, names


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, 32), nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(x)).detach())


class InAList(nn.Module):
    def __init__(self, registered: bool) -> None:
        super().__init__()
        layers = [nn.Linear(8, 16), nn.Linear(16, 16)]
        self.layers = nn.ModuleList(layers) if registered else layers
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.head(x)


class Keeps(nn.Module):
    """Its first weight is kept as an attribute, in one of several ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        made = 0.3 * torch.randn(32, 8)
        self.head = nn.Linear(32, CLASSES)
        self.kept: Any = {
            "parameter": lambda: nn.Parameter(made),
            "turned": lambda: nn.Parameter(made.T).T,
            "tensor": made.requires_grad_,
            "constant": lambda: made,
            "dict": lambda: {"w": nn.Parameter(made)},
        }[how]()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(F.linear(x, self.kept["w"] if isinstance(self.kept, dict) else self.kept)))


class Starts(nn.Module):
    """A recurrent layer whose state begins with what wants gradients and is no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head, self.state = nn.GRU(8, 16), nn.Linear(16, CLASSES), torch.zeros(1, 30, 16)
        self.state.requires_grad_()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x[None], self.state)[0][0])


class Physics(nn.Module):
    """Has the points with which it is trained: y' = -y."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
        self.t = torch.rand(50, 1, requires_grad=True)

    def loss(self) -> Tensor:
        y = self.net(self.t * 1.0)
        (slope,) = torch.autograd.grad(y, self.t, torch.ones_like(y), create_graph=True)
        return (slope + y).square().mean() + (self.net(torch.zeros(1, 1)) - 1).square().mean()


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare = mlp(), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


def optimized(net: nn.Module, loss: Callable[[], Tensor], gradients: bool = True) -> Callable[[], None]:
    def train() -> None:
        rule = torch.optim.Adam(net.parameters(), lr=3e-3)
        for _ in range(100):
            rule.zero_grad()
            value = loss()
            if gradients:
                value.backward()
            rule.step()

    return train


def pictures(*, optimizer: bool) -> Callable[[], None]:
    """Gradients that change nothing."""

    def make() -> None:
        net, (x, y) = mlp(), blobs(60)
        if optimizer:
            torch.optim.Adam(net.parameters())
        for at in range(60):
            net.zero_grad()
            net(x[at : at + 1])[0, y[at]].backward()

    return make


def loaded(net: nn.Sequential) -> nn.Sequential:
    net.load_state_dict(mlp().state_dict())
    return net


def yardstick() -> Callable[[Tensor, Tensor], Tensor]:
    """The distance of answers and targets as a loaded network sees them."""
    eye = loaded(mlp())
    return lambda answer, y: F.mse_loss(eye(answer), eye(CENTERS[y]).detach())


class Codes(nn.Module):
    """A network with signs in its middle."""

    def __init__(self, *, through: bool) -> None:
        super().__init__()
        self.first, self.last, self.through = mlp(out=16), nn.Linear(16, 5), through

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).tanh()
        code = torch.sign(x)
        return self.last(x + (code - x).detach() if self.through else code)


SEEN: dict[str, Callable[[], Any]] = {
    "parameters-not-training, dropped before the update": lambda: Run(mlp(), *blobs(), zero="late"),
    "parameters-not-training": lambda: Run(Detached(), *blobs()),
    "parameters-not-training, an attribute": lambda: Run(Keeps("turned"), *blobs()),
    "parameters-not-training, a plain tensor": lambda: Run(Keeps("tensor"), *blobs()),
    "parameters-not-training, in a dict": lambda: Run(Keeps("dict"), *blobs()),
    "parameters-not-training, of a copy": lambda: Run(
        net := mlp(), *blobs(), held=list(copy.deepcopy(net).parameters())
    ),
    "parameters-not-training, no gradient": lambda: optimized(
        net := mlp(), lambda: net(torch.randn(9, 8)).sum(), False
    ),
    "parameters-not-training, no update": lambda: pictures(optimizer=True),
    "parameters-not-training, in a list": lambda: Run(InAList(registered=False), *blobs()),
}

FAULTS = SEEN | {
    "parameters-not-training, behind a step": lambda: Run(Codes(through=False), *blobs(), epochs=4),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "frozen on purpose": lambda: Run(frozen_body(), *blobs()),
    "a parameter as attribute": lambda: Run(Keeps("parameter"), *blobs()),
    "a constant as attribute": lambda: Run(Keeps("constant"), *blobs()),
    "a state that wants gradients": lambda: Run(Starts(), *blobs()),
    "points that want gradients": lambda: optimized(net := Physics(), net.loss),
    "loaded, with a new head": lambda: Run(net := loaded(mlp()), *blobs(), held=list(net[2].parameters())),
    "a loaded yardstick": lambda: Run(mlp(out=8), *blobs(), loss=yardstick()),
    "gradients for pictures": lambda: pictures(optimizer=False),
    "registered list": lambda: Run(InAList(registered=True), *blobs()),
    "a part that is never called": lambda: Run(Unused(), *blobs()),
    "codes, straight through": lambda: Run(Codes(through=True), *blobs(), epochs=8),
}


@pytest.mark.parametrize("name", names(FAULTS, seen=SEEN))
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
