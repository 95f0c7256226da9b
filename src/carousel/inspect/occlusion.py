"""Occlusion: which part of an image the network needs, found by covering it.

Zeiler & Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 4.2: a gray square is slid
over the image, and at each place the score of the class, its probability and the winning class are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from ..errors import UsageError
from .layers import Tap, chosen_classes

__all__ = ["Occlusion", "occlusion"]


@dataclass(frozen=True)
class Occlusion:
    """What a network says of an image with a square of it covered.

    Attributes:
        rows, columns: where the square begins, in pixels.
        size: (height, width) of the square.
        score: (rows, columns) of the class, before any softmax.
        probability: (rows, columns) of the class; of a single output by the sigmoid.
        predicted: (rows, columns) the class with the highest score; of a single output 1 where it is above 0.
        target: the class.
        whole: score, probability and predicted class of the image itself.
        image: (channels, height, width).
    """

    rows: list[int]
    columns: list[int]
    size: tuple[int, int]
    score: Tensor
    probability: Tensor
    predicted: Tensor
    target: int
    whole: tuple[float, float, int]
    image: Tensor

    def drop(self) -> Tensor:
        """(height, width) by how much the score falls, on average over the squares that cover the pixel.

        NaN where none does: the stride is larger than the square.
        """
        total, count = torch.zeros(2, *self.image.shape[1:], dtype=torch.float64).unbind(0)
        for (r, row), (c, column) in product(enumerate(self.rows), enumerate(self.columns)):
            area = (slice(row, row + self.size[0]), slice(column, column + self.size[1]))
            total[area] += self.whole[0] - float(self.score[r, c])
            count[area] += 1
        return torch.where(count > 0, total / count.clamp_min(1), torch.nan)


@torch.no_grad()
def occlusion(
    model: nn.Module,
    image: Tensor,
    target: int | None = None,
    *,
    size: int | tuple[int, int] | None = None,
    stride: int | None = None,
    value: float | Sequence[float] | Tensor | None = None,
    layer: str | nn.Module | None = None,
    batch: int = 64,
) -> Occlusion:
    """Score, probability and class for each place of a gray square on an image.

    Args:
        model: gives scores (batch, classes), before any softmax. It is left as it was.
        image: (channels, height, width).
        target: the class; None for the one with the highest score on the whole image.
        size: of the square, in pixels, or (height, width); None for a quarter of the smaller side.
        stride: pixels from one place to the next; None for a quarter of the size. The last place is always the one at
            the border, so that every pixel is covered where the stride is at most the size.
        value: what the square is filled with, one number or one per channel; None for the image's mean per channel.
        layer: the one whose output are the scores, where the network itself ends in a softmax.
        batch: images of a pass.

    Raises:
        UsageError: the square does not fit, or there is no such class.

    Example:
        >>> class Looks(nn.Module):
        ...     def forward(self, x):
        ...         return torch.stack([x[:, 0, 1, 2], -x[:, 0, 1, 2]], 1)
        >>> image = torch.zeros(1, 4, 4)
        >>> image[0, 1, 2] = 3.0
        >>> found = occlusion(Looks(), image, size=1, value=0.0)
        >>> found.whole[0], found.score[1, 2].item(), found.drop().nonzero().tolist()
        (3.0, 0.0, [[1, 2]])
    """
    if not isinstance(image, Tensor) or image.ndim != 3 or not image.is_floating_point():
        raise UsageError("Give one image as a floating-point tensor (channels, height, width).")
    height, width = image.shape[1:]
    side = max(1, min(height, width) // 4) if size is None else size
    tall, wide = (side, side) if isinstance(side, int) else side
    step = max(1, min(tall, wide) // 4) if stride is None else stride
    if not (1 <= tall <= height and 1 <= wide <= width) or step < 1:
        raise UsageError(f"A square of {tall} x {wide} moved by {step} on an image of {height} x {width}: no place.")
    rows, columns = _starts(height, tall, step), _starts(width, wide, step)
    tap = Tap(model, layer)
    with tap.looking():
        whole = tap.on_device(image).unsqueeze(0)
        gray = _gray(value, whole[0])
        with torch.enable_grad():
            scores = tap.scores(whole.clone().requires_grad_()).detach()
        asked = int(chosen_classes(target, scores)[0])
        places = list(product(rows, columns))
        found = []
        for low in range(0, len(places), batch):
            some = places[low : low + batch]
            covered = whole.repeat(len(some), 1, 1, 1)
            for one, (row, column) in zip(covered, some, strict=True):
                one[:, row : row + tall, column : column + wide] = gray
            found.append(tap.scores(covered))
    shape = (len(rows), len(columns))
    score, probability, predicted = (value.reshape(shape).cpu() for value in _read(torch.cat(found), asked))
    own = _read(scores, asked)
    said = (own[0].item(), own[1].item(), int(own[2].item()))
    return Occlusion(rows, columns, (tall, wide), score, probability, predicted, asked, said, image.detach().cpu())


def _starts(size: int, square: int, step: int) -> list[int]:
    return sorted({*range(0, size - square + 1, step), size - square})


def _gray(value: float | Sequence[float] | Tensor | None, image: Tensor) -> Tensor:
    """(channels, 1, 1)"""
    gray = image.mean((1, 2)) if value is None else torch.as_tensor(value).to(image)
    if gray.shape not in ((), (1,), (len(image),)):
        raise UsageError(f"The square's value has the shape {tuple(gray.shape)}; give a number, or {len(image)}.")
    return gray.reshape(-1, 1, 1)


def _read(scores: Tensor, target: int) -> tuple[Tensor, Tensor, Tensor]:
    if scores.shape[1] == 1:
        return scores[:, 0], scores[:, 0].sigmoid(), (scores[:, 0] > 0).long()
    return scores[:, target], scores.softmax(1)[:, target], scores.argmax(1)
