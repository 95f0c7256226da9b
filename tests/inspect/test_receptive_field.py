"""Receptive fields: formula, NaN and gradients of positive weights agree; nothing of the network changes."""

from __future__ import annotations

import doctest
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carousel.errors import UsageError
from carousel.inspect import field_formula, layers, receptive_field, receptive_fields, receptive_mask
from carousel.nn import network


def test_examples() -> None:
    for module in (layers, receptive_field):
        result = doctest.testmod(module)
        assert result.failed == 0
        assert result.attempted > 1


def by_gradient(net: nn.Module, shape: tuple[int, ...], unit: tuple[int, ...]) -> Tensor:
    """Where the gradient is not zero, all weights being positive: right for networks without maxima."""
    for parameter in net.parameters():
        nn.init.constant_(parameter, 1.0)
    x = torch.ones(1, *shape, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(x)[(0, *unit)], x)
    return gradient[0].ne(0).any(0)


GRID = [g for g in product((1, 2, 3, 5), (1, 2, 3), (0, 1, 2), (1, 2)) if g[2] <= g[0] // 2 and g[3] * (g[0] - 1) < 9]


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), GRID)
def test_formula_nan_and_gradient_agree_for_a_chain(kernel: int, stride: int, padding: int, dilation: int) -> None:
    net = nn.Sequential(
        nn.Conv1d(1, 2, kernel, stride, padding, dilation), nn.ReLU(), nn.Conv1d(2, 1, 3, 2, 1), nn.AvgPool1d(2, 1)
    )
    shape = (1, 24)
    formula, fields = field_formula(net), receptive_fields(net, None, shape, batch=7)
    for unit in range(fields.begin.shape[-1]):
        (seen,) = formula.seen([unit], [24])
        expected = by_gradient(net, shape, (0, unit))
        assert seen == expected.nonzero()[:, 0].tolist()
        assert fields.box(0, unit) == (slice(seen[0], seen[-1] + 1) if seen else slice(0, 0),)
        assert receptive_mask(net, None, shape, (0, unit), batch=5).equal(expected)
        (begin, end), (size,) = formula.box([unit])[0], formula.size
        assert end - begin == size
        assert all(begin <= place < end for place in seen)
    assert max(fields.size) <= formula.size[0]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("pool", [nn.MaxPool2d, nn.AvgPool2d])
def test_poolings_are_windows_too(pool: Any, ceil: bool) -> None:
    net = nn.Sequential(
        nn.ZeroPad2d((1, 0, 2, 0)),
        nn.Conv2d(2, 3, (3, 2), padding="same" if ceil else "valid"),
        nn.BatchNorm2d(3),
        nn.LeakyReLU(),
        pool((3, 2), 2, padding=1, ceil_mode=ceil),
        nn.Sequential(nn.Dropout(), nn.Conv2d(3, 2, (1, 3), dilation=2)),
    )
    shape = (2, 10, 13)
    formula, fields = field_formula(net), receptive_fields(net, None, shape)
    maps = fields.begin.shape[2:]
    assert maps == net.eval()(torch.zeros(1, *shape)).shape[2:]
    for row, column in product(range(maps[0]), range(maps[1])):
        seen = formula.seen([row, column], shape[1:])
        expected = tuple(slice(s[0], s[-1] + 1) if s else slice(0, 0) for s in seen)
        assert fields.box(1, row, column) == expected
    rows, columns = formula.seen([1, 2], shape[1:])
    mask = torch.zeros(10, 13, dtype=torch.bool)
    mask[torch.tensor(rows)[:, None], torch.tensor(columns)] = True
    assert receptive_mask(net, None, shape, (0, 1, 2)).equal(mask)


def test_maxima_and_dead_units_hide_nothing() -> None:
    """A gradient sees one element of a maximum, and none of a dead unit."""
    net = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.MaxPool2d(2))
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].bias.fill_(-1.0)  # pyright: ignore[reportOptionalMemberAccess]
    assert receptive_mask(net, None, (1, 8, 8), (0, 1, 1)).sum() == 16
    assert receptive_fields(net, None, (1, 8, 8)).box(0, 1, 1) == (slice(2, 6), slice(2, 6))


@pytest.mark.parametrize(("layer", "depth"), [("relu", 1), ("layer1.0", 3), ("layer1.2", 7), ("layer2.0.conv1", 8)])
def test_residual_networks(layer: str, depth: int) -> None:
    """3 x 3 convolutions one behind the other: 2 · depth + 1, the branches beside them see less."""
    found = receptive_fields(network("resnet20", (3, 32, 32), 10), layer, (3, 32, 32))
    assert found.size == (2 * depth + 1, 2 * depth + 1)
    stride = 2 if layer.startswith("layer2") else 1
    centre = 16 // stride
    row = slice(16 - depth, 16 + depth + 1)
    assert found.box(0, centre, centre) == (row, row)


def test_padded_shortcut_of_a_block_with_stride() -> None:
    found = receptive_fields(network("resnet20", (3, 32, 32), 10), "layer2.0", (3, 32, 32))
    assert found.size == (21, 21)  # 15 after seven convolutions, 2 more of the next, 2 · 2 of that behind the stride
    assert receptive_fields(network("plain20", (3, 32, 32), 10), "layer2.0", (3, 32, 32)).begin.equal(found.begin)


@pytest.mark.parametrize(("layer", "size"), [("pool1", 4), ("conv2", 8), ("pool2", 10), ("pool3", 30), ("pool4", 70)])
def test_vgg(layer: str, size: int) -> None:
    net = network("vgg11", (3, 32, 32), 10, hidden_size=8)
    names = [name for name, _ in net.named_children()]
    formula = field_formula([net.get_submodule(name) for name in names[: names.index(layer) + 1]])
    assert formula.size == (size, size)
    found = receptive_fields(net, layer, (3, 32, 32))
    for place in range(found.begin.shape[-1]):
        rows, columns = formula.seen([place, 0], (32, 32))
        assert found.box(7, place, 0) == (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.narrow, self.wide = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 2, 5, padding=2)
        self.shared = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.shared(x)
        both = self.shared(torch.cat([self.narrow(x), self.wide(x)], 1))
        return F.interpolate(both, scale_factor=2)


def test_channels_of_branches_differ_and_the_last_call_counts() -> None:
    net = Branches()
    found = receptive_fields(net, "shared", (1, 9, 9))
    assert found.box(0, 4, 4) == (slice(4, 5), slice(4, 5))
    assert found.box(1, 4, 4) == found.box(2, 4, 4) == (slice(2, 7), slice(2, 7))
    assert receptive_fields(net, None, (1, 9, 9)).box(1, 9, 8) == (slice(2, 7), slice(2, 7))
    with pytest.raises(UsageError, match="no closed form for a Branches"):
        field_formula(net)


def test_dense_units_see_everything() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(18, 4))
    assert receptive_fields(net, "2", (1, 5, 5)).box(3) == (slice(0, 5), slice(0, 5))


def test_the_network_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.ReLU(inplace=True))
    net[1].eval()
    net[0].weight.grad = torch.ones_like(net[0].weight)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state, libraries = torch.get_rng_state(), (torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled)
    receptive_fields(net, "0", (1, 6, 6))
    with pytest.raises(UsageError):
        receptive_fields(net, "0", (2, 6, 6))
    assert [m.training for m in net] == [True, False, True, True]
    assert not any(m._forward_hooks for m in net.modules())
    assert net[0].weight.grad.equal(torch.ones_like(net[0].weight))
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())
    assert torch.get_rng_state().equal(state)
    assert (torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled) == libraries


@pytest.mark.parametrize(
    ("net", "layer", "shape", "message"),
    [
        (nn.Sequential(nn.Conv2d(1, 1, 3)), "00", (1, 5, 5), "no layer '00'; did you mean '0'"),
        (nn.Sequential(nn.Conv2d(1, 1, 3)), nn.ReLU(), (1, 5, 5), "is no layer of this Sequential"),
        (nn.Sequential(nn.Conv2d(1, 1, 3)), "0", (3, 5, 5), r"does not take an input of the shape \(1, 3, 5, 5\)"),
        (nn.Sequential(nn.Conv2d(1, 1, 3)), "0", (5,), "expected .channels, height, width"),
        (nn.Sequential(nn.Conv2d(1, 1, 3), network("threshold", (9,), 2)), "0", (1, 5, 5), None),
        (nn.LSTM(4, 3), None, (5, 4), None),
    ],
)
def test_bad_input(net: nn.Module, layer: Any, shape: tuple[int, ...], message: str | None) -> None:
    if message is None and isinstance(net, nn.LSTM):
        assert receptive_fields(net, layer, shape).begin.shape == (1, 5, 3)  # a tuple's first tensor
        return
    with pytest.raises(UsageError, match=message or "does not take"):
        receptive_fields(net, layer, shape)


def test_what_compares_sees_nothing_and_says_so() -> None:
    from carousel.nn.units import Threshold

    net = nn.Sequential(nn.Conv2d(1, 1, 3), Threshold())
    with pytest.raises(UsageError, match="by comparisons alone"):
        receptive_fields(net, None, (1, 5, 5))
    assert receptive_fields(net, "0", (1, 5, 5)).size == (3, 3)
    with pytest.raises(UsageError, match="There is no unit"):
        receptive_fields(net, "0", (1, 5, 5)).box(0, 5, 5)


def test_bad_formulas() -> None:
    with pytest.raises(UsageError, match="No layer has a window"):
        field_formula([nn.ReLU()])
    with pytest.raises(UsageError, match="1 and 2 axes"):
        field_formula([nn.Conv1d(1, 1, 3), nn.Conv2d(1, 1, 3)])
    formula = field_formula([nn.Conv2d(1, 1, 3)])
    with pytest.raises(UsageError, match="2 axes"):
        formula.box([1])
    with pytest.raises(UsageError, match="Axis 1 has 3 units"):
        formula.seen([0, 3], [5, 5])
