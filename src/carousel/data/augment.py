"""Augmentation of batches of images: flips, rotation, scaling, crops, contrast, color, random erasing, mixup.

Written on PyTorch and not taken from kornia, because kornia 0.9 draws from PyTorch's global generators only (its
classes refuse a `generator`): the images of a run would depend on everything else that draws numbers. Neither is
faster than the other by much.

Every draw comes from one explicit generator, and the number of draws depends on the options and on the shape of the
batch alone. So equal seeds give equal images, to rounding on whatever device the images are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample

from ..errors import DataError, UsageError

__all__ = ["Augment"]

OUTSIDE = {"mirror": "reflection", "edge": "border", "black": "zeros"}
"""What may be outside of an image, and PyTorch's names for it."""
ERASED = (0.02, 0.33)
"""Least and greatest share of an image that is erased."""
ASPECT = 0.3
"""Least height over width of what is erased; the greatest is its inverse."""
LUMA = (0.299, 0.587, 0.114)
"""How much red, green and blue count for how bright a pixel is (ITU-R BT.601, as in Pillow)."""


@dataclass(frozen=True)
class Augment:
    r"""Random changes to images that leave their classes as they are.

    With p a place in the new image and q that in the old one, both measured from the center, in the order in which
    it is done:

    - crop: q = p + s; each coordinate of s is a whole number, uniform in [-crop, crop]
    - flip: left and right change places with probability 1/2
    - rotate, scale: q = R(a) p / z + t, with a uniform in [-rotate, rotate], counterclockwise, z uniform in `scale`,
      and t uniform among all places at which the window of size 1/z lies in the image or, where z < 1, the image in
      the window; read with bilinear interpolation
    - contrast: x <- m + f (x - m), m the mean of the image, f uniform in [1 - contrast, 1 + contrast]
    - color: x <- g (y + f (x - y)), y the brightness of the pixel, f one number of the image (saturation) and g one
      of each of its channels (tint), all uniform in [1 - color, 1 + color]; without color, g alone
    - erase: with probability `erase`, a rectangle of 2 to 33 % of the area and of a height from 0.3 to 3.3 times its
      width (logarithm uniform, as far as it fits in) becomes noise, uniform in [0, 1]
    - mixup, by its own method: (x, y) <- w (x, y) + (1 - w) (x', y'), with (x', y') another example of the batch and
      w of each example drawn from Beta(mixup, mixup)

    What lies outside an image is its mirror image, or its edge drawn out, or black. After contrast and color, values
    are cut to [0, 1]. Flips and crops copy pixels; only `rotate` and `scale` interpolate.

    Args:
        flip: left to right.
        rotate: greatest angle, in degrees, 0 to 180.
        scale: least and greatest factor by which things become larger, or a number s below 1 for (1 - s, 1 + s).
        crop: greatest shift in pixels; the same as to pad by so many on each side and to crop at random.
        contrast: 0 to 1.
        color: 0 to 1.
        erase: probability.
        mixup: the parameter of the Beta distribution; small values mix little. 0 for none.
        outside: what is outside an image: "mirror" suits photographs, "edge" drawings on paper of any shade; or
            "black".

    Raises:
        UsageError: a value is out of its range.

    Example:
        >>> augment = Augment(flip=True, crop=4)
        >>> images = augment(torch.rand(128, 3, 32, 32), torch.Generator().manual_seed(0))
        >>> images.shape
        torch.Size([128, 3, 32, 32])

    Sources: crop and flip, He et al. 2016, section 4.2 (with black outside, of images whose mean was subtracted);
    erasing, Zhong et al. 2020 (whose aspect is uniform, and drawn again until it fits); mixup, Zhang et al. 2018 (one
    weight for a batch in its code; here each example has its own).
    """

    flip: bool = False
    rotate: float = 0.0
    scale: tuple[float, float] | float = 0.0
    crop: int = 0
    contrast: float = 0.0
    color: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0
    outside: Literal["mirror", "edge", "black"] = "mirror"

    def __post_init__(self) -> None:
        for name, most in (("rotate", 180), ("contrast", 1), ("color", 1), ("erase", 1), ("mixup", math.inf)):
            value = getattr(self, name)
            if not (0 <= value <= most and math.isfinite(value)):
                end = f"from 0 to {most}" if math.isfinite(most) else "0 or above"
                raise UsageError(f"The augmentation's {name} is {value}, but must be {end}.")
        low, high = self._zooms()
        if not (0 < low <= high and math.isfinite(high)):
            raise UsageError(
                f"The augmentation's scale is {self.scale}, but must be a number from 0 to below 1, or two factors "
                "above 0, the smaller one first."
            )
        if self.crop < 0 or int(self.crop) != self.crop:
            raise UsageError(f"The augmentation's crop is {self.crop}, but must be a whole number of pixels from 0.")
        if self.outside not in OUTSIDE:
            raise UsageError(f'Outside of an image there cannot be "{self.outside}"; use {" or ".join(OUTSIDE)}.')

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """The images, changed; all but mixup, which needs the targets too.

        Args:
            images: (n, channels, height, width), floating point, 0 to 1.
            generator: of all draws; on the CPU or on the images' device.

        Returns:
            The same shape and type; never the same memory, unless no option is on.

        Raises:
            DataError: these are no such images, or they are too small for the crop.
        """
        _check(images)
        if not len(images):
            return images
        if self.flip or self.crop:
            images = self._moved(images, generator)
        if self.rotate or self._zooms() != (1, 1):
            images = self._warped(images, generator)
        if self.contrast:
            mean = images.mean((1, 2, 3), keepdim=True)
            images = mean.lerp(images, _around_one(self.contrast, images, 1, generator)).clamp(0, 1)
        if self.color:
            images = self._tinted(images, generator)
        if self.erase:
            images = self._erased(images, generator)
        return images

    def mix(self, images: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Mixup: each example blended with another one of the batch, and its targets alike.

        Args:
            images: (n, channels, height, width), floating point.
            targets: (n, classes), floating point, one-hot or any other weights of the classes.
            generator: of the draws.

        Returns:
            Both, of the same shapes and types.

        Raises:
            DataError: shapes or types are others.
        """
        _check(images)
        if targets.ndim != 2 or len(targets) != len(images) or not targets.is_floating_point():
            raise DataError(
                f"The targets are {targets.dtype} of shape {tuple(targets.shape)}, but mixup blends one-hot targets of "
                f"shape ({len(images)}, classes). Use torch.nn.functional.one_hot(classes).float()."
            )
        if not self.mixup:
            return images, targets
        count = len(images)
        # torch draws from Beta with its global generator only
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        weights = torch.from_numpy(np.random.default_rng(seed).beta(self.mixup, self.mixup, count)).to(images)
        others = torch.randperm(count, generator=generator, device=generator.device).to(images.device)
        weight = weights.to(targets)[:, None]
        return (
            images[others].lerp(images, weights[:, None, None, None]),
            targets[others].lerp(targets, weight),
        )

    def _zooms(self) -> tuple[float, float]:
        if isinstance(self.scale, int | float):
            return 1 - self.scale, 1 + self.scale
        low, high = self.scale
        return low, high

    def _moved(self, images: Tensor, generator: Generator) -> Tensor:
        """Flips and shifts: one copy of every pixel, by the row and the column that it comes from."""
        count, _, height, width = images.shape
        if self.crop > min(height, width):
            raise DataError(
                f"The images are {height} × {width} pixels, too small for a crop of {self.crop}; use at most "
                f"{min(height, width)}."
            )
        shifts = torch.randint(
            -self.crop, self.crop + 1, (2, count, 1), generator=generator, device=generator.device
        ).to(images.device)
        mirror = self.outside == "mirror"
        rows, outside_rows = _inside(torch.arange(height, device=images.device) + shifts[0], height, mirror)
        columns, outside_columns = _inside(torch.arange(width, device=images.device) + shifts[1], width, mirror)
        if self.flip:
            flipped = _draw((count, 1), images, generator) < 0.5
            columns = torch.where(flipped, columns.flip(1), columns)
            outside_columns = torch.where(flipped, outside_columns.flip(1), outside_columns)
        images = images.gather(2, rows[:, None, :, None].expand_as(images))
        images = images.gather(3, columns[:, None, None, :].expand_as(images))
        if self.outside == "black":
            images.masked_fill_(outside_rows[:, None, :, None] | outside_columns[:, None, None, :], 0)
        return images

    def _warped(self, images: Tensor, generator: Generator) -> Tensor:
        """Rotation and scaling in one reading of the images."""
        count, _, height, width = images.shape
        low, high = self._zooms()
        angle = (2 * _draw((count,), images, generator) - 1) * math.radians(self.rotate)
        inverse = 1 / (low + (high - low) * _draw((count,), images, generator))
        shift = (2 * _draw((2, count), images, generator) - 1) * (1 - inverse).abs()
        cosine, sine = angle.cos() * inverse, angle.sin() * inverse
        # grid_sample measures x in half widths and y in half heights, downward
        rows = [cosine, -sine * height / width, shift[0], sine * width / height, cosine, shift[1]]
        matrix = torch.stack(rows, 1).reshape(count, 2, 3)
        grid = affine_grid(matrix.to(images), list(images.shape), align_corners=False)
        return grid_sample(images, grid, "bilinear", OUTSIDE[self.outside], align_corners=False)

    def _tinted(self, images: Tensor, generator: Generator) -> Tensor:
        channels = images.shape[1]
        if channels == 3:
            luma = torch.tensor(LUMA).to(images)
            brightness = torch.einsum("nchw,c->nhw", images, luma)[:, None]
            images = brightness.lerp(images, _around_one(self.color, images, 1, generator))
        return (images * _around_one(self.color, images, channels, generator)).clamp(0, 1)

    def _erased(self, images: Tensor, generator: Generator) -> Tensor:
        count, _, height, width = images.shape
        chance, area, aspect, top, left = _draw((5, count, 1), images, generator)
        area = ERASED[0] + (ERASED[1] - ERASED[0]) * area
        # h = sqrt(A r) and w = sqrt(A / r), with A = area * height * width, fit in for r between A/width² and height²/A
        low = (area * (height / width)).log().clamp(min=math.log(ASPECT))
        high = (height / width / area).log().clamp(max=-math.log(ASPECT))
        aspect = torch.exp(low + (high - low) * aspect)
        tall = (area * height * width * aspect).sqrt().round().clamp(1, height)
        wide = (area * height * width / aspect).sqrt().round().clamp(1, width)
        top, left = (top * (height - tall + 1)).floor(), (left * (width - wide + 1)).floor()
        y, x = (torch.arange(size, device=images.device) for size in (height, width))
        inside = ((y >= top) & (y < top + tall) & (chance < self.erase))[:, :, None] & (
            (x >= left) & (x < left + wide)
        )[:, None, :]
        return torch.where(inside[:, None], _draw(tuple(images.shape), images, generator).to(images), images)


def _check(images: Tensor) -> None:
    if images.ndim != 4 or not images.is_floating_point():
        raise DataError(
            f"The images are {images.dtype} of shape {tuple(images.shape)}, but must be floating-point numbers from 0 "
            "to 1 of shape (n, channels, height, width). Divide bytes by 255."
        )


def _draw(shape: tuple[int, ...], images: Tensor, generator: Generator) -> Tensor:
    """Uniform in [0, 1), float32 whatever the images are, so that all types see the same changes; on their device."""
    return torch.rand(shape, generator=generator, device=generator.device).to(images.device)


def _around_one(amount: float, images: Tensor, channels: int, generator: Generator) -> Tensor:
    """Factors for each image, uniform in [1 - amount, 1 + amount]: (n, channels, 1, 1)."""
    return (1 + amount * (2 * _draw((len(images), channels, 1, 1), images, generator) - 1)).to(images)


def _inside(places: Tensor, size: int, mirror: bool) -> tuple[Tensor, Tensor]:
    """For places up to one size outside of 0 … size - 1, where in it their pixels come from; and which were outside."""
    inside = places.clamp(0, size - 1)
    outside = inside != places
    if mirror:  # 2 e - p, with the mirror e half a pixel beyond the first or the last one
        inside = torch.where(outside, 2 * inside + torch.where(places < 0, -1, 1) - places, places)
    return inside, outside
