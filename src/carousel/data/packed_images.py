"""Files that hold many images of one size: what IDX and CIFAR have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .image_files import fitted
from .pixels import Block

__all__ = ["CHUNK", "Packed", "packed_blocks"]

CHUNK = 1000
"""Images that are read at once."""


@dataclass(frozen=True, eq=False)
class Packed:
    """One file of images.

    Attributes:
        file: with the images.
        files: all that belong to it: with the images, with the labels, with the names of the classes.
        split: train, dev or test, None where its name says nothing.
        labels: of each image; None where there are none.
        count: of the images.
        shape: channels, height, width of each.
        chunks: the images in order, (k, channels, height, width) uint8 each time. Raises DataError where the file is
            not what its beginning or its size promised.
    """

    file: Path
    files: list[Path]
    split: str | None
    labels: list[str] | None
    count: int
    shape: tuple[int, int, int]
    chunks: Callable[[], Iterator[NDArray[np.uint8]]]

    @property
    def title(self) -> str:
        """The file's name without suffixes."""
        return self.file.name.removesuffix(".gz").removesuffix(".bin")


def packed_blocks(parts: Sequence[Packed], size: tuple[int, int], channels: int) -> Iterable[Block]:
    """The images of all files, at a size and with as many channels."""
    for part in parts:
        plain = part.shape == (channels, *size)
        for chunk in part.chunks():
            facts: list[list[str]] = [[] for _ in chunk]
            if not plain:
                chunk = np.stack([_fitted(image, size, channels, own) for image, own in zip(chunk, facts, strict=True)])
            yield Block(chunk, facts, [], len(chunk))


def _fitted(image: NDArray[np.uint8], size: tuple[int, int], channels: int, facts: list[str]) -> NDArray[np.uint8]:
    picture = Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
    return fitted(picture, size, channels, facts)
