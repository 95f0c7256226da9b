"""Starting weights: their moments, in every kind of layer, and what is left alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import carousel
from carousel.errors import UsageError
from carousel.nn import INITIALIZATIONS, initialize, lsuv, network

DRAWN = ("small", "unit", "xavier", "xavier-normal", "he", "he-uniform")


def variance(name: str, n: int, m: int) -> float:
    return {"small": 1e-4, "unit": 1.0, "xavier": 2 / (n + m), "xavier-normal": 2 / (n + m),
            "he": 2 / n, "he-uniform": 2 / n}[name]  # fmt: skip


LAYERS = [
    (lambda: nn.Linear(60, 90), 60, 90),
    (lambda: nn.Conv2d(12, 20, 5), 12 * 25, 20 * 25),
    (lambda: nn.Conv1d(12, 20, 5, groups=4), 3 * 5, 5 * 5),
    (lambda: nn.ConvTranspose3d(12, 20, 3), 12 * 27, 20 * 27),
    (lambda: nn.ConvTranspose2d(12, 20, 5, groups=2), 6 * 25, 10 * 25),
    (lambda: nn.Bilinear(6, 7, 90), 42, 90),
    (lambda: torch.nn.utils.parametrizations.weight_norm(nn.Linear(60, 90)), 60, 90),
]


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize(("layer", "n", "m"), LAYERS)
def test_variance_is_the_formula(name: str, layer, n: int, m: int) -> None:
    module = layer()
    count = module.weight.numel()
    initialize(module, name, torch.Generator().manual_seed(1))
    expected = variance(name, n, m)
    # The relative deviation of a sample variance is √(2/count) for normal, less for uniform draws; five of them.
    assert float(module.weight.detach().square().mean()) == pytest.approx(expected, rel=5 * math.sqrt(2 / count))
    assert abs(float(module.weight.detach().mean())) < 5 * math.sqrt(expected / count)
    assert not module.bias.any()
    if name in ("xavier", "he-uniform"):
        assert float(module.weight.detach().abs().max()) <= math.sqrt(3 * expected)


@pytest.mark.parametrize("shape", [(7, 7), (5, 9), (9, 5)])
def test_orthogonal_layers(shape: tuple[int, int]) -> None:
    w = initialize(nn.Linear(*shape).double(), "orthogonal").weight.detach()
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    torch.testing.assert_close(gram, torch.eye(min(shape), dtype=torch.float64))


def test_orthogonal_in_groups_and_transposed() -> None:
    w = initialize(nn.Conv1d(6, 4, 3, groups=2).double(), "orthogonal").weight.detach()
    for group in w.chunk(2):
        flat = group.flatten(1)
        torch.testing.assert_close(flat @ flat.T, torch.eye(2, dtype=torch.float64))
    w = initialize(nn.ConvTranspose1d(6, 4, 3).double(), "orthogonal").weight.detach().transpose(0, 1).flatten(1)
    torch.testing.assert_close(w @ w.T, torch.eye(4, dtype=torch.float64))


def test_he_keeps_what_goes_through_rectified_layers() -> None:
    """E[a²] = 2 E[x²] in every layer, also in the ninth (He et al. 2015, equation 10); a mean over 20 networks."""
    sizes = []
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        net = initialize(network("mlp", (200,), 200, hidden_size=200, layers=8), "he", generator)
        x = torch.randn(50, 200, generator=generator)
        sizes.append(float(net(x).detach().square().mean()) / (2 * float(x.square().mean())))
    assert 0.7 < sum(sizes) / len(sizes) < 1.4


def test_equal_generators_draw_equally_and_leave_the_global_one_alone() -> None:
    before = torch.random.get_rng_state()
    nets = [initialize(nn.Linear(3, 4), name, torch.Generator().manual_seed(5)) for name in ("he", "he", "unit")]
    assert torch.equal(nets[0].weight, nets[1].weight)
    after = torch.random.get_rng_state()
    torch.random.set_rng_state(before)
    for _ in range(3):
        nn.Linear(3, 4)
    assert torch.equal(after, torch.random.get_rng_state())


def test_what_is_left_alone_and_what_starts_anew() -> None:
    net = nn.ModuleDict({
        "norm": nn.BatchNorm1d(3), "group": nn.GroupNorm(1, 3), "words": nn.Embedding(5, 3),
        "cell": carousel.nn.Recurrent(carousel.cells.LSTM, 3, 4), "lstm": nn.LSTM(3, 4), "gate": carousel.nn.Highway(3),
    })  # fmt: skip
    before = {name: p.clone() for name, p in net.named_parameters()}
    with torch.no_grad():
        for norm in (net["norm"], net["group"]):
            norm.weight.fill_(7)
            norm.bias.fill_(7)
    assert initialize(net, "unit") is net
    assert net["norm"].weight.tolist() == net["group"].weight.tolist() == [1, 1, 1]
    assert net["norm"].bias.tolist() == net["group"].bias.tolist() == [0, 0, 0]
    changed = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"gate.new.weight", "gate.new.bias", "gate.gate.weight"}
    assert net["gate"].gate_bias.tolist() == [-2, -2, -2]


def test_zeros() -> None:
    net = initialize(network("lenet5", (1, 28, 28), 10), "zeros")
    assert not any(p.any() for p in net.parameters())


@pytest.mark.parametrize("name", ["mlp", "convnet", "lenet5", "resnet20"])
def test_lsuv_gives_each_layer_unit_variance(name: str) -> None:
    net = network(name, (1, 28, 28), 10)
    x = torch.rand(16, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    net.train()
    next(net.children()).eval()
    modes = [module.training for module in net.modules()]
    initialize(net, "lsuv", batch=x)
    assert [module.training for module in net.modules()] == modes
    variances: list[float] = []
    hooks = [
        layer.register_forward_hook(lambda _, __, output: variances.append(float(output.detach().var())))
        for layer in net.modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    net.eval()(x)
    assert len(variances) == len(hooks)
    assert all(0.9 <= v <= 1.1 for v in variances)


def test_lsuv_of_a_layer_with_weight_norm() -> None:
    net, x = torch.nn.utils.parametrizations.weight_norm(nn.Linear(6, 5)), torch.randn(70, 6)
    assert initialize(net, "lsuv", batch=x)(x).var().item() == pytest.approx(1, abs=0.1)


def test_lsuv_of_a_linear_layer_keeps_its_directions() -> None:
    layer, x = nn.Linear(4, 3, bias=False).double(), torch.randn(90, 4, dtype=torch.float64)
    before = layer.weight.detach().clone()
    lsuv(layer, (x,), tolerance=1e-9)
    torch.testing.assert_close(layer.weight.detach(), before / (x @ before.T).std())


@pytest.mark.parametrize("batch", [torch.zeros(5, 4), torch.full((5, 4), math.nan)])
def test_lsuv_without_variance(batch: Tensor) -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    with pytest.raises(UsageError, match=r"The output of layer 0 has the variance (0\.0|nan)"):
        initialize(net, "lsuv", batch=batch)
    assert net.training


def test_bad_names() -> None:
    with pytest.raises(UsageError, match=r"no initialization 'xavjer'\. Did you mean 'xavier'?"):
        initialize(nn.Linear(2, 2), "xavjer")
    with pytest.raises(UsageError, match="lsuv measures; give it a batch"):
        initialize(nn.Linear(2, 2), "lsuv")
    with pytest.raises(UsageError, match="ReLU has no dense layer and no convolution"):
        initialize(nn.ReLU(), "he")
    assert all(0 < len(entry.about) < 90 for entry in INITIALIZATIONS.values())
