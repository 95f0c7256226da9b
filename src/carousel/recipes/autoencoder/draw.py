"""Pictures of what comes back, and of where the digits lie."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["draw_images", "draw_maps"]


def draw_images(images: Tensor, digits: Tensor, found: dict[str, Tensor]) -> Figure:
    """The first image of each digit, and below it what comes back."""
    figure = Figure((8, 0.84 * (len(found) + 1)))
    places = [int((digits == digit).nonzero()[0]) for digit in range(10)]
    grid = figure.subplots(len(found) + 1, len(places), squeeze=False)
    for axes, (name, some) in zip(grid, {"image": images, **found}.items(), strict=True):
        for axis, place in zip(axes, places, strict=True):
            axis.imshow(some[place, 0].numpy(), cmap="gray_r", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[], frame_on=False)
        axes[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.subplots_adjust(0.2, 0.01, 0.99, 0.99, 0.05, 0.05)
    return figure


def draw_maps(maps: dict[str, NDArray[np.float32]], digits: Tensor) -> Figure:
    """Test images as points, their digit as color."""
    figure = Figure((11, 4.1))
    for axis, (name, points) in zip(figure.subplots(1, len(maps)), maps.items(), strict=True):
        for digit in range(10):
            some = points[digits[: len(points)].numpy() == digit]
            axis.plot(*some.T, ".", color=f"C{digit}", markersize=1.5, label=str(digit), rasterized=True)
            if len(some):
                axis.text(*np.median(some, 0), str(digit), fontsize=13, weight="bold", ha="center", va="center")
        axis.set_title(name, fontsize=10)
        axis.set(xticks=[], yticks=[])
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(), loc="lower center", ncols=10, markerscale=8, frameon=False
    )
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    return figure
