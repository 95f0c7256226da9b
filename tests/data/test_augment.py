"""Augmentation: values against closed forms, and draws that come from one generator alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from carousel.data.augment import LUMA, Augment
from carousel.errors import DataError, UsageError

EVERYTHING = Augment(flip=True, rotate=20, scale=(0.8, 1.3), crop=2, contrast=0.3, color=0.3, erase=0.5, mixup=0.4)


PADDING = {"mirror": "symmetric", "edge": "edge", "black": "constant"}
"""What NumPy calls it."""


def seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def some(count: int = 6, channels: int = 3, height: int = 7, width: int = 9, dtype=torch.float32) -> Tensor:
    return torch.rand(count, channels, height, width, generator=seeded(9), dtype=torch.float64).to(dtype)


def smooth(count: int, height: int, width: int, dtype=torch.float64) -> Tensor:
    """A plane that rises to the right and downward: bilinear reading is exact on it."""
    y, x = torch.meshgrid(torch.arange(height, dtype=dtype), torch.arange(width, dtype=dtype), indexing="ij")
    return ((2 * x + 3 * y) / (2 * width + 3 * height)).expand(count, 1, height, width).clone()


def test_nothing_asked_for_is_nothing_done() -> None:
    images = some()
    assert Augment()(images, seeded()) is images


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 3, 5, 4), (33, 2, 7, 7), (0, 3, 8, 8)])
def test_shapes_types_and_range(shape: tuple[int, ...]) -> None:
    augment = Augment(flip=True, rotate=180, scale=0.5, crop=1, contrast=1, color=1, erase=1)
    for dtype in (torch.float32, torch.float64):
        images = torch.rand(shape, dtype=dtype)
        kept = images.clone()
        found = augment(images, seeded())
        assert (found.shape, found.dtype) == (images.shape, dtype)
        assert torch.equal(images, kept)
        assert torch.isfinite(found).all()
        assert not len(found) or (found.min() >= 0 and found.max() <= 1)


def test_equal_seeds_give_equal_images_whatever_the_global_state() -> None:
    images, targets = some(16), torch.eye(16)
    results = []
    for state in (1, 2):
        torch.manual_seed(state)
        np.random.seed(state)
        before = torch.get_rng_state()
        generator = seeded(7)
        results.append(EVERYTHING.mix(EVERYTHING(images, generator), targets, generator))
        assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert not torch.equal(EVERYTHING(images, seeded(8)), EVERYTHING(images, seeded(7)))


def test_single_and_double_precision_see_the_same_changes() -> None:
    images = some(16, dtype=torch.float64)
    torch.testing.assert_close(
        EVERYTHING(images.float(), seeded()).double(), EVERYTHING(images, seeded()), atol=2e-5, rtol=0
    )


def test_flip_mirrors_half_of_the_images_exactly() -> None:
    images = some(2000, 1, 2, 3)
    found = Augment(flip=True)(images, seeded())
    flipped = (found == images.flip(-1)).all((1, 2, 3))
    assert (flipped ^ (found == images).all((1, 2, 3))).all()
    assert abs(flipped.double().mean() - 0.5) < 4 * math.sqrt(0.25 / 2000)


@pytest.mark.parametrize("outside", ["mirror", "edge", "black"])
def test_crop_is_padding_and_a_window_drawn_evenly(outside: str) -> None:
    images = some(900, 1, 4, 5)
    found = Augment(crop=1, outside=outside)(images, seeded())
    padding = PADDING[outside]
    padded = torch.from_numpy(np.pad(images.numpy(), [(0, 0), (0, 0), (1, 1), (1, 1)], padding))
    counts = np.zeros((3, 3), int)
    for image, wide in zip(found, padded, strict=True):
        windows = [(y, x) for y in range(3) for x in range(3) if torch.equal(image, wide[:, y : y + 4, x : x + 5])]
        assert len(windows) == 1
        counts[windows[0]] += 1
    assert ((counts - 100) ** 2 / 100).sum() < 26.1  # chi-square of 8 degrees of freedom, p = 0.001


@pytest.mark.parametrize("outside", ["mirror", "edge", "black"])
def test_flip_and_crop_together(outside: str) -> None:
    images = some(300, 2, 4, 5)  # of an odd width, in which no window is its own mirror image
    found = Augment(crop=2, flip=True, outside=outside)(images, seeded())
    padding = PADDING[outside]
    padded = torch.from_numpy(np.pad(images.numpy(), [(0, 0), (0, 0), (2, 2), (2, 2)], padding))
    turned = 0
    for image, wide in zip(found, padded, strict=True):
        windows = [wide[:, y : y + 4, x : x + 5] for y in range(5) for x in range(5)]
        plain = any(torch.equal(image, window) for window in windows)
        assert plain or any(torch.equal(image, window.flip(-1)) for window in windows)
        turned += not plain
    assert 100 < turned < 200


@pytest.mark.parametrize(("height", "width"), [(6, 6), (5, 8)])
def test_rotation_is_counterclockwise_and_keeps_shapes(height: int, width: int) -> None:
    """On a plane a x + b y, turning by an angle turns the slope, for images that are not square too."""
    images = smooth(40, height, width)
    found = Augment(rotate=30)(images, seeded())
    y, x = height // 2, width // 2  # a place whose neighbors never lie outside
    right = found[:, 0, y, x] - found[:, 0, y, x - 1]
    down = found[:, 0, y, x] - found[:, 0, y - 1, x]
    scale = 2 * width + 3 * height
    draws = torch.rand(40, generator=seeded()).double()
    angle = (2 * draws - 1) * math.radians(30)
    # a point at p shows what was at R(angle) p, with y downward
    torch.testing.assert_close(right, (2 * angle.cos() + 3 * angle.sin()) / scale, atol=1e-6, rtol=0)
    torch.testing.assert_close(down, (3 * angle.cos() - 2 * angle.sin()) / scale, atol=1e-6, rtol=0)


def test_a_quarter_turn_is_that_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    images = some(3, 2, 8, 8)
    monkeypatch.setattr("carousel.data.augment._draw", lambda shape, like, generator: torch.ones(shape))
    torch.testing.assert_close(Augment(rotate=90)(images, seeded()), images.rot90(1, (2, 3)), atol=1e-5, rtol=0)
    monkeypatch.setattr("carousel.data.augment._draw", lambda shape, like, generator: torch.zeros(shape))
    torch.testing.assert_close(Augment(rotate=90)(images, seeded()), images.rot90(-1, (2, 3)), atol=1e-5, rtol=0)


def test_scaling_enlarges_and_looks_only_inside() -> None:
    """On a plane, enlarging by z divides the slope by z, and the window stays within the image."""
    images = smooth(300, 9, 9)
    found = Augment(scale=(1.0, 2.0))(images, seeded())
    slopes = (found[:, 0, 4, 5] - found[:, 0, 4, 4]) * 45 / 2
    assert slopes.min() >= 0.5 - 1e-6
    assert slopes.max() <= 1 + 1e-6
    zoom = 1 / slopes
    assert abs(zoom.mean() - 1.5) < 4 * math.sqrt(1 / 12 / 300)
    middle = found[:, 0, 4, 4] * 45  # what the middle shows is at most half of what was left over away from the middle
    room = (2 + 3) * 4.5 * (1 - slopes)
    assert ((middle - 20).abs() <= room + 1e-5).all()
    assert ((middle - 20).abs() > 0.7 * room).any()


def test_scaling_down_shows_black_or_a_mirror_beside_the_image() -> None:
    images = torch.ones(50, 1, 10, 10)
    torch.testing.assert_close(Augment(scale=(0.5, 0.5))(images, seeded()), images)
    found = Augment(scale=(0.5, 0.5), outside="black")(images, seeded())
    assert (found.sum((1, 2, 3)) - 25).abs().max() < 1e-3  # a quarter of the area, wherever it lies
    assert found.mean(0).std() > 0.1


def test_contrast_keeps_the_mean_and_scales_the_rest() -> None:
    images = 0.4 + 0.2 * some(200, dtype=torch.float64)
    found = Augment(contrast=0.5)(images, seeded())
    mean = images.mean((1, 2, 3), keepdim=True)
    factors = ((found - mean) / (images - mean)).flatten(1)
    assert (factors.std(1) < 1e-6).all()
    assert 0.5 <= factors.min() < 0.55
    assert 1.45 < factors.max() <= 1.5
    assert len(factors[:, 0].unique()) == 200


def test_color_changes_saturation_and_tint() -> None:
    images = 0.3 + 0.3 * some(50, dtype=torch.float64)
    found = Augment(color=0.2)(images, seeded())
    draws = [1 + 0.2 * (2 * torch.rand(50, c, 1, 1, generator=g).double() - 1) for g in (seeded(),) for c in (1, 3)]
    luma = (images * torch.tensor(LUMA).double()[:, None, None]).sum(1, keepdim=True)
    torch.testing.assert_close(found, draws[1] * (luma + draws[0] * (images - luma)), atol=1e-6, rtol=0)
    gray = Augment(color=0.2)(images[:, :1], seeded())
    assert ((gray / images[:, :1]).flatten(1).std(1) < 1e-6).all()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 60), (48, 11)])
def test_erasing_makes_rectangles_of_the_area_and_shape_promised(height: int, width: int) -> None:
    images = torch.full((1000, 2, height, width), 2.0)  # no noise is 2
    found = Augment(erase=0.4)(images, seeded())
    erased = (found != 2).all(1)
    assert torch.equal(erased, (found != 2).any(1))
    tall, wide = erased.any(2).sum(1), erased.any(1).sum(1)
    assert torch.equal(erased.sum((1, 2)), tall * wide)  # nothing but rectangles
    hit = tall > 0
    assert abs(hit.double().mean() - 0.4) < 4 * math.sqrt(0.24 / 1000)
    tall, wide = tall[hit].double(), wide[hit].double()
    slack = 0.5 * (tall + wide) / (height * width) + 1e-6  # sides are rounded by half a pixel each
    share = tall * wide / (height * width)
    assert (share >= 0.02 - slack).all()
    assert (share <= 0.33 + slack).all()
    assert abs(share.mean() - 0.175) < 4 * math.sqrt(0.31**2 / 12 / 400) + 0.01
    assert ((tall + 0.5) / (wide - 0.5).clamp(min=0.5) >= 0.3).all()
    assert ((tall - 0.5) / (wide + 0.5) <= 1 / 0.3).all()
    noise = found[found != 2]
    assert abs(noise.double().mean() - 0.5) < 0.01
    assert noise.min() >= 0
    assert noise.max() <= 1


def test_mixup_blends_images_and_targets_with_weights_of_the_beta_distribution() -> None:
    count, alpha = 4000, 0.4
    images = torch.arange(count, dtype=torch.float64).reshape(-1, 1, 1, 1).expand(count, 1, 2, 2)
    targets = torch.eye(2, dtype=torch.float64)[torch.arange(count) % 2]
    marks = torch.eye(count, dtype=torch.float64)
    mixed, blended = Augment(mixup=alpha).mix(images, marks, seeded())
    torch.testing.assert_close(blended.sum(1), torch.ones(count, dtype=torch.float64))
    torch.testing.assert_close(mixed[:, 0, 0, 0], blended @ images[:, 0, 0, 0])
    assert ((blended > 0).sum(1) <= 2).all()
    weights = blended.diagonal()
    others = (blended - torch.diag(weights)).argmax(1)
    assert others.unique().numel() > 0.99 * count  # a permutation; a few have themselves or a weight of one
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(weights.mean() - 0.5) < 4 * math.sqrt(variance / count)
    assert abs(weights.var() - variance) < 0.01
    again, labels = Augment(mixup=alpha).mix(images, targets, seeded())
    assert torch.equal(again, mixed)
    torch.testing.assert_close(labels, blended @ targets)


def test_mixup_without_a_parameter_changes_nothing() -> None:
    images, targets = some(), torch.eye(6)
    found = Augment(flip=True).mix(images, targets, seeded())
    assert found[0] is images
    assert found[1] is targets


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("rotate is 200, but must be from 0 to 180", {"rotate": 200}),
        ("contrast is -0.1, but must be from 0 to 1", {"contrast": -0.1}),
        ("color is nan", {"color": math.nan}),
        ("erase is 2", {"erase": 2}),
        ("mixup is -1, but must be 0 or above", {"mixup": -1}),
        (r"scale is \(1.2, 0.8\), but must be", {"scale": (1.2, 0.8)}),
        ("scale is 1.0, but must be a number from 0 to below 1", {"scale": 1.0}),
        ("crop is -1, but must be a whole number", {"crop": -1}),
        ("crop is 1.5, but must be a whole number", {"crop": 1.5}),
        ('cannot be "gray"; use mirror or edge or black', {"outside": "gray"}),
    ],
)
def test_impossible_options(words: str, options: dict) -> None:
    with pytest.raises(UsageError, match=words):
        Augment(**options)


def test_wrong_images_and_targets() -> None:
    augment = Augment(flip=True, crop=4, mixup=0.2)
    with pytest.raises(DataError, match=r"torch.uint8 of shape \(2, 3, 8, 8\).*Divide bytes by 255"):
        augment(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), seeded())
    with pytest.raises(DataError, match=r"of shape \(3, 8, 8\)"):
        augment(torch.zeros(3, 8, 8), seeded())
    with pytest.raises(DataError, match="3 × 9 pixels, too small for a crop of 4; use at most 3"):
        augment(torch.zeros(2, 3, 3, 9), seeded())
    with pytest.raises(DataError, match=r"torch.int64 of shape \(2,\).*one_hot"):
        augment.mix(torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]), seeded())
