"""The range test: what it reads off a curve, what it refuses, and that everything is as before behind it."""

from __future__ import annotations

import copy
import math
import os
import random
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from carousel.errors import UsageError
from carousel.training import Interrupted, range_test
from carousel.training.rate_finder import judged, preserved, smooth, sweep

RATES = np.geomspace(1e-6, 10, 200)
X = np.log10(RATES)


def bowl(fall_at: float, rise_at: float) -> np.ndarray:
    """A loss that falls fastest at one rate, from 3 to 1, and rises steeply at another."""
    return 3 - 2 / (1 + np.exp(-4 * (X - math.log10(fall_at)))) + np.exp(6 * (X - math.log10(rise_at)))


# -- the curve --------------------------------------------------------------------------------------------------------


def test_smooth_is_the_weighted_mean_of_all() -> None:
    losses = np.random.default_rng(0).normal(size=7)
    weights = [[0.6 ** abs(i - j) for j in range(7)] for i in range(7)]
    wanted = [sum(w * v for w, v in zip(row, losses, strict=True)) / sum(row) for row in weights]
    np.testing.assert_allclose(smooth(losses, 0.6), wanted, rtol=1e-13)
    np.testing.assert_array_equal(smooth(losses, 0.0), losses)
    np.testing.assert_allclose(smooth(np.full(5, 2.5)), 2.5, rtol=1e-15)  # no bias at the ends


def test_suggestion_of_a_known_curve() -> None:
    losses = bowl(1e-3, 1.0)
    found = judged(RATES, losses, "highest rate", smoothing=0.0)
    step = RATES[1] / RATES[0]
    assert 1e-3 / step <= found.steepest <= 1e-3 * step
    assert found.lowest == RATES[losses.argmin()]
    assert found.suggestion == pytest.approx(math.sqrt(found.steepest * found.lowest), rel=1e-12)
    assert found.suggestion < found.lowest / 3
    near = judged(RATES, bowl(0.3, 1.0), "highest rate", smoothing=0.0)  # as of plain gradient descent
    assert near.steepest > near.lowest / 9
    assert near.suggestion == near.lowest / 3


@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_noise_moves_the_suggestion_little(noise: float) -> None:
    clean = judged(RATES, bowl(1e-3, 1.0), "highest rate")
    for seed in range(20):
        noisy = bowl(1e-3, 1.0) + noise * np.random.default_rng(seed).normal(size=200)
        found = judged(RATES, noisy, "highest rate")
        assert 0.2 < found.suggestion / clean.suggestion < 5


def test_losses_below_zero_are_as_good() -> None:
    """Log likelihoods of densities are; four times the lowest loss would stop there at once."""
    plain = judged(RATES, bowl(1e-3, 1.0), "highest rate")
    shifted = judged(RATES, bowl(1e-3, 1.0) - 20, "highest rate")
    assert shifted.suggestion == pytest.approx(plain.suggestion)
    curve = dict(zip(RATES.tolist(), (bowl(1e-3, 1.0) - 20).tolist(), strict=True))
    found = sweep(curve.__getitem__)
    assert (found.ended, found.suggestion is not None) == ("diverged", True)


def noise(seed: int = 0, size: int = 200) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size)


@pytest.mark.parametrize(
    ("losses", "ended", "says"),
    [
        (np.full(200, 3.0), "highest rate", "is flat"),
        (3 + 0.002 * noise(), "highest rate", "is flat"),
        (3 + noise(), "highest rate", "too noisy"),
        (3 + np.exp(6 * X), "diverged", "only rose"),
        (3 + 0.5 * (X + 6), "highest rate", "only rose"),
        (bowl(1e-3, 1e9), "highest rate", "still falling"),
        (3 - 0.2 * np.arange(200), "highest rate", "still falling"),
        (np.array([3.0, 2.0, 9.0]), "diverged", "far above its start within 4 updates"),
        (np.array([]), "not finite", "not finite within 1 updates"),
        (np.concatenate([np.linspace(3, 1, 6), np.linspace(1, 9, 20)]), "diverged", "too few points"),
    ],
)
def test_bad_curves_are_refused(losses: np.ndarray, ended: Any, says: str) -> None:
    found = judged(RATES[: len(losses)], losses, ended, smoothing=0.9 if len(losses) > 30 else 0.2)
    assert (found.suggestion, found.steepest, found.lowest) == (None, None, None)
    assert says in found.reason
    assert found.reason.count(". ") == 0


def test_noise_alone_gets_no_suggestion() -> None:
    found = [judged(RATES, 3 + 0.5 * noise(seed), "highest rate").suggestion for seed in range(200)]
    assert sum(one is not None for one in found) <= 2


# -- training ---------------------------------------------------------------------------------------------------------


class Net(nn.Module):
    """Everything that could be forgotten: statistics, dropout, shared weights, a buffer that is replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        self.last = nn.Linear(8, 8)
        self.tied = nn.Linear(8, 8)
        self.tied.weight = self.last.weight
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = self.seen + 1
        return self.tied(self.last(self.first(x))).mean(1, keepdim=True)


def problem(
    rule: Callable[..., torch.optim.Optimizer],
) -> tuple[Net, torch.optim.Optimizer, Callable[[], torch.Tensor]]:
    torch.manual_seed(1)
    net = Net()
    net.first[3].eval()  # a part that its user froze
    groups = [{"params": net.first.parameters(), "lr": 0.02}, {"params": [*net.last.parameters(), net.tied.bias]}]
    optimizer = rule(groups, lr=0.01)

    def loss() -> torch.Tensor:
        x = torch.randn(16, 4) + random.random() + float(np.random.rand())
        return (net(x) - x.sum(1, keepdim=True)).square().mean()

    for _ in range(3):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return net, optimizer, loss


def everything(net: Net, optimizer: torch.optim.Optimizer) -> Any:
    return copy.deepcopy(
        {
            "parameters": dict(net.named_parameters(remove_duplicate=False)),
            "buffers": dict(net.named_buffers()),
            "gradients": [p.grad for p in net.parameters()],
            "modes": [m.training for m in net.modules()],
            "optimizer": optimizer.state_dict(),
            "python": random.getstate(),
            "numpy": np.random.get_state(),
            "torch": torch.get_rng_state(),
        }
    )


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor | np.ndarray):
        return type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


RULES = [
    torch.optim.AdamW,
    lambda groups, lr: torch.optim.SGD(groups, lr=lr, momentum=0.9),
    lambda groups, lr: torch.optim.AdamW(groups, lr=lr, fused=True, amsgrad=True),
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("end", ["whole", "error", "interrupt"])
def test_everything_is_as_before(rule: Any, end: str) -> None:
    net, optimizer, loss = problem(rule)
    held = [*net.parameters(), *net.buffers()]
    before, updates = everything(net, optimizer), []

    def counted() -> torch.Tensor:
        updates.append(1)
        if len(updates) == 15 and end == "error":
            raise RuntimeError("no more data")
        if len(updates) == 15 and end == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
        return loss()

    if end == "whole":
        found = range_test(net, optimizer, counted, updates=40)
        assert len(found.rates) == len(found.losses) > 10
    else:
        with pytest.raises(RuntimeError if end == "error" else Interrupted):
            range_test(net, optimizer, counted, updates=40)
        assert len(updates) == 15
    assert same(everything(net, optimizer), before)
    assert all(one is other for one, other in zip([*net.parameters(), *net.buffers()], held, strict=True))
    assert net.tied.weight is net.last.weight


def test_training_goes_on_as_if_nothing_had_been() -> None:
    ends = []
    for tested in (False, True):
        torch.manual_seed(0), random.seed(0), np.random.seed(0)
        net, optimizer, loss = problem(torch.optim.AdamW)
        if tested:
            range_test(net, optimizer, loss, updates=30)
        for _ in range(5):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
        ends.append(everything(net, optimizer))
    assert same(*ends)


def test_own_generators_are_put_back() -> None:
    own = [torch.Generator().manual_seed(3), np.random.default_rng(4), random.Random(5)]

    def draw() -> list[float]:
        return [float(torch.rand((), generator=own[0])), float(own[1].random()), own[2].random()]

    with preserved(generators=own):
        inside = draw()
    assert draw() == inside
    assert draw() != inside


def test_rates_rise_and_groups_keep_their_ratio() -> None:
    net, optimizer, loss = problem(torch.optim.AdamW)
    seen = []
    original = optimizer.step

    def step() -> None:
        seen.append([group["lr"] for group in optimizer.param_groups])
        original()

    optimizer.step = step  # pyright: ignore
    found = range_test(net, optimizer, loss, low=1e-5, high=1e-2, updates=31)
    np.testing.assert_allclose([a for a, _ in seen][:31], np.geomspace(1e-5, 1e-2, 31), rtol=1e-12)
    np.testing.assert_allclose([b / a for a, b in seen], 0.5, rtol=1e-12)
    np.testing.assert_allclose(found.rates, np.geomspace(1e-5, 1e-2, 31)[: len(found.rates)], rtol=1e-12)
    assert [group["lr"] for group in optimizer.param_groups] == [0.02, 0.01]


def test_loss_is_that_behind_the_update() -> None:
    w = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    net = nn.ParameterList([w])
    found = range_test(net, torch.optim.SGD([w], lr=1), lambda: w.square().sum() / 2, low=1e-4, high=1e-1, updates=50)
    wanted = np.cumprod((1 - np.geomspace(1e-4, 1e-1, 50)) ** 2) / 2  # gradient descent on w²/2
    np.testing.assert_allclose(found.losses, wanted, rtol=1e-12)
    assert w.item() == 1


def test_suggests_a_rate_that_descends_on_a_bowl() -> None:
    """Gradient descent on a quadratic diverges above 2 / λ."""
    curvature = torch.tensor([1.0, 5.0, 25.0])
    w = nn.Parameter(torch.ones(3))
    found = range_test(nn.ParameterList([w]), torch.optim.SGD([w], lr=1), lambda: torch.sum(curvature * w.square()))
    assert found.ended in ("diverged", "not finite")
    assert found.suggestion is not None
    assert 0.001 < found.suggestion < 2 / (2 * 25)


def test_bad_input() -> None:
    net, optimizer, loss = problem(torch.optim.AdamW)
    for words, says in (
        ({"low": 0.0}, "lower one above 0"),
        ({"low": 1.0, "high": 0.1}, "from 1 to 0.1"),
        ({"updates": 5}, "5 updates are too few"),
        ({"smoothing": 1.0}, "smoothing is 1"),
    ):
        with pytest.raises(UsageError, match=says):
            range_test(net, optimizer, loss, **words)
    with pytest.raises(UsageError, match="gave float"):
        range_test(net, optimizer, lambda: 1.0)  # pyright: ignore
    with pytest.raises(UsageError, match=r"shape \(3,\)"):
        range_test(net, optimizer, lambda: torch.ones(3, requires_grad=True))
    with pytest.raises(UsageError, match="closure"):
        range_test(net, torch.optim.LBFGS(net.parameters()), loss)
    with pytest.raises(UsageError, match="lazy layer"):
        range_test(nn.LazyLinear(3), optimizer, loss)


def test_a_loss_that_is_never_finite_is_said() -> None:
    net, optimizer, loss = problem(torch.optim.AdamW)
    found = range_test(net, optimizer, lambda: loss() * math.nan)
    assert found.suggestion is None
    assert "not finite" in found.reason


def test_figure() -> None:
    good = judged(RATES, bowl(1e-3, 1.0), "highest rate").figure()
    labels = [text.get_text() for text in good.axes[0].get_legend().get_texts()]
    assert any("suggestion" in label for label in labels)
    bad = judged(RATES[:0], np.array([]), "not finite").figure()
    assert bad.axes[0].get_title(loc="left") == "no suggestion"


def test_a_last_loss_of_hundreds_does_not_move_the_lowest_point() -> None:
    rates = np.geomspace(1e-6, 1.0, 160)
    losses = 1.1 / (1 + (rates / 5e-4) ** 1.5)
    plain = judged(rates, np.append(losses[:-1], 0.5), "highest rate")
    burst = judged(rates, np.append(losses[:-1], 414.0), "diverged")
    assert plain.lowest is not None
    assert burst.lowest is not None
    assert burst.lowest > 0.5 * plain.lowest
    assert burst.lowest > 0.05
