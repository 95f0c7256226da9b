"""Filters, patches, gradients to pixels, occlusion, class images: against what can be worked out by hand."""

from __future__ import annotations

import doctest
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carousel.errors import UsageError
from carousel.inspect import (
    backproject,
    class_image,
    first_filters,
    occlusion,
    receptive_fields,
    saliency,
    top_patches,
)
from carousel.nn import network


@pytest.mark.parametrize("name", ["patches", "backprojection", "occlusion", "class_image"])
def test_examples(name: str) -> None:
    import importlib

    result = doctest.testmod(importlib.import_module(f"carousel.inspect.{name}"))
    assert result.failed == 0
    assert result.attempted > 1


def filled(net: nn.Module, *values: Any) -> nn.Module:
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), values, strict=True):
            parameter.copy_(torch.as_tensor(value).reshape(parameter.shape).to(parameter))
    return net


def watched(net: nn.Module) -> Any:
    """All that must not change."""
    grads = [p.grad if p.grad is None else p.grad.clone() for p in net.parameters()]
    flags = [m.training for m in net.modules()]
    hooks = [len(m._forward_hooks) + len(m._backward_hooks) for m in net.modules()]
    return str((grads, flags, hooks, net.state_dict(), torch.get_rng_state()))


# -- filters ----------------------------------------------------------------------------------------------------------


def test_filters_have_one_scale() -> None:
    net = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 2, (1, 2), bias=False), nn.Conv2d(2, 1, 1))
    filled(net[1], [[1.0, -4.0], [0.0, 2.0]])
    found = first_filters(net)
    assert found.layer == "1"
    assert found.limit == 4.0
    assert found.as_pixels().flatten().tolist() == [0.625, 0.0, 0.5, 0.75]
    assert first_filters(net, "2").weight.shape == (1, 2, 1, 1)
    filled(net[1], torch.zeros(4))
    assert first_filters(net).as_pixels().unique().tolist() == [0.5]


def test_filters_that_cannot_be_shown() -> None:
    with pytest.raises(UsageError, match="no 2-D convolution"):
        first_filters(nn.Linear(2, 2))
    with pytest.raises(UsageError, match="'1' is a ReLU"):
        first_filters(nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU()), "1")
    with pytest.raises(UsageError, match="not all finite"):
        first_filters(filled(nn.Conv2d(1, 1, 1), torch.nan, 0.0))


# -- patches ----------------------------------------------------------------------------------------------------------


def detector() -> nn.Sequential:
    """Channel 0 finds a cross, channel 1 a bright corner pixel; ReLU and pooling behind."""
    cross = torch.tensor([[-1.0, 1, -1], [1, 1, 1], [-1, 1, -1]])
    corner = torch.zeros(3, 3)
    corner[0, 0] = 1.0
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    filled(net, torch.stack([cross, corner]))
    return net


def planted(count: int = 20) -> tuple[Tensor, Tensor]:
    images = torch.rand(count, 1, 12, 12) * 0.1
    strength = torch.rand(count) + 0.5
    cross = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]])
    for image, much in zip(images, strength, strict=True):
        image[0, 4:7, 6:9] = much * cross
    return images, strength


@pytest.mark.parametrize("batch", [1, 3, 20, 100])
def test_a_planted_pattern_is_found(batch: int) -> None:
    images, strength = planted()
    found = top_patches(detector(), "1", images, n=4, batch=batch)
    order = strength.argsort(descending=True)[:4]
    assert found.images[0].tolist() == order.tolist()
    assert found.positions[0].tolist() == [[5, 7]] * 4
    torch.testing.assert_close(found.values[0], 5 * strength[order])
    for image, patch in zip(order, found.of(0), strict=True):
        assert patch.equal(images[image, :, 4:7, 6:9])
    pooled = top_patches(detector(), "2", images, n=4, batch=batch, channels=[0])
    assert pooled.positions[0].tolist() == [[2, 3]] * 4
    assert pooled.of(0)[0].equal(images[order[0], :, 3:7, 5:9])  # four by four: a pool of two and three by three
    assert pooled.cut(0, images[order])[2].equal(pooled.of(0)[2])


def test_patches_at_the_border_are_cut_there() -> None:
    images = torch.zeros(2, 1, 5, 7)
    images[1, 0, 0, 0] = 1.0
    found = top_patches(detector(), "0", images, n=1, channels=[1])
    assert found.positions.tolist() == [[[1, 1]]]
    assert found.of(1)[0].shape == (1, 3, 3)
    images[1] = 0
    images[1, 0, 4, 6] = 1.0
    found = top_patches(detector(), "0", images, n=1)  # the cross answers at (3, 6) as much as at (4, 6), and first
    assert (found.begin[0].tolist(), found.end[0].tolist()) == ([[2, 5]], [[5, 7]])
    assert found.of(0)[0].equal(images[1, :, 2:5, 5:7])


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_ties_go_to_the_first(batch: int) -> None:
    found = top_patches(detector(), "1", torch.zeros(7, 1, 4, 4), n=3, batch=batch)
    assert found.images.tolist() == [[0, 1, 2]] * 2
    assert not found.positions.any()
    assert found.of(0)[0].shape == (1, 2, 2)


def test_streams_of_batches_give_the_same() -> None:
    images, _ = planted(10)
    fields = receptive_fields(detector(), "1", (1, 12, 12))
    whole = top_patches(detector(), "1", images, n=20, fields=fields)
    assert whole.values.shape == (2, 10)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, torch.arange(10)), batch_size=4)
    streamed = top_patches(detector(), "1", loader, n=20)
    assert streamed.images.equal(whole.images)
    assert all(
        a.equal(b) for x, y in zip(whole.patches, streamed.patches, strict=True) for a, b in zip(x, y, strict=True)
    )
    generated = top_patches(detector(), "1", (images[i : i + 3] for i in range(0, 10, 3)), n=20)
    assert generated.values.equal(whole.values)


def test_brute_force_on_a_real_network() -> None:
    net, images = network("resnet20", (3, 16, 16), 4).eval(), torch.randn(6, 3, 16, 16)
    seen: list[Tensor] = []
    handle = net.layer2.register_forward_hook(lambda *a: seen.append(a[2].detach()))
    net(images)
    handle.remove()
    before = watched(net.train())
    found = top_patches(net, "layer2", images, n=3, batch=4, channels=[5, 2])
    assert watched(net) == before
    for channel in (5, 2):
        maps = seen[0][:, channel].flatten(1)
        order = maps.amax(1).argsort(descending=True)[:3]
        row = found.channels.tolist().index(channel)
        assert found.images[row].equal(order)
        torch.testing.assert_close(found.values[row], maps.amax(1)[order])
        assert (found.positions[row, :, 0] * 8 + found.positions[row, :, 1]).equal(maps[order].argmax(1))


def test_dense_units_have_whole_images() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(18, 3))
    images = torch.randn(5, 2, 3, 3)
    found = top_patches(net, "1", images, n=2)
    best = net(images).argmax(0)
    assert found.images[:, 0].equal(best)
    assert found.positions.shape == (3, 2, 0)
    assert found.of(2)[0].equal(images[best[2]])


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (torch.zeros(0, 1, 5, 5), {}, "no images"),
        ([], {}, "no images"),
        ([torch.zeros(2, 1, 5, 5), torch.zeros(2, 1, 6, 5)], {}, "one size"),
        ([torch.zeros(5)], {}, "expected .batch, channels"),
        (["cat.png"], {}, "is a str"),
        (torch.zeros(2, 1, 5, 5), {"n": 0}, "at least 1"),
        (torch.zeros(2, 1, 5, 5), {"channels": [2]}, "channels 0 to 1"),
        (torch.full((2, 1, 5, 5), torch.nan), {}, "are NaN"),
        (torch.zeros(2, 3, 5, 5), {}, "does not take an input"),
    ],
)
def test_bad_images(images: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        top_patches(detector(), "1", images, **options)
    found = top_patches(detector(), "0", torch.zeros(2, 1, 5, 5), channels=[1])
    with pytest.raises(UsageError, match="no patches of channel 0"):
        found.of(0)


# -- to the pixels ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["module", "function", "in place", "clamp"])
def test_the_three_rules_at_one_layer_of_relus(written: str) -> None:
    r"""With mask m and weights above v: :math:`W^⊤(m v)`, :math:`W^⊤(m v^+)`, :math:`W^⊤ v^+`."""
    rectify = {
        "module": nn.ReLU(),
        "function": F.relu,
        "in place": nn.ReLU(inplace=True),
        "clamp": lambda a: a.clamp(min=0),
    }[written]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.below, self.above = nn.Linear(6, 5).double(), nn.Linear(5, 3).double()

        def forward(self, x: Tensor) -> Tensor:
            return self.above(rectify(self.below(x)))

    net, x = Net(), torch.randn(4, 6, dtype=torch.float64)
    W, v = net.below.weight.detach(), net.above.weight[1].detach()
    mask = (net.below(x) > 0).double()
    assert 0 < mask.mean() < 1
    expected = {
        "gradient": (mask * v) @ W,
        "guided": (mask * v.clamp_min(0)) @ W,
        "deconvolution": v.clamp_min(0).expand(4, -1) @ W,
    }
    before = watched(net)
    for rule, pixels in expected.items():
        found = backproject(net, x, 1, rule=rule)  # pyright: ignore[reportArgumentType]
        torch.testing.assert_close(found.pixels, pixels)
        torch.testing.assert_close(found.values, net(x)[:, 1].detach())
        assert found.rectifiers == 1
    assert watched(net) == before


def test_relu6_counts_and_tanh_does_not() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU6(), nn.Tanh(), nn.Hardtanh(), nn.LeakyReLU(), nn.Linear(4, 1))
    assert backproject(net, torch.randn(2, 3), 0).rectifiers == 2
    linear = nn.Linear(3, 2)
    for rule in ("gradient", "guided", "deconvolution"):
        found = backproject(linear, torch.randn(2, 3), 1, rule=rule)  # pyright: ignore[reportArgumentType]
        assert found.pixels.equal(linear.weight[1].detach().expand(2, -1))


def test_switches_of_the_pooling() -> None:
    """A value goes back where the maximum was, through the transposed filter: worked out with max_unpool."""
    conv = nn.Conv2d(2, 3, 3, padding=1)
    net, images = nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2)), torch.randn(4, 2, 8, 8)
    found = backproject(net, images, 1, rule="deconvolution")
    pooled, switches = F.max_pool2d(conv(images).relu(), 2, return_indices=True)
    for i in range(4):
        seed = torch.zeros(1, 3, 4, 4)
        place = pooled[i, 1].argmax()
        assert found.positions[i].tolist() == [int(place) // 4, int(place) % 4]
        seed[0, 1].view(-1)[place] = 1.0
        unpooled = F.max_unpool2d(seed, switches[i : i + 1], 2).relu()
        expected = F.conv_transpose2d(unpooled, conv.weight, padding=1)[0].detach()
        torch.testing.assert_close(found.pixels[i], expected)


def test_a_unit_answers_only_inside_its_field() -> None:
    net, images = network("resnet20", (3, 16, 16), 4), torch.randn(3, 3, 16, 16)
    fields = receptive_fields(net, "layer1.0", (3, 16, 16))
    found = backproject(net, images, 4, layer="layer1.0", position=(3, 9), rule="deconvolution")
    outside = torch.ones(16, 16, dtype=torch.bool)
    outside[fields.box(4, 3, 9)] = False
    assert not found.pixels[:, :, outside].any()
    assert found.pixels.any()
    each = torch.tensor([[3, 9], [0, 0], [15, 2]])
    several = backproject(net, images, 4, layer="layer1.0", position=each, rule="deconvolution")
    assert several.positions.equal(each)
    torch.testing.assert_close(several.pixels[0], found.pixels[0])


def test_saliency_of_a_linear_network_is_its_weight() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 5)).double()
    images = torch.randn(6, 3, 4, 4, dtype=torch.float64)
    before = watched(net)
    found = saliency(net, images)
    assert watched(net) == before
    assert found.classes.equal(net(images).argmax(1))
    assert found.map.equal(net[1].weight.detach().reshape(5, 3, 4, 4)[found.classes].abs().amax(1))
    chosen = saliency(net, images, [0, 1, 2, 3, 4, 0])
    assert chosen.gradient[3].equal(net[1].weight[3].detach().reshape(3, 4, 4))


def test_saliency_under_no_grad_and_of_a_softmax() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Softmax(1))
    with torch.no_grad():
        assert saliency(net, torch.randn(1, 1, 2, 2), 1, layer="1").map.any()
    for ask in (saliency, lambda net, x: occlusion(net, x[0]), lambda net, x: class_image(net, (1, 2, 2), 0)):
        with pytest.raises(UsageError, match="ends in a Softmax; name the layer"):
            ask(net, torch.randn(1, 1, 2, 2))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda net, x: backproject(net, x, 0, rule="cam"), "no rule 'cam'"),  # pyright: ignore[reportArgumentType]
        (lambda net, x: backproject(net, x, 2), "no channel 2"),
        (lambda net, x: backproject(net, x, 0, layer="0", position=(3, 0)), "no position"),
        (lambda net, x: backproject(net, x, 0, layer="0", position=(3,)), "expected 2 numbers"),
        (lambda net, x: backproject(net, x.long(), 0), "int64"),
        (lambda net, x: occlusion(net, x[0], "cat"), "The classes are 'cat'; give their numbers, 0 to 1"),
        (lambda net, x: class_image(net, (1, 5, 5), ["cat"]), "give their numbers"),
        (lambda net, x: first_filters(3), "The network is a int"),  # pyright: ignore[reportArgumentType]
        (lambda net, x: receptive_fields(net, "0", 5), "expected .channels, height"),  # pyright: ignore
        (lambda net, x: saliency(net, x, 7), "classes 0 to 1; got 7"),
        (lambda net, x: saliency(net, x, [0, 1, 0]), "give one, or 2"),
        (lambda net, x: saliency(net, x, layer="0"), "expected scores"),
        (lambda net, x: saliency(net[2:], x.flatten(1)[:, :9].sign().detach()), None),
    ],
)
def test_bad_questions(ask: Any, message: str | None) -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten(), nn.Linear(9, 2))
    x = torch.randn(2, 1, 5, 5)
    if message is None:
        assert ask(net, x).map.shape == (2,)
        return
    with pytest.raises(UsageError, match=message):
        ask(net, x)
    assert not any(m._forward_hooks for m in net.modules())


# -- occlusion --------------------------------------------------------------------------------------------------------


class Pixel(nn.Module):
    """Class 1 is how bright one pixel is, class 0 always 1."""

    def __init__(self, row: int, column: int):
        super().__init__()
        self.row, self.column = row, column

    def forward(self, x: Tensor) -> Tensor:
        seen = x[:, 0, self.row, self.column]
        return torch.stack([torch.ones_like(seen), seen], 1)


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 1), ((2, 3), 2), (4, 3), (5, 9)])
def test_occlusion_of_a_network_that_looks_at_one_pixel(size: Any, stride: int) -> None:
    image = torch.rand(1, 9, 11)
    image[0, 4, 6] = 3.0
    tall, wide = (size, size) if isinstance(size, int) else size
    found = occlusion(Pixel(4, 6), image, size=size, stride=stride, value=-1.0, batch=7)
    assert found.target == 1
    assert found.whole[0] == 3.0
    assert (found.rows[-1], found.columns[-1]) == (9 - tall, 11 - wide)
    covers = torch.tensor([[r <= 4 < r + tall and c <= 6 < c + wide for c in found.columns] for r in found.rows])
    assert found.score.equal(torch.where(covers, -1.0, 3.0))
    assert found.predicted.equal((~covers).long())
    torch.testing.assert_close(found.probability, (found.score - 1).sigmoid())
    drop = found.drop()
    if covers.any():
        assert drop[4, 6] == 4.0  # of all squares on the pixel
        assert drop.nan_to_num().max() == 4.0  # NaN where no square came
    if size == 1:
        assert drop.nonzero().tolist() == [[4, 6]]


def test_gray_is_the_mean_and_a_single_output_has_a_sigmoid() -> None:
    image = torch.randn(2, 8, 8)
    net = nn.Sequential(nn.Flatten(), nn.Linear(128, 1))
    found = occlusion(net, image, size=8)
    gray = image.mean((1, 2), keepdim=True).expand_as(image)
    torch.testing.assert_close(found.score.flatten(), net(gray.unsqueeze(0))[0].detach())
    torch.testing.assert_close(found.probability, found.score.sigmoid())
    assert occlusion(net, image, size=2, value=[0.0, 1.0]).score.shape == (7, 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 10}, "no place"),
        ({"size": 0}, "no place"),
        ({"size": 2, "stride": 0}, "no place"),
        ({"value": [1.0, 2.0]}, "give a number, or 1"),
        ({"target": 2}, "classes 0 to 1"),
    ],
)
def test_bad_squares(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        occlusion(Pixel(0, 0), torch.zeros(1, 9, 9), **options)
    with pytest.raises(UsageError, match="one image"):
        occlusion(Pixel(0, 0), torch.zeros(1, 1, 9, 9))


# -- class images -----------------------------------------------------------------------------------------------------


def test_a_linear_score_has_its_image_in_closed_form() -> None:
    r"""From x_0 = 0: :math:`x_n = (1 - (1 - 2ηλ)^n)\, w / 2λ`."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).double()
    found = class_image(net, (3, 2, 2), [2, 0], steps=7, rate=0.3, decay=0.2)
    weight = net[1].weight.detach()[[2, 0]]
    torch.testing.assert_close(found.pixels.flatten(1), (1 - (1 - 0.12) ** 7) * weight / 0.4)
    assert found.scores.shape == found.objective.shape == (8, 2)
    assert (found.objective.diff(dim=0) > 0).all()
    torch.testing.assert_close(found.scores[0], net[1].bias.detach()[[2, 0]])
    torch.testing.assert_close(found.probability, net(found.pixels).softmax(1)[[0, 1], [2, 0]].detach())


def test_the_same_generator_gives_the_same_image() -> None:
    net = nn.Sequential(network("convnet", (1, 8, 8), 3), nn.Dropout(0.5))
    before = watched(net)

    def made(seed: int) -> Tensor:
        return class_image(net, (1, 8, 8), [1, 1], steps=5, generator=torch.Generator().manual_seed(seed)).pixels

    assert made(3).equal(made(3))
    assert not made(3).equal(made(4))
    assert not made(3)[0].equal(made(3)[1])
    assert watched(net) == before
    start = torch.rand(1, 8, 8)
    assert class_image(net, (1, 8, 8), 0, steps=1, rate=1e-9, start=start).pixels[0].allclose(start, atol=1e-4)


def test_a_start_where_every_relu_is_off_is_told() -> None:
    """Without biases the zero image is such a place; noise leads away from it."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 8, bias=False), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(UsageError, match="no slope at the start"):
        class_image(net, (1, 2, 2), 1)
    found = class_image(net, (1, 2, 2), 1, generator=torch.Generator().manual_seed(0), decay=0.1)
    assert found.scores[-1] > found.scores[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "must be positive"),
        ({"rate": 0.0}, "must be positive"),
        ({"classes": 5}, "classes 0 to 1"),
        ({"classes": []}, "at least one class"),
        ({"start": torch.zeros(1, 3, 3)}, "the input .1, 2, 2."),
        ({"rate": 1e6, "decay": 1.0}, "diverged at step"),
    ],
)
def test_bad_ascents(options: dict[str, Any], message: str) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(UsageError, match=message):
        class_image(net, (1, 2, 2), **{"classes": 0, **options})
