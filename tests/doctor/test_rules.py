"""Every rule finds a planted fault, and is silent on the healthy run that looks most like it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carousel.doctor import RULES, Record, Watch, diagnose

CLASSES = 5


def blobs(count: int = 600) -> tuple[Tensor, Tensor]:
    """Points of five classes around five centers, in random order."""
    centers = 2.0 * torch.randn(CLASSES, 8)
    y = torch.randint(CLASSES, (count,))
    return centers[y] + 0.5 * torch.randn(count, 8), y


def mlp(*middle: nn.Module, width: int = 32, out: int = CLASSES) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, width), *(middle or (nn.ReLU(),)), nn.Linear(width, out))


def cross_entropy(scores: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(scores, y)  # looked up when it is called, as by a script that runs under the doctor


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
    zero: str = "each"  # each, never, none (sets grad to None by hand), accumulate (two backward passes an update)
    held: list[nn.Parameter] | None = None
    dev: tuple[Tensor, Tensor] | None = None
    eval_mode: bool = True

    def __call__(self) -> None:
        held = list(self.net.parameters()) if self.held is None else self.held
        rule = torch.optim.Adam(held, lr=self.lr)
        for _ in range(self.epochs):
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
                if self.zero != "accumulate" or number % 2:
                    rule.step()
                    if self.zero == "accumulate":
                        rule.zero_grad()
            if self.dev is not None:
                if self.eval_mode:
                    self.net.eval()
                with torch.no_grad():
                    for x, y in zip(*(t.split(50) for t in self.dev), strict=True):
                        self.loss(self.net(x), y)


def codes(found: list[Any]) -> list[str]:
    return [f.code for f in found]


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, 32), nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(x)).detach())


class Blocks(nn.Module):
    """A deep sum; each block adds `scale` times as much as there is."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale, self.head = scale, nn.Linear(32, CLASSES)
        self.layers = nn.ModuleList(nn.Linear(n, 32) for n in [8, *[32] * 30])
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers[0](x)
        for layer in self.layers[1:]:
            x = x + self.scale * torch.relu(layer(x))
        return self.head(x)


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


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare = mlp(), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


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


def filled(net: nn.Sequential, *values: float | None) -> nn.Sequential:
    """With constant weights, where a value is given."""
    layers = [module for module in net if isinstance(module, nn.Linear)]
    for layer, value in zip(layers, values, strict=True):
        if value is not None:
            nn.init.constant_(layer.weight, value)
    return net


def deep(activation: type[nn.Module], *, xavier: bool = False, norm: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n in [8, *[32] * 7]:
        layers += [nn.Linear(n, 32), *([nn.BatchNorm1d(32)] if norm else []), activation()]
    net = nn.Sequential(*layers, nn.Linear(32, CLASSES))
    for module in net if xavier else ():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
    return net


def rare(share: float, *, apart: bool) -> tuple[Tensor, Tensor]:
    y = (torch.rand(2000) < share).long()
    x = torch.randn(2000, 8)
    x[:, 0] += (4.0 if apart else 0.5) * y
    return x, y


def by_class(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    order = y.argsort()
    return x[order], y[order]


def weighted(scores: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(scores, y, weight=torch.tensor([1.0, 30.0]))


def noise(net: nn.Module, **options: Any) -> Run:
    """Labels that say nothing, to be learned by heart."""
    x, y = torch.randn(120, 8), torch.randint(CLASSES, (120,))
    dev = torch.randn(100, 8), torch.randint(CLASSES, (100,))
    return Run(net, x, y, dev=dev, **options)


FAULTS: dict[str, Callable[[], Run]] = {
    "double-softmax": lambda: Run(mlp(nn.ReLU()).append(nn.Softmax(1)), *blobs()),
    "wrong-loss": lambda: Run(mlp(), *blobs(), loss=F.nll_loss),
    "missing-zero-grad": lambda: Run(mlp(), *blobs(), zero="never"),
    "parameters-not-training": lambda: Run(Detached(), *blobs()),
    "parameters-not-training, in a list": lambda: Run(InAList(registered=False), *blobs()),
    "train-eval-mode": lambda: Run(mlp(nn.Dropout(0.3), nn.ReLU()), *blobs(), dev=blobs(100), eval_mode=False),
    "saturated-activations": lambda: Run(scaled(mlp(nn.Tanh()), 10), *blobs()),
    "dead-relu": lambda: Run(scaled(mlp(), 0.1, bias=-3), *blobs()),
    "vanishing-gradient-depth": lambda: Run(deep(nn.Sigmoid), *blobs()),
    "bad-init": lambda: Run(filled(mlp(nn.Tanh()), 0.1, 0.1), *blobs()),
    "exploding-gradient-depth": lambda: Run(Blocks(1.0), *blobs()),
    "unshuffled-data": lambda: Run(mlp(), *by_class(*blobs()), shuffle=False),
    "class-imbalance": lambda: Run(mlp(out=2), *rare(0.04, apart=False)),
    "overfitting": lambda: noise(mlp(width=256), epochs=40),
    "non-finite": lambda: Run(mlp(), *blobs(), loss=lambda s, y: F.cross_entropy((s - s.detach()).sqrt(), y)),
}

HEALTHY: dict[str, Callable[[], Run]] = {
    "plain": lambda: Run(mlp(), *blobs(), dev=blobs(100)),
    "log-softmax and nll": lambda: Run(mlp().append(nn.LogSoftmax(1)), *blobs(), loss=F.nll_loss),
    "log-softmax and cross-entropy": lambda: Run(mlp().append(nn.LogSoftmax(1)), *blobs()),
    "accumulation on purpose": lambda: Run(mlp(), *blobs(), zero="accumulate"),
    "gradients set to None by hand": lambda: Run(mlp(), *blobs(), zero="none"),
    "frozen on purpose": lambda: Run(frozen_body(), *blobs()),
    "registered list": lambda: Run(InAList(registered=True), *blobs()),
    "a part that is never called": lambda: Run(Unused(), *blobs()),
    "dropout off": lambda: Run(mlp(nn.Dropout(0.0), nn.ReLU()), *blobs(), dev=blobs(100), eval_mode=False),
    "no noise, no modes": lambda: Run(mlp(), *blobs(), dev=blobs(100), eval_mode=False),
    "tanh as it comes": lambda: Run(mlp(nn.Tanh()), *blobs()),
    "sparse but living": lambda: Run(mlp(width=64), *blobs()),
    "deep with batch norm": lambda: Run(deep(nn.Sigmoid, norm=True), *blobs()),
    "last layer zero": lambda: Run(filled(mlp(nn.Tanh()), None, 0.0), *blobs()),
    "residual blocks, scaled": lambda: Run(Blocks(0.1), *blobs()),
    "deep tanh, Xavier": lambda: Run(deep(nn.Tanh, xavier=True), *blobs()),
    "imbalance with weights": lambda: Run(mlp(out=2), *rare(0.04, apart=False), loss=weighted),
    "imbalance, easy": lambda: Run(mlp(out=2), *rare(0.04, apart=True), epochs=8),
    "data sorted, batches shuffled": lambda: Run(mlp(), *by_class(*blobs())),
    "not shuffled, but mixed": lambda: Run(mlp(), *blobs(), shuffle=False),
    "a gap that does not grow": lambda: noise(mlp(width=4), epochs=10, lr=1e-3),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name: str, findings: Callable) -> None:
    found = findings(FAULTS[name])
    assert codes(found) == [name.split(",")[0]]
    assert all(f.where and f.evidence.endswith(".") and f.advice.endswith(".") for f in found)


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_left_in_peace(name: str, findings: Callable) -> None:
    assert codes(findings(HEALTHY[name])) == []


def test_every_rule_has_a_fault_here_and_a_code_of_the_list() -> None:
    planted = {name.split(",")[0] for name in FAULTS}
    assert {rule.CODE for rule in RULES} - planted == {"state-not-detached"}  # ends in an error: test_script


def test_a_network_of_two_optimizers_is_left_in_peace(findings: Callable) -> None:
    """Each one's gradients wait while the other is updated, as in adversarial training."""

    def train() -> None:
        made, judge = nn.Linear(4, 8), mlp(out=1)
        rules = [torch.optim.Adam(net.parameters(), lr=1e-3) for net in (made, judge)]
        for _ in range(60):
            fake, real = made(torch.randn(20, 4)), torch.randn(20, 8)
            rules[1].zero_grad()
            (F.softplus(judge(fake.detach())) + F.softplus(-judge(real))).mean().backward()
            rules[1].step()
            rules[0].zero_grad()
            F.softplus(-judge(fake)).mean().backward()
            rules[0].step()

    assert codes(findings(train)) == []


def test_a_consequence_is_listed_under_its_cause() -> None:
    record = Record()
    torch.manual_seed(0)
    with Watch(record):
        Run(scaled(deep(nn.Tanh), 60), *blobs())()
    found = diagnose(record)
    assert codes(found) == ["saturated-activations"]


def test_it_changes_nothing(findings: Callable) -> None:
    def trained(watch: bool) -> list[Tensor]:
        torch.manual_seed(3)
        run = Run(mlp(nn.Dropout(0.5), nn.BatchNorm1d(32), nn.ReLU()), *blobs(), dev=blobs(100))
        if watch:
            with Watch(Record()):
                run()
        else:
            run()
        return [*run.net.state_dict().values(), torch.rand(3)]

    before = [getattr(owner, name) for owner, name in ((F, "relu"), (torch, "tanh"), (Tensor, "sigmoid"))]
    assert all(torch.equal(a, b) for a, b in zip(trained(True), trained(False), strict=True))
    assert before == [getattr(owner, name) for owner, name in ((F, "relu"), (torch, "tanh"), (Tensor, "sigmoid"))]
    assert "relu" not in vars(Tensor)
