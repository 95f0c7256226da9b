r"""How large the output of a convolution is: :math:`⌊(W - F' + 2P)/S⌋ + 1` with :math:`F' = d(F - 1) + 1`.

The formula against PyTorch's layers over a grid of all sizes, in one, two and three dimensions; what a transposed
convolution is the transpose of; what groups are; and pictures of where the kernel lies. Source: the lecture's slides on
1-D, 2-D and 3-D convolutions; Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", 2016.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import nn

import carousel

from .draw import row, square

CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BACK = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
GUIDE = [  # of the guide's pictures: size, kernel, stride, padding, dilation, and the output it draws
    ("no padding, no stride", 4, 3, 1, 0, 1, 2), ("arbitrary padding", 5, 4, 1, 2, 1, 6),
    ("half padding", 5, 3, 1, "half", 1, 5), ("full padding", 5, 3, 1, "full", 1, 7),
    ("no padding, stride 2", 5, 3, 2, 0, 1, 2), ("padding 1, stride 2", 5, 3, 2, 1, 1, 3),
    ("padding 1, stride 2 (odd)", 6, 3, 2, 1, 1, 3), ("dilation 2", 7, 3, 1, 0, 2, 3),
]  # fmt: skip
CLOSED, GUIDED = "the formula on this page", "Dumoulin & Visin 2016, the drawings"


def sizes(recipe: carousel.recipes.Recipe) -> None:
    """The formula against the layers, on tensors without data."""
    widths = (2, 5) if recipe.smoke else range(1, 14)
    for dimensions in (1, 2, 3):
        same = tried = back_same = 0
        for width, kernel, stride, padding, dilation in itertools.product(
            widths, (1, 2, 3, 4, 5), (1, 2, 3), ("none", "half", "full", 1), (1, 2)
        ):
            pad = carousel.nn.padding_size(padding, kernel, dilation)
            options: dict[str, Any] = {"stride": stride, "padding": pad, "dilation": dilation}
            x = torch.empty(1, 4, *[width] * dimensions, device="meta")
            wide = carousel.nn.output_size(width, kernel, **options)
            small = carousel.nn.output_size(width, kernel, **options, transposed=True)
            for groups in (1, 2) if wide > 0 and small > 0 else ():
                tried += 1
                layer = CONV[dimensions - 1](4, 2, kernel, **options, groups=groups, device="meta")
                back = BACK[dimensions - 1](4, 2, kernel, **options, groups=groups, device="meta")
                same += tuple(layer(x).shape[2:]) == (wide,) * dimensions
                back_same += tuple(back(x).shape[2:]) == (small,) * dimensions
        recipe.claim(f"{dimensions}-D: convolutions whose size is the formula's, of {tried:,}", tried, same,
                     same == tried, CLOSED)  # fmt: skip
        recipe.claim(f"{dimensions}-D: transposed convolutions, of {tried:,}", tried, back_same, back_same == tried,
                     "S (W - 1) + F' - 2P")  # fmt: skip


def examples(recipe: carousel.recipes.Recipe) -> str:
    """The lecture's example and the guide's, with what they draw, and back by a transposed convolution."""
    lecture = carousel.nn.output_size(5, 3, stride=2, padding=1)
    recipe.claim(
        "W = 5, F = 3, S = 2, P = 1", 3, lecture, lecture == 3, "the lecture's slide on 1-D convolution (cs231n)"
    )
    lines, right, returned = [f"{'':28}{'W':>3}{'F':>3}{'S':>3}{'P':>3}{'d':>3}{'out':>5}{'transposed':>12}"], 0, 0
    for title, size, kernel, stride, name, dilation, drawn in GUIDE:
        padding = carousel.nn.padding_size(name, kernel, dilation)
        options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
        out = carousel.nn.output_size(size, kernel, **options)
        extra = (size + 2 * padding - dilation * (kernel - 1) - 1) % stride  # what the floor has cut off
        again = carousel.nn.output_size(out, kernel, **options, transposed=True, extra=extra)
        right, returned = right + (out == drawn), returned + (again == size)
        lines.append(f"{title:28}{size:3}{kernel:3}{stride:3}{padding:3}{dilation:3}{out:5}{f'{out} → {again}':>12}")
    recipe.claim("drawings whose output size is the formula's", len(GUIDE), right, right == len(GUIDE), GUIDED)
    recipe.claim("the same, led back to W by a transposed convolution", len(GUIDE), returned, returned == len(GUIDE),
                 "extra = (W + 2P - F') mod S")  # fmt: skip
    return "\n".join(lines)


def values(recipe: carousel.recipes.Recipe) -> None:
    """What the names mean: the transpose of a matrix, and layers side by side."""
    generator, worst = torch.Generator().manual_seed(0), 0.0
    for stride, padding, dilation in itertools.product((1, 2, 3), (0, 1, 2), (1, 2)):
        options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
        x, w = (torch.randn(s, dtype=torch.float64, generator=generator) for s in ((1, 3, 9, 11), (4, 3, 3, 2)))
        y = F.conv2d(x, w, **options)
        z = torch.randn(y.shape, dtype=torch.float64, generator=generator)
        extra = tuple((n + 2 * padding - dilation * (k - 1) - 1) % stride for n, k in ((9, 3), (11, 2)))
        back = F.conv_transpose2d(z, w, output_padding=extra, **options)
        worst = max(worst, abs(float((y * z).sum() - (x * back).sum())) / float(y.norm() * z.norm()))
    recipe.claim("|<conv(x), z> - <x, transposed(z)>|, relative, 18 layers", "< 1e-14", worst, worst < 1e-14,
                 "the same weights are the matrix C and its transpose")  # fmt: skip
    x, w = (torch.randn(s, dtype=torch.float64, generator=generator) for s in ((2, 6, 7, 7), (4, 3, 3, 3)))
    apart = torch.cat([F.conv2d(x[:, :3], w[:2]), F.conv2d(x[:, 3:], w[2:])], 1)
    away = float((F.conv2d(x, w, groups=2) - apart).abs().max())
    recipe.claim("two groups against two layers side by side: largest difference", "< 1e-13", away, away < 1e-13,
                 "definition")  # fmt: skip


def pictures(recipe: carousel.recipes.Recipe) -> None:
    """Where the kernel lies, in one dimension and in two."""
    for draw, name, height, ratios in (
        (row, "positions-1d.svg", 4.0, (8.6, 4.6)),
        (square, "positions-2d.svg", 5.4, None),
    ):
        figure = Figure((10, height))
        axes = figure.subplots(2, 4, height_ratios=ratios)
        for ax, (title, size, kernel, stride, padding, dilation, _) in zip(axes.flat, GUIDE, strict=True):
            draw(ax, title, size, kernel, stride, carousel.nn.padding_size(padding, kernel, dilation), dilation)
        figure.tight_layout()
        recipe.figure(figure, name)


def run(recipe: carousel.recipes.Recipe) -> None:
    """All four; it takes seconds."""
    sizes(recipe)
    table = examples(recipe)
    values(recipe)
    pictures(recipe)
    recipe.text(table + "\n", "sizes.txt")
    recipe.say(table)
