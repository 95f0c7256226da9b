"""The parts of the recipes with closed forms: tests, theories and rules, held against what they stand for."""

from __future__ import annotations

import importlib
import itertools
import math

import pytest
import torch
from torch import nn

pytest.importorskip("sklearn", reason="scikit-learn is not installed (pip install carousel-nn[recipes])")
stats = pytest.importorskip("scipy.stats")

init = importlib.import_module("carousel.recipes.init.run")
slides = importlib.import_module("carousel.recipes.init.lecture")
optimizers = importlib.import_module("carousel.recipes.optimizers.run")
regions = importlib.import_module("carousel.recipes.perceptron.regions")
objectives = importlib.import_module("carousel.recipes.perceptron.objectives")
losses = importlib.import_module("carousel.recipes.losses.run")
flows = importlib.import_module("carousel.recipes.gradient-flow.run")
fit = importlib.import_module("carousel.recipes.universal.fit")
own = importlib.import_module("carousel.recipes.custom-function.run")


def test_distance_is_students_t_of_one_more_draw() -> None:
    """Twenty numbers of a normal distribution, then one more: beyond the 5 % point in 5 % of the cases."""
    drawn = torch.randn(4_000, 21, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    limit = float(stats.t.ppf(0.975, 19))
    beyond = sum(init.distance(float(row[-1]), row[:-1], log=False) > limit for row in drawn) / len(drawn)
    assert beyond == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / 4_000))


def test_distance_counts_from_the_end_of_what_rounds_to_the_number() -> None:
    tiny = torch.tensor([2e-7, 3e-7, 2.5e-7], dtype=torch.float64)
    assert init.distance(0.0, tiny, log=True) == 0  # all below 5e-7 print as 0.000000
    assert init.distance(0.0, 10 * tiny, log=True) > 1
    assert init.distance(0.000001, tiny, log=True) > 1


def test_slides_have_ten_layers_of_falling_or_even_spread() -> None:
    for setting in slides.SETTINGS.values():
        assert len(setting.printed) == 10
        spreads = [spread for _, spread in setting.printed if spread is not None]
        assert max(b / a for a, b in itertools.pairwise(spreads) if a > 0) < 1.05


def test_mean_field_of_initializations() -> None:
    assert init.theory(slides.SETTINGS["ReLU, He"]) == pytest.approx([1.0] * 10, rel=1e-6)
    assert init.theory(slides.SETTINGS["ReLU, Xavier"]) == pytest.approx(
        [2 ** (-k / 2) for k in range(1, 11)], rel=1e-6
    )
    small = init.theory(slides.SETTINGS["tanh, 0.01"])
    assert small[-1] / small[-2] == pytest.approx(0.01 * 500**0.5, rel=1e-6)  # tanh is the identity there


def test_momentum_is_the_lectures() -> None:
    """V ← μ v - α ∇f, w ← w + v."""
    rule, curvature = optimizers.Rule(0.07, 0.8), torch.tensor([1.0, 20.0], dtype=torch.float64)
    w, v = torch.tensor([3.0, -1.0], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    found = optimizers.path(rule, curvature, w, 25)
    for place in found[1:]:
        v = 0.8 * v - 0.07 * curvature * w
        w = w + v
        torch.testing.assert_close(place, w, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("condition", [2.0, 50.0, 3_000.0])
def test_best_rates_are_best(condition: float) -> None:
    """Their factor is that of the recursion, and every rule near them is slower."""
    curvature = torch.tensor([1.0, condition], dtype=torch.float64)
    for rule, rate, _ in optimizers.rules(condition).values():
        if rule.nesterov:
            continue
        assert optimizers.factor(rule, curvature) == pytest.approx(rate, rel=1e-6)
        for near in (0.98, 1.02):
            assert optimizers.factor(rule._replace(step=rule.step * near), curvature) > rate
            if rule.momentum:
                assert optimizers.factor(rule._replace(momentum=rule.momentum * near), curvature) > rate


def test_regions() -> None:
    """A star has the area that its triangles have, and every unit on its edge counts as inside."""
    points = 2.4 * torch.rand(200_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1.2
    star = regions.Region(regions.star())
    assert star.units == (20, 6, 1)
    x, y = regions.STAR.T
    area = float((x * y.roll(-1) - y * x.roll(-1)).sum()) / 2
    assert float(star(points).mean()) * 5.76 == pytest.approx(area, abs=4 * 5.76 * math.sqrt(0.25 / 200_000))
    assert star(regions.STAR).tolist() == [1.0] * 10
    half = regions.Region([torch.tensor([[0.0, 0.0], [1.0, 0.0]]).double()])
    assert half.units == (1, 1, 1)
    assert half(torch.tensor([[5.0, 0.1], [5.0, -0.1]]).double()).tolist() == [1.0, 0.0]


def test_gradient_ascent_and_hill_climbing_go_up() -> None:
    start = torch.tensor([-1.0, 2.0], dtype=torch.float64)
    up = objectives.accuracy(objectives.climb(start, 100))
    assert (up.diff() > 0).all()
    assert (objectives.likelihood(objectives.ascend(start, 200)).diff() >= -1e-12).all()


@pytest.mark.parametrize("count", [1, 3, 33])
def test_gradients_of_losses_by_hand(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    z = (3 * torch.randn(count, 7, generator=generator, dtype=torch.float64)).requires_grad_()
    y = torch.randint(7, (count,), generator=generator)
    rows = zip(z.tolist(), y.tolist(), strict=True)
    hinge = sum(max(0.0, score - row[right] + 1) for row, right in rows for i, score in enumerate(row) if i != right)
    every = losses.losses(z, y)
    assert every["hinge"].item() == pytest.approx(hinge)
    for name, loss in every.items():
        (gradient,) = torch.autograd.grad(loss, z, retain_graph=True)
        torch.testing.assert_close(losses.by_hand(z.detach(), y)[name], gradient, rtol=1e-12, atol=1e-14)


def test_flow_is_the_norm_of_each_units_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a network of nn.Linear, one sample after the other."""
    monkeypatch.setattr(flows, "WIDTH", 6)
    monkeypatch.setattr(flows, "BATCH", 5)
    found, generator = flows.flow("tanh", 1.5, 0, 3), torch.Generator().manual_seed(0)
    layers = [nn.Linear(a, b, bias=False) for a, b in ((64, 6), (6, 6), (6, 6), (6, 10))]
    for number, layer in enumerate(layers):
        a, b = layer.in_features, layer.out_features
        scale = math.sqrt((1.5 if number < 3 else 1.0) / a)
        layer.weight.data = (torch.randn(a, b, generator=generator) * scale).T.contiguous()
    net = nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2], nn.Tanh(), layers[3])
    (x, y), whole = flows.digits(), [torch.zeros_like(layer.weight) for layer in layers]
    for sample in range(5):
        loss = nn.functional.cross_entropy(net(x[sample : sample + 1]), y[sample : sample + 1])
        gradients = torch.autograd.grad(loss, [layer.weight for layer in layers])
        for number in range(3):
            torch.testing.assert_close(found.single[number, sample], gradients[number].norm(dim=1))
        whole = [total + gradient / 5 for total, gradient in zip(whole, gradients, strict=True)]
    for number in range(3):
        torch.testing.assert_close(found.batch[number], whole[number].norm(dim=1))


def test_theory_of_gradients() -> None:
    """ReLU: what shrinks on its way back has shrunk on its way forth. A small tanh keeps all."""
    for variance in (0.5, 1.0, 2.0):
        torch.testing.assert_close(flows.theory("ReLU", variance, 9), torch.zeros(9).double(), atol=1e-5, rtol=0)
    level = flows.theory("sigmoid", 1.0, 9)
    assert (level.diff()[1:] > math.log(4)).all()  # σ' is at most a quarter
    torch.testing.assert_close(flows.theory("tanh", 1e-4, 5), torch.zeros(5).double(), atol=1e-3, rtol=0)


def test_relus_by_hand() -> None:
    """Exact where the function is straight between the knots, else within the bound."""
    tent = lambda x: 1 - (2 * x - 1).abs()  # noqa: E731
    assert fit.by_hand(tent, 2) < 1e-15
    assert fit.by_hand(tent, 8) < 1e-14
    for f in fit.FUNCTIONS.values():
        assert fit.by_hand(f, 128) <= fit.bend(f) / 8 / 128**2
    assert fit.bend(lambda x: 3 * x**2) == pytest.approx(6)
    assert fit.weights((64,)) == fit.weights((12, 12)) == 193


def test_own_relu() -> None:
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(own.MyReLU.apply, x)
    assert torch.autograd.gradgradcheck(own.MyReLU.apply, x)
    assert not torch.autograd.gradcheck(own.Wrong.apply, torch.full((2,), -0.05).double().requires_grad_(),
                                        raise_exception=False)  # fmt: skip
