"""Every rule finds a planted fault, and is silent on the healthy run that looks most like it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carousel.doctor import Record, Watch, diagnose

CLASSES = 5
CENTERS = 2.0 * torch.randn(CLASSES, 8, generator=torch.Generator().manual_seed(1))


def blobs(count: int = 600) -> tuple[Tensor, Tensor]:
    """Points of five classes around five centers, in random order."""
    y = torch.randint(CLASSES, (count,))
    return CENTERS[y] + 0.5 * torch.randn(count, 8), y


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


def codes(found: list[Any]) -> list[str]:
    return [f.code for f in found]


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, 32), nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(x)).detach())


class Bound(nn.Module):
    def __init__(self, upper: float | None = None) -> None:
        super().__init__()
        self.upper = upper

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=0) if self.upper is None else x.clamp(0, self.upper)


def stack(phi: nn.Module, gain: float) -> nn.Module:
    """Fourteen layers whose weights begin at `gain` over the root of their inputs."""
    net = nn.Sequential(
        *(m for n in [8, *[32] * 13] for m in (nn.Linear(n, 32), copy.copy(phi))), nn.Linear(32, CLASSES)
    )
    for layer in net:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=gain / layer.in_features**0.5)
    return net


class Blocks(nn.Module):
    """A deep sum; each block adds `scale` times as much as there is."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale, self.head = scale, nn.Linear(32, CLASSES)
        self.layers = nn.ModuleList(nn.Linear(n, 32) for n in [8, *[32] * 30])
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.get_parameter("weight"), nonlinearity="relu")

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


class Drops(nn.Module):
    """Dropout, called in one of several ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.first, self.last, self.how, self.layer = nn.Linear(8, 32), nn.Linear(32, CLASSES), how, nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        p, q = 0.3 if self.training else 0.0, x.unflatten(1, (4, 8))
        return self.last(
            {
                "untold": lambda: F.dropout(x, 0.3),
                "told": lambda: F.dropout(x, 0.3, training=self.training),
                "always": lambda: F.dropout(x, 0.3, True),
                "made": lambda: nn.Dropout(0.3)(x),
                "layer": lambda: self.layer(x),
                "attention": lambda: F.scaled_dot_product_attention(q, q, q, dropout_p=0.3).flatten(1),
                "attention, told": lambda: F.scaled_dot_product_attention(q, q, q, dropout_p=p).flatten(1),
            }[self.how]()
        )


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


def frozen_body() -> nn.Module:
    net = mlp()
    net[0].requires_grad_(False)
    return net


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


def weighted(*weights: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda scores, y: F.cross_entropy(scores, y, weight=torch.tensor(weights))


def half_told(count: int = 3000) -> tuple[Tensor, Tensor]:
    """Rare samples that overlap with the others, so that one of five is rather one of them."""
    y = (torch.rand(count) < 0.04).long()
    x = torch.randn(count, 8)
    x[:, 0] += 1.9 * y
    return x, y


def mse(answers: Tensor, y: Tensor) -> Tensor:
    return F.mse_loss(answers, y)


def by_hand(std: float) -> Callable[[], None]:
    """A network of tensors, with updates that are written out."""

    def train() -> None:
        (x, y), sizes = blobs(), [8, 64, 64, CLASSES]
        weights = [(std * torch.randn(n, m)).requires_grad_() for n, m in itertools.pairwise(sizes)]
        for _ in range(8):
            for batch in torch.randperm(len(x)).split(30):
                h = torch.tanh(torch.tanh(x[batch] @ weights[0]) @ weights[1])
                F.cross_entropy(h @ weights[2], y[batch]).backward()
                with torch.no_grad():
                    for w in weights:
                        w -= 0.05 * w.grad
                        w.grad = None

    return train


def yes_or_no(count: int = 600) -> tuple[Tensor, Tensor]:
    """Whether a point is of the first two classes."""
    x, y = blobs(count)
    return x, (y < 2).float()


def bce_with_logits(scores: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(scores, y)


def divergence(answer: Tensor, y: Tensor) -> Tensor:
    return F.kl_div(answer, 0.9 * F.one_hot(y, CLASSES) + 0.02, reduction="batchmean")


def masked(scores: Tensor, y: Tensor) -> Tensor:
    """Whether a point is of a class, where that is known; -1 else."""
    label = F.one_hot(y, CLASSES).float()
    label[::3] = -1
    return (F.binary_cross_entropy_with_logits(scores, label, reduction="none") * (label >= 0)).mean()


class Speaks(nn.Module):
    """Symbols in time."""

    def __init__(self, *, log: bool) -> None:
        super().__init__()
        self.layer, self.log = nn.Linear(4, 4), log

    def forward(self, x: Tensor) -> Tensor:
        scores = self.layer(x).transpose(0, 1)
        return scores.log_softmax(-1) if self.log else scores


def spoken(count: int = 300) -> tuple[Tensor, Tensor]:
    """Three symbols, a blank behind each."""
    y = torch.randint(1, 4, (count, 3))
    return torch.stack([F.one_hot(y, 4), F.one_hot(0 * y, 4)], 2).flatten(1, 2).float(), y


def ctc(answer: Tensor, y: Tensor) -> Tensor:
    return F.ctc_loss(answer, y, torch.full((len(y),), 6), torch.full((len(y),), 3))


def misaligned(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return x, y[torch.randperm(len(y))]


def hard(count: int) -> tuple[Tensor, Tensor]:
    """Labels that the inputs half determine."""
    x = torch.randn(count, 8)
    return x, (x[:, 0] + torch.randn(count) > 0).long()


def line(count: int = 600) -> tuple[Tensor, Tensor]:
    x = torch.randn(count, 8)
    return x, x[:, :1] - x[:, 1:2] + 0.3 * torch.randn(count, 1)


def drifted(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return x, y + 5


def with_column(x: Tensor, column: Tensor) -> Tensor:
    return torch.cat([x, column.reshape(len(x), -1).float()], 1)


def told(data: tuple[Tensor, Tensor], noise: float = 0.0) -> tuple[Tensor, Tensor]:
    """With the labels as a last column."""
    x, y = data
    return with_column(x, 2.0 * y - 3 + noise * torch.randn(y.shape)), y


def binned(data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """With the mean target of one of twenty groups, which were made by the target."""
    x, y = data
    group = torch.bucketize(y[:, 0], y.quantile(torch.linspace(0.05, 0.95, 19)))
    return with_column(x, torch.stack([y[group == k].mean() for k in range(20)])[group]), y


def storeys(count: int = 600) -> tuple[Tensor, Tensor]:
    """Heights of buildings, and their storeys, which tell them but for the roof."""
    storey = torch.randint(1, 20, (count, 1)).float()
    x = with_column(torch.randn(count, 8), storey / 10)
    return x, (storey + 0.3 * torch.rand(count, 1) * x[:, :1].sigmoid()) / 10


def told_in_codes() -> tuple[Tensor, Tensor]:
    x, y = blobs()
    return with_column(x, F.one_hot(y)), y


def overlapping(data: tuple[Tensor, Tensor], net: nn.Module, shuffled: bool = False, **options: Any) -> Run:
    """The last 50 training rows are the first of the evaluated ones, if these are not shuffled."""
    x, y = data
    order = torch.randperm(len(x) - 350) + 350 if shuffled else torch.arange(350, len(x))
    return Run(net, x[:400], y[:400], dev=(x[order], y[order]), **options)


def apart(data: tuple[Tensor, Tensor], net: nn.Module, **options: Any) -> Run:
    x, y = data
    return Run(net, x[:400], y[:400], dev=(x[400:], y[400:]), **options)


def bits(count: int = 600) -> tuple[Tensor, Tensor]:
    """Rows that repeat by nature; the label is one of the bits."""
    x = torch.randint(2, (count, 8)).float()
    return x, x[:, 0].long()


def wide(out: int = CLASSES) -> nn.Sequential:
    return nn.Sequential(nn.Linear(9, 32), nn.ReLU(), nn.Linear(32, out))


def noise(net: nn.Module, **options: Any) -> Run:
    """Labels that say nothing, to be learned by heart."""
    x, y = torch.randn(120, 8), torch.randint(CLASSES, (120,))
    dev = torch.randn(100, 8), torch.randint(CLASSES, (100,))
    return Run(net, x, y, dev=dev, **options)


FAULTS: dict[str, Callable[[], Callable[[], None]]] = {
    "double-softmax": lambda: Run(mlp(nn.ReLU()).append(nn.Softmax(1)), *blobs()),
    "double-softmax, of sigmoids": lambda: Run(
        mlp(out=1).append(nn.Sigmoid()), *yes_or_no(), loss=lambda s, y: bce_with_logits(s.squeeze(1), y)
    ),
    "double-softmax, two sigmoids": lambda: Run(
        mlp(out=1).append(nn.Sigmoid()), *yes_or_no(), loss=lambda s, y: F.binary_cross_entropy(s[:, 0].sigmoid(), y)
    ),
    "double-softmax, sigmoids and cross-entropy": lambda: Run(mlp().append(nn.Sigmoid()), *blobs()),
    "double-softmax, along the other axis": lambda: Run(mlp().append(nn.Softmax(0)), *blobs()),
    "wrong-loss": lambda: Run(mlp(), *blobs(), loss=F.nll_loss),
    "wrong-loss, divergence of probabilities": lambda: Run(mlp().append(nn.Softmax(1)), *blobs(), loss=divergence),
    "wrong-loss, divergence of scores": lambda: Run(mlp(), *blobs(), loss=divergence),
    "wrong-loss, sequences of scores": lambda: Run(Speaks(log=False), *spoken(), loss=ctc),
    "wrong-loss, labels of a binary loss": lambda: Run(
        mlp(out=1), *yes_or_no(), loss=lambda s, y: bce_with_logits(s[:, 0], 2 * y - 1)
    ),
    "wrong-loss, labels of a margin": lambda: Run(
        mlp(out=1), *yes_or_no(), loss=lambda s, y: F.soft_margin_loss(s[:, 0], y)
    ),
    "parameters-not-training, dropped before the update": lambda: Run(mlp(), *blobs(), zero="late"),
    "missing-zero-grad": lambda: Run(mlp(), *blobs(), zero="never"),
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
    "train-eval-mode": lambda: Run(mlp(nn.Dropout(0.3), nn.ReLU()), *blobs(), dev=blobs(100), eval_mode=False),
    "train-eval-mode, a loss with a mode": lambda: Run(
        mlp(nn.Dropout(0.3), nn.ReLU()), *blobs(), dev=blobs(100), loss=nn.CrossEntropyLoss(), modes="never"
    ),
    "train-eval-mode, after the first evaluation": lambda: Run(
        mlp(nn.Dropout(0.3), nn.ReLU()), *blobs(), dev=blobs(200), modes="once"
    ),
    "saturated-activations": lambda: Run(scaled(mlp(nn.Tanh()), 10), *blobs()),
    "saturated-activations, updates by hand": lambda: by_hand(1.0),
    "dead-relu": lambda: Run(scaled(mlp(), 0.1, bias=-3), *blobs()),
    "dead-relu, as a lower bound": lambda: Run(scaled(mlp(Bound()), 0.1, bias=-3), *blobs()),
    "dead-relu, few positives": lambda: Run(scaled(mlp(out=2), 0.1, bias=-3), *rare(0.1, apart=True)),
    "vanishing-gradient-depth": lambda: Run(deep(nn.Sigmoid), *blobs()),
    "bad-init": lambda: Run(filled(mlp(nn.Tanh()), 0.1, 0.1), *blobs()),
    "exploding-gradient-depth": lambda: Run(Blocks(1.0), *blobs()),
    "exploding-gradient-depth, without ReLU": lambda: Run(stack(nn.ELU(), 3.0), *blobs()),
    "unshuffled-data": lambda: Run(mlp(), *by_class(*blobs()), shuffle=False),
    "class-imbalance": lambda: Run(mlp(out=2), *rare(0.04, apart=False)),
    "class-imbalance, weights all one": lambda: Run(mlp(out=2), *rare(0.04, apart=False), loss=weighted(1.0, 1.0)),
    "class-imbalance, weights the wrong way": lambda: Run(
        mlp(out=2), *rare(0.04, apart=False), loss=weighted(0.96, 0.04)
    ),
    "class-imbalance, some recognized": lambda: Run(mlp(out=2), *half_told(), dev=half_told(1000), compare=True),
    "train-eval-mode, dropout untold": lambda: Run(Drops("untold"), *blobs(), dev=blobs(200)),
    "train-eval-mode, dropout made in the call": lambda: Run(Drops("made"), *blobs(), dev=blobs(200)),
    "train-eval-mode, dropout of attention": lambda: Run(Drops("attention"), *blobs(), dev=blobs(200)),
    "train-eval-mode, dropout told, no modes": lambda: Run(Drops("told"), *blobs(), dev=blobs(200), eval_mode=False),
    "overfitting": lambda: Run(mlp(width=256, out=2), *hard(120), dev=hard(400), epochs=60),
    "label-noise": lambda: apart(misaligned(*hard(700)), mlp(width=256, out=2), epochs=60),
    "label-noise, small": lambda: noise(mlp(width=256), epochs=40),
    "label-noise, training data evaluated too": lambda: apart(
        misaligned(*hard(700)), mlp(width=256, out=2), epochs=60, train_too=True
    ),
    "label-noise, dev only": lambda: Run(mlp(), *blobs(), dev=misaligned(*blobs(300)), epochs=8),
    "label-noise, compared": lambda: apart(misaligned(*hard(700)), mlp(width=256, out=2), epochs=60, compare=True),
    "label-noise, of numbers": lambda: apart(misaligned(*line()), mlp(width=128, out=1), loss=mse, epochs=100),
    "data-leakage": lambda: Run(wide(), *told(blobs())),
    "data-leakage, with noise": lambda: Run(wide(2), *told(hard(600), 0.02)),
    "data-leakage, in codes": lambda: Run(nn.Linear(13, CLASSES), *told_in_codes()),
    "data-leakage, of numbers": lambda: Run(wide(1), *told(line()), loss=mse),
    "data-leakage, of numbers in steps": lambda: Run(wide(1), *binned(line()), loss=mse),
    "data-leakage, split": lambda: overlapping(blobs(), mlp(), shuffled=True),
    "data-leakage, split, one batch": lambda: overlapping(blobs(), mlp(), dev_size=250, train_too=True),
    "data-leakage, split, boundary inside a batch": lambda: overlapping(blobs(), mlp(), dev_size=40),
    "non-finite": lambda: Run(mlp(), *blobs(), loss=lambda s, y: F.cross_entropy((s - s.detach()).sqrt(), y)),
}

HEALTHY: dict[str, Callable[[], Callable[[], None]]] = {
    "plain": lambda: Run(mlp(), *blobs(), dev=blobs(100)),
    "deep, with ELU": lambda: Run(stack(nn.ELU(), 1.2), *blobs(), lr=1e-3),
    "deep, with leaky ReLU": lambda: Run(stack(nn.LeakyReLU(), 1.4), *blobs(), lr=1e-3),
    "deep, with GELU": lambda: Run(stack(nn.GELU(), 1.5), *blobs(), lr=1e-3),
    "sigmoids as scores, enlarged": lambda: Run(
        mlp().append(nn.Sigmoid()), *blobs(), loss=lambda s, y: F.cross_entropy(10 * s, y)
    ),
    "divergence": lambda: Run(mlp().append(nn.LogSoftmax(1)), *blobs(), loss=divergence),
    "sequences": lambda: Run(Speaks(log=True), *spoken(), loss=ctc),
    "labels that are masked": lambda: Run(mlp(), *blobs(), loss=masked),
    "a margin": lambda: Run(mlp(out=1), *yes_or_no(), loss=lambda s, y: F.soft_margin_loss(s[:, 0], 2 * y - 1)),
    "log-softmax and nll": lambda: Run(mlp().append(nn.LogSoftmax(1)), *blobs(), loss=F.nll_loss),
    "log-softmax and cross-entropy": lambda: Run(mlp().append(nn.LogSoftmax(1)), *blobs()),
    "a sigmoid and its loss": lambda: Run(
        mlp(out=1).append(nn.Sigmoid()), *yes_or_no(), loss=lambda s, y: F.binary_cross_entropy(s[:, 0], y)
    ),
    "scores behind a sigmoid layer": lambda: Run(
        mlp(nn.Sigmoid(), out=1), *yes_or_no(), loss=lambda s, y: bce_with_logits(s[:, 0], y)
    ),
    "accumulation on purpose": lambda: Run(mlp(), *blobs(), zero="accumulate"),
    "gradients set to None by hand": lambda: Run(mlp(), *blobs(), zero="none"),
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
    "dropout off": lambda: Run(mlp(nn.Dropout(0.0), nn.ReLU()), *blobs(), dev=blobs(100), eval_mode=False),
    "a loss with a mode": lambda: Run(
        mlp(nn.Dropout(0.3), nn.ReLU()), *blobs(), dev=blobs(200), loss=nn.CrossEntropyLoss()
    ),
    "held, in evaluation mode": lambda: Run(
        nn.Sequential(frozen_body(), nn.Dropout(0.1)), *blobs(), dev=blobs(200), modes="once"
    ),
    "no noise, no modes": lambda: Run(mlp(), *blobs(), dev=blobs(100), eval_mode=False),
    "updates by hand": lambda: by_hand(0.2),
    "tanh as it comes": lambda: Run(mlp(nn.Tanh()), *blobs()),
    "a lower bound": lambda: Run(mlp(Bound(), width=64), *blobs()),
    "bounds of pixels": lambda: Run(mlp(nn.ReLU(), Bound(upper=1.0), width=64), *blobs()),
    "sparse but living": lambda: Run(mlp(width=64), *blobs()),
    "deep with batch norm": lambda: Run(deep(nn.Sigmoid, norm=True), *blobs()),
    "last layer zero": lambda: Run(filled(mlp(nn.Tanh()), None, 0.0), *blobs()),
    "residual blocks, scaled": lambda: Run(Blocks(0.1), *blobs()),
    "deep tanh, Xavier": lambda: Run(deep(nn.Tanh, xavier=True), *blobs()),
    "imbalance with weights": lambda: Run(mlp(out=2), *rare(0.04, apart=False), loss=weighted(1.0, 30.0)),
    "imbalance, judged by scores": lambda: Run(mlp(out=2), *half_told(), dev=half_told(1000)),
    "dropout that is told": lambda: Run(Drops("told"), *blobs(), dev=blobs(200)),
    "dropout that is always on": lambda: Run(Drops("always"), *blobs(), dev=blobs(200)),
    "dropout as a layer": lambda: Run(Drops("layer"), *blobs(), dev=blobs(200)),
    "attention that is told": lambda: Run(Drops("attention, told"), *blobs(), dev=blobs(200)),
    "imbalance, easy": lambda: Run(mlp(out=2), *rare(0.04, apart=True), epochs=8),
    "data sorted, batches shuffled": lambda: Run(mlp(), *by_class(*blobs())),
    "not shuffled, but mixed": lambda: Run(mlp(), *blobs(), shuffle=False),
    "hard data, partly learned by heart": lambda: Run(mlp(width=64, out=2), *hard(200), dev=hard(400), epochs=15),
    "imbalance, dev no better than the majority": lambda: Run(
        mlp(out=2), *rare(0.15, apart=True), dev=rare(0.15, apart=True)
    ),
    "compared": lambda: apart(hard(700), mlp(out=2), epochs=8, compare=True),
    "a measurement in steps": lambda: Run(wide(1), *storeys(), loss=mse),
    "numbers that drift": lambda: Run(mlp(out=1), *line(), loss=mse, dev=drifted(*line(200)), epochs=8),
    "noise, few samples": lambda: Run(mlp(), *blobs(), dev=misaligned(*blobs(60))),
    "training data evaluated too": lambda: apart(blobs(), mlp(), train_too=True, epochs=6),
    "all data evaluated at once": lambda: Run(
        mlp(), *(d := blobs()), dev=tuple(torch.cat([t, u]) for t, u in zip(d, blobs(200), strict=True)), dev_size=1000
    ),
    "all data evaluated in order": lambda: Run(
        mlp(), *(d := blobs()), dev=tuple(torch.cat([t, u]) for t, u in zip(d, blobs(100), strict=True)), dev_size=64
    ),
    "only training data evaluated": lambda: Run(mlp(), *(d := blobs()), dev=d),
    "rows that repeat by nature": lambda: apart(bits(), mlp(out=2), epochs=6),
    "clusters far apart": lambda: Run(
        mlp(), *(lambda y: (CENTERS[y] + 0.02 * torch.randn(600, 8), y))(torch.randint(CLASSES, (600,)))
    ),
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


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_column_against_a_row_is_seen_without_experiments(findings: Callable) -> None:
    x, y = line()
    assert codes(findings(Run(mlp(out=1), x, y[:, 0], loss=mse), probe=False)) == ["wrong-loss"]
    assert codes(findings(Run(mlp(out=1), x, y, loss=mse), probe=False)) == []


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


@pytest.mark.parametrize("phi", [nn.ELU(), nn.GELU(), nn.LeakyReLU(), nn.SELU(), nn.SiLU(), nn.Softplus(), nn.Mish()])
def test_other_activations_are_seen_by_their_sizes(phi: nn.Module) -> None:
    record = Record()
    with Watch(record):
        Run(mlp(phi), *blobs(), epochs=1)()
    (seen,) = record.activations.values()
    assert seen.kind.replace("_", "") == type(phi).__name__.lower()
    assert seen.sizes
    assert seen.first
    assert (seen.alive, seen.limits, seen.idle) == ([], [], None)
    assert record.place_of(seen) == "Sequential.1"
