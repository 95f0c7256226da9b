"""Pictures: whole, the same bytes each time, with their text, without overlapping labels, readable in gray."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from PIL import Image
from torch import Tensor, nn

from carousel.errors import UsageError
from carousel.inspect import (
    Filters,
    Map,
    Occlusion,
    Picture,
    backproject,
    class_image,
    class_picture,
    draw,
    filter_picture,
    first_filters,
    map2d,
    map_picture,
    occlusion,
    occlusion_picture,
    patch_picture,
    projection_picture,
    saliency,
    saliency_picture,
    top_patches,
)


def small(channels: int = 3) -> tuple[nn.Sequential, Tensor]:
    net = nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 3))
    return net, torch.randn(5, channels, 8, 8)


def pictures(channels: int) -> dict[str, Picture]:
    net, images = small(channels)
    top = top_patches(net, "1", images, n=4)
    beside = {c: top.cut(c, backproject(net, images[top.images[c]], c, layer="1").pixels) for c in (0, 2)}
    scale = ([0.5] * channels, [0.2] * channels)
    some = [backproject(net, images[:2], 0, rule=rule) for rule in ("gradient", "deconvolution")]
    return {
        "filters": filter_picture(first_filters(net)),
        "patches": patch_picture(top),
        "beside": patch_picture(top, [0, 2], scale=scale, beside=beside),
        "projections": projection_picture(images[:2], some),
        "saliency": saliency_picture(images, saliency(net, images), names=["cat", "dog", "a < b & $c$"]),
        "occlusion": occlusion_picture(occlusion(net, images[0], size=3), names=["cat", "dog"], scale=scale),
        "class": class_picture(class_image(net, images.shape[1:], [0, 2], steps=3), names=["cat", "dog", "ox"]),
    }


@pytest.mark.parametrize("channels", [1, 3])
def test_every_picture_is_whole_and_says_what_it_shows(channels: int, tmp_path: Path) -> None:
    for name, picture in pictures(channels).items():
        root = ElementTree.fromstring(picture.svg())
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"] == picture.alt
        assert len(picture.alt) > 40
        assert picture.svg() == picture.svg()
        image = Image.open(picture.save(tmp_path / f"{name}.png"))
        assert image.text["Description"].replace("\n", " ") == picture.alt  # pyright: ignore[reportAttributeAccessIssue]
        assert np.asarray(image.convert("L")).std() > 5
        assert picture.save(tmp_path / f"{name}.svg").read_text(encoding="utf-8") == picture._repr_html_()


def test_draw_knows_them() -> None:
    net, images = small()
    for found in (first_filters(net), top_patches(net, "1", images), occlusion(net, images[0]), map2d(torch.eye(3))):
        assert draw(found).axes
    assert len(draw(class_image(net, (3, 8, 8), [0, 1], steps=1), names=["cat", "dog"]).axes) == 2


def test_the_same_picture_has_the_same_bytes() -> None:
    net, _ = small()
    assert filter_picture(first_filters(net)).svg() == filter_picture(first_filters(net)).svg()


def test_pixels_of_filters_are_on_their_scale() -> None:
    """Black for the most negative, white for the largest, middle gray for 0."""
    weight = torch.tensor([-2.0, 0.0, 1.0, 2.0]).reshape(4, 1, 1, 1)
    picture = filter_picture(Filters("first", weight, 2.0))
    assert "4 filters of layer first, one scale: −2 black, 0 gray, 2 white" in picture.alt
    (shown,) = [image.get_array() for axes in picture.figure.axes for image in axes.get_images()]
    found = np.asarray(shown)[::2, ::2, 0].flatten()
    np.testing.assert_allclose(found[:4], [0, 0.5, 0.75, 1])
    with pytest.raises(UsageError, match="not 1 or 3 as a picture has; choose one"):
        filter_picture(Filters("first", torch.ones(2, 2, 3, 3), 1.0))
    assert "gray" in filter_picture(Filters("first", torch.ones(2, 2, 3, 3), 1.0), channel=1).alt
    with pytest.raises(UsageError, match="no channel 2"):
        filter_picture(Filters("first", torch.ones(2, 2, 3, 3), 1.0), channel=2)


def test_many_channels_are_left_out_and_told() -> None:
    net, images = small()
    top = top_patches(net, "0", images, n=1)
    assert "2 more channels left out" in patch_picture(top, most=2).alt
    with pytest.raises(UsageError, match="no channel to draw"):
        patch_picture(top, [])


def test_names_of_winners_do_not_overlap() -> None:
    predicted = torch.arange(36).reshape(6, 6) % 7
    found = Occlusion(
        list(range(6)), list(range(6)), (3, 3), torch.zeros(6, 6), torch.rand(6, 6), predicted, 0, (1.0, 0.5, 0),
        torch.rand(1, 8, 8),
    )  # fmt: skip
    picture = occlusion_picture(found, names=[f"a long name {i}" for i in range(7)])
    _apart(picture)
    assert all(f"a long name {i}" in picture.alt for i in range(7))


@pytest.mark.parametrize(
    ("size", "stride", "edges"),
    [(1, 1, [-0.5, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5]), (2, 3, [-1.0, 2.0, 4.0, 5.0]), (6, 1, [2.0, 3.0])],
)
def test_cells_of_an_occlusion_lie_where_the_square_was(size: int, stride: int, edges: list[float]) -> None:
    """Squares of two at 0, 3 and 4 have their middles at 0.5, 3.5 and 4.5."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    picture = occlusion_picture(occlusion(net, torch.rand(1, 6, 6), size=size, stride=stride))
    (mesh,) = (found for found in picture.figure.axes[1].collections if isinstance(found, QuadMesh))
    np.testing.assert_allclose(mesh.get_coordinates()[0, :, 0], edges)
    np.testing.assert_allclose(mesh.get_coordinates()[:, 0, 1], edges)


def _apart(picture: Picture) -> list[str]:
    """The labels inside the axes, no two of which may overlap."""
    canvas = FigureCanvasAgg(picture.figure)
    canvas.draw()
    renderer: Any = canvas.get_renderer()
    texts = [text for axes in picture.figure.axes for text in axes.texts]
    boxes = [text.get_window_extent(renderer) for text in texts]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    return [text.get_text() for text in texts]


@pytest.mark.parametrize("spread", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_labels_of_a_map_overlap_nothing(method: str, spread: float) -> None:
    points = torch.randn(120, 2, generator=torch.Generator().manual_seed(2)) * spread
    points[:30] = points[0]  # all in one place
    words = [f"word number {i}" if i % 3 else "$x^2$ & <b>" + str(i) for i in range(120)]
    explained = torch.tensor([0.6, 0.4]) if method == "pca" else None
    picture = map_picture(Map(points, words, explained, method))
    drawn = _apart(picture)
    assert drawn[0] == words[0]
    assert 10 < len(drawn) < 120
    assert f"{120 - len(drawn)} labels without room left out" in picture.alt
    canvas = FigureCanvasAgg(picture.figure)
    canvas.draw()
    (axes,) = picture.figure.axes
    frame, at = axes.get_window_extent(), axes.transData.transform(points.numpy())
    for text in axes.texts:
        box = text.get_window_extent()
        assert all(frame.contains(*corner) for corner in box.corners())
        hidden = (at[:, 0] > box.x0) & (at[:, 0] < box.x1) & (at[:, 1] > box.y0) & (at[:, 1] < box.y1)
        assert not hidden.any()
    ElementTree.fromstring(picture.svg())


def test_few_words_all_have_their_label() -> None:
    words = ["day", "night", "日本"]
    picture = map_picture(map2d(torch.eye(3, 4), words))
    assert sorted(text.get_text() for text in picture.figure.axes[0].texts) == sorted(words)
    assert "left out" not in picture.alt
    assert "3 vectors by PCA" in map_picture(map2d(torch.eye(3, 4))).alt


def test_where_a_picture_cannot_be_written(tmp_path: Path) -> None:
    net, images = small()
    picture = filter_picture(first_filters(net))
    with pytest.raises(UsageError, match=r"'a.gif'; give one that ends in .svg or .png"):
        picture.save(tmp_path / "a.gif")
    with pytest.raises(UsageError, match="There is no folder"):
        picture.save(tmp_path / "none" / "a.png")
    with pytest.raises(UsageError, match="There are 2 images and results of"):
        saliency_picture(images[:2], saliency(net, images))
    with pytest.raises(UsageError, match="The scale is of 2 channels, the image has 3"):
        saliency_picture(images, saliency(net, images), scale=([0, 1], [1, 1]))
    line = nn.Conv1d(3, 2, 3)
    with pytest.raises(UsageError, match="two dimensions"):
        patch_picture(top_patches(line, line, torch.randn(3, 3, 9)))
    with pytest.raises(UsageError, match="1 or 3 channels"):
        class_picture(class_image(nn.Sequential(nn.Flatten(), nn.Linear(8, 2)), (2, 2, 2), 0, steps=1))
    assert Image.open(io.BytesIO(picture.png(dpi=50))).width < Image.open(io.BytesIO(picture.png())).width
