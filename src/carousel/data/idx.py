"""IDX, the format of MNIST: images in one file and their labels in another, compressed by gzip or not.

A file is two zero bytes, a byte for the type of the numbers, a byte for how many dimensions there are, the size of
each as a big-endian 32-bit number, and the numbers themselves (LeCun, Cortes and Burges, "The MNIST database").
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .packed_images import CHUNK, Packed
from .splits import in_name

__all__ = ["idx_header", "read_idx"]

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_DEFLATE = 1100
"""gzip makes at most 1,032 bytes of one: a header that promises more is wrong."""


@dataclass(frozen=True)
class Header:
    """What the beginning of a file says."""

    type: np.dtype
    shape: tuple[int, ...]

    @property
    def begin(self) -> int:
        """Where the numbers begin."""
        return 4 + 4 * len(self.shape)

    @property
    def bytes(self) -> int:
        """Of the numbers."""
        return math.prod(self.shape) * self.type.itemsize


def idx_header(path: Path) -> Header | None:
    """The header of an IDX file with images or labels; None if it is another file."""
    try:
        with _opened(path) as file:
            start = file.read(4)
            if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in TYPES or start[3] not in (1, 3, 4):
                return None
            sizes = file.read(4 * start[3])
        return Header(np.dtype(TYPES[start[2]]), struct.unpack(f">{start[3]}I", sizes))
    except (OSError, EOFError, zlib.error, struct.error):
        return None


def read_idx(files: Sequence[Path], beside: bool = False) -> list[Packed]:
    """The images of these files, with the labels of the file of the same name but for images/labels and idx3/idx1.

    Args:
        files: those with images, those with labels, and others, which are left alone.
        beside: look for files of labels in the folders of the images too.

    Raises:
        DataError: a file is not what its header says, there are more or fewer labels than images, or the files are
            of several sets.
    """
    headers = {path: header for path in _each_once(files) if (header := idx_header(path)) is not None}
    images = {path: header for path, header in headers.items() if len(header.shape) > 1}
    sets = {_set_of(path) for path in images}
    if len(sets) > 1:
        raise DataError(
            f"These are IDX files of several sets of images: {', '.join(sorted(sets))}. Give the files of one set."
        )
    labels = {_key(path): path for path, header in headers.items() if len(header.shape) == 1}
    if beside:
        near = {other for path in images for other in path.parent.iterdir() if _key(other) == _key(path)}
        labels = {_key(path): path for path in _each_once(sorted(near)) if _is_labels(path)} | labels
    return [_packed(path, header, labels.get(_key(path))) for path, header in images.items()]


def _packed(path: Path, header: Header, labels_in: Path | None) -> Packed:
    if header.type != np.uint8:
        raise DataError(f'"{path}" holds images of type {header.type.name}; only bytes from 0 to 255 are read.')
    count, *shape = header.shape
    order = (0, 1, 2, 3)
    if len(shape) == 2:
        shape = [1, *shape]
    elif shape[2] in (1, 3):
        shape, order = [shape[2], shape[0], shape[1]], (0, 3, 1, 2)
    if shape[0] not in (1, 3) or min(shape) < 1:
        sizes = " × ".join(map(str, header.shape))
        raise DataError(f'"{path}" holds numbers of shape {sizes}, which are no images of one or three channels.')
    if header.bytes > _most_bytes(path, header):
        raise DataError(
            f'"{path}" is truncated: its header promises {count:,} images of {shape[1]} × {shape[2]} pixels, but the '
            f"file has {path.stat().st_size:,} bytes. Get it again."
        )
    stored = header.shape[1:]

    def chunks() -> Iterator[NDArray[np.uint8]]:
        with _opened(path) as file:
            file.read(header.begin)
            for begin in range(0, count, CHUNK):
                chunk = np.empty((min(CHUNK, count - begin), *stored), np.uint8)
                _fill(file, chunk, path)
                yield chunk.reshape(len(chunk), 1, *stored) if len(stored) == 2 else chunk.transpose(order)
            _ends(file, path)

    labels = None if labels_in is None else _labels(labels_in)
    if labels is not None and len(labels) != count:
        raise DataError(
            f'"{path.name}" has {count:,} images and "{labels_in}" {len(labels):,} labels; there must be a label for '
            "each image."
        )
    files = [path] if labels_in is None else [path, labels_in]
    split = "test" if "t10k" in path.name else in_name(path.name)
    return Packed(path, files, split, labels, count, (shape[0], shape[1], shape[2]), chunks)


def _labels(path: Path) -> list[str]:
    header = idx_header(path)
    assert header is not None
    if header.type.kind == "f":
        raise DataError(f'"{path}" holds labels of type {header.type.name}; they must be whole numbers.')
    if header.bytes > _most_bytes(path, header):
        raise DataError(f'"{path}" is truncated: its header promises {header.shape[0]:,} labels. Get it again.')
    values = np.empty(header.shape, header.type)
    with _opened(path) as file:
        file.read(header.begin)
        _fill(file, values, path)
        _ends(file, path)
    return [str(value) for value in values.tolist()]


def _most_bytes(path: Path, header: Header) -> int:
    """How many bytes of numbers there can be in the file."""
    size = path.stat().st_size
    return size * _DEFLATE if _is_gzip(path) else size - header.begin


def _fill(file: IO[bytes], values: NDArray, path: Path) -> None:
    if not values.size:
        return
    view = values.view(np.uint8).data.cast("B")
    done = 0
    try:
        while done < len(view) and (more := file.readinto(view[done:])):  # pyright: ignore[reportAttributeAccessIssue]
            done += more
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f'"{path}" is damaged ({error}). Get it again.') from None
    if done < len(view):
        raise DataError(f'"{path}" is truncated: it ends before all that its header promises. Get it again.')


def _ends(file: IO[bytes], path: Path) -> None:
    try:
        if not file.read(1):
            return
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f'"{path}" is damaged ({error}). Get it again.') from None
    raise DataError(f'"{path}" goes on behind all that its header promises, so the header is wrong. Get it again.')


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path) if _is_gzip(path) else path.open("rb")  # pyright: ignore[reportReturnType]


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _is_labels(path: Path) -> bool:
    header = idx_header(path) if path.is_file() else None
    return header is not None and len(header.shape) == 1


def _each_once(files: Sequence[Path]) -> list[Path]:
    """Without the compressed ones that are there unpacked too."""
    there = set(files)
    return [path for path in files if path.suffix != ".gz" or path.with_suffix("") not in there]


def _key(path: Path) -> str:
    """What the files of images and of labels have in common."""
    return str(path.parent / _words(path.name, r"images?|labels?|idx\d?|ubyte|gz"))


def _set_of(path: Path) -> str:
    """The set that a file belongs to, whichever part of it."""
    return _words(path.name, r"images?|labels?|idx\d?|ubyte|gz|t10k|train|test|valid|val|dev") or "images"


def _words(name: str, without: str) -> str:
    kept = [word for word in re.split(r"[^A-Za-z0-9]+", name.lower()) if word and not re.fullmatch(without, word)]
    return "-".join(kept)
