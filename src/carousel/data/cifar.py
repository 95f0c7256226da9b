"""CIFAR-10 and CIFAR-100 in their binary version: a label or two and 3 × 32 × 32 bytes for each image.

A record of CIFAR-10 has 3,073 bytes, a label from 0 to 9 and the red, green and blue pixels row by row; one of
CIFAR-100 has 3,074, a coarse label (0 to 19), a fine one (0 to 99), the pixels. The names of the classes stand in text
files beside (Krizhevsky, "Learning multiple layers of features from tiny images", 2009). The version for Python is a
pickle, which runs whatever code is in it when it is loaded: it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .packed_images import CHUNK, Packed
from .splits import in_name

__all__ = ["CIFAR10", "cifar_labels", "is_pickle", "pickle_refused", "read_cifar"]

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
CIFAR10: Sequence[str] = "airplane automobile bird cat deer dog frog horse ship truck".split()
"""The classes of CIFAR-10 in their order."""
NAMES = {1: "batches.meta.txt", 2: "fine_label_names.txt"}
"""Where the names of the classes stand, by how many labels a record has."""
LARGEST = {1: (9,), 2: (19, 99)}


def cifar_labels(path: Path) -> int | None:
    """How many labels a record of this file has, 1 (CIFAR-10) or 2 (CIFAR-100); None if it is another file."""
    try:
        size = path.stat().st_size if path.suffix == ".bin" else 0
        return next((labels for labels in LARGEST if size and _fits(path, size, labels)), None)
    except OSError:
        return None


def read_cifar(files: Sequence[Path]) -> tuple[list[Packed], list[str]]:
    """The images of these files, and what the user should know; files of another kind are left alone.

    Raises:
        DataError: a file is a pickle, or has a label that is no class, or there are both kinds of records.
    """
    for path in files:
        if is_pickle(path):
            raise DataError(pickle_refused(path))
    kinds = {path: labels for path in files if (labels := cifar_labels(path)) is not None}
    if len(set(kinds.values())) > 1:
        one, two = (next(path for path, labels in kinds.items() if labels == number) for number in (1, 2))
        raise DataError(f'"{one}" is of CIFAR-10 and "{two}" of CIFAR-100; give the files of one of them.')
    parts, notes = [], []
    for path, labels in kinds.items():
        named = path.parent / NAMES[labels]
        names: Sequence[str] = _names(named)
        files_of = [path, named] if names else [path]
        if not names and labels == 1:
            names = CIFAR10
            note = f"There is no {NAMES[1]} beside the images: the classes are named as in CIFAR-10."
        else:
            note = "" if names else f"There is no {NAMES[2]} beside the images: the classes are numbers."
        notes += [note] if note and note not in notes else []
        parts.append(_packed(path, labels, names, files_of))
    if 2 in kinds.values():
        notes.append("Of the two labels of each image the fine one is taken.")
    return parts, notes


def is_pickle(path: Path) -> bool:
    """Whether the file is a Python pickle (of protocol 2 or later), by its first and last bytes."""
    if path.suffix not in ("", ".meta", ".pkl", ".pickle", ".p"):
        return False
    try:
        with path.open("rb") as file:
            start = file.read(2)
            if len(start) < 2 or start[0] != 0x80 or not 2 <= start[1] <= 5:
                return False
            file.seek(-1, 2)
            return file.read(1) == b"."
    except OSError:
        return False


def pickle_refused(path: Path) -> str:
    """Why, and what to do instead."""
    return (
        f'"{path}" is a Python pickle, which can run any code when it is loaded, so it is not loaded. Give the binary '
        "version of the images (cifar-10-binary.tar.gz, unpacked), or image files."
    )


def _packed(path: Path, labels: int, names: Sequence[str], files: list[Path]) -> Packed:
    records = np.memmap(path, np.uint8, mode="r").reshape(-1, labels + PIXELS)
    numbers = np.array(records[:, labels - 1])
    wrong = np.flatnonzero(numbers > min(LARGEST[labels][-1], (len(names) or 256) - 1))
    if len(wrong):
        raise DataError(
            f'"{path}" has the label {numbers[wrong[0]]} in its image {wrong[0] + 1:,}, but there are '
            f"{len(names) or LARGEST[labels][-1] + 1} classes, counted from 0."
        )

    def chunks() -> Iterator[NDArray[np.uint8]]:
        for begin in range(0, len(records), CHUNK):
            some = records[begin : begin + CHUNK, labels:]
            yield np.asarray(some).reshape(len(some), *SHAPE)

    split = in_name(path.name) or ("train" if path.name.startswith("data_batch") else None)
    own: list[str] = [str(names[number]) if names else str(number) for number in numbers.tolist()]
    return Packed(path, files, split, own, len(records), SHAPE, chunks)


def _fits(path: Path, size: int, labels: int) -> bool:
    """Whether the file is whole records, the first ones of which have labels that may be."""
    length = labels + PIXELS
    if size % length:
        return False
    records = np.memmap(path, np.uint8, mode="r", shape=(min(size // length, 100), length))
    return all((records[:, place] <= most).all() for place, most in enumerate(LARGEST[labels]))


def _names(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeError):
        return []
