"""Labelled images, from whatever files hold them, as arrays of one size.

Four layouts are known:

- `folders`: a folder for each class, in a folder or a ZIP archive; outer folders called train, dev, test are parts;
- `table`: CSV, TSV or Parquet with a column of paths, relative to the table, and a column of labels;
- `idx`: the files of MNIST, gzipped or not, paired by their names;
- `cifar`: the binary files of CIFAR-10 or CIFAR-100.

Whatever an image was, it comes out as bytes of one height and width with one or three channels; the notes say what was
done to how many. Nothing that can run code when it is read, such as a pickle, is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import CarouselError, DataError, UsageError
from .image_checks import check_labels, copies, notes_of_classes, notes_of_facts, unreadable_images
from .image_files import bombs_refused
from .image_sources import Found, Layout, Look, Source, find, forced_look, look_at, paths_of
from .pixels import Pixels, Progress, in_threads, keep
from .text_files import PathLike, common_name

__all__ = ["ImageSet", "looks_like_images", "read_images", "read_to_predict"]

Size = int | tuple[int, int]

USUAL = 64
"""Pixels of the shorter side, where the images have different sizes, or one that is above `LARGEST`."""
LARGEST = 256
"""Pixels of the longer side up to which a size that all images have is kept."""
STEPS = (8, 16, 24, 28, 32, 48, USUAL)
"""Sizes to choose from where the images have different ones."""
UNREADABLE = ("stop", "skip")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """What was read.

    Attributes:
        name: short name for folders and messages.
        where: where the images and labels stand, for a person.
        layout: see the top of this module.
        pixels: the images: `len(pixels)`, `pixels.shape` (channels, height, width), `pixels.read(rows)`.
        labels: the class of each; empty texts where there are none.
        splits: train, dev or test for each, None where nothing says so.
        groups: of each, what a column says belongs together; None without one.
        times: of each, as datetime64 or float; None without a column.
        names: of each, for a person: its file, or its file and its number in it, counted from 0.
        equal: (images,) for each the number of the first image with exactly its pixels; the same number on both sides
            of a split is leakage.
        files: all that were read.
        digest: hash of their content, of the labels and of the splits.
        columns: of a table: path_column, label_column, split_column, group_column, time_column; else empty.
        notes: sentences that the user should read.
    """

    name: str
    where: str
    layout: Layout
    pixels: Pixels
    labels: list[str]
    splits: list[str | None]
    groups: list[str] | None
    times: NDArray[Any] | None
    names: list[str]
    equal: NDArray[np.int64]
    files: list[Path]
    digest: str
    columns: dict[str, str | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def looks_like_images(sources: Sequence[PathLike]) -> str | None:
    """Why these files are images, in a few words; None if they are not. It opens few files, whatever there is."""
    try:
        look = look_at(paths_of(sources))
    except CarouselError:
        return None
    return None if look is None else look.why


def read_images(
    sources: Sequence[PathLike],
    *,
    size: Size | None = None,
    channels: int | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    time_column: str | None = None,
    unreadable: Literal["stop", "skip"] = "stop",
    encoding: str = "utf-8",
    need_labels: bool = True,
    progress: Progress | None = None,
) -> ImageSet:
    """Read them all, and say what a person should know about them.

    Args:
        sources: files, folders, patterns, ZIP archives.
        size: height and width in pixels, or one number for both. If not given: that of the images where all are equal
            and no side is above 256; where all are equal and larger, their shape with 64 pixels on the shorter side;
            otherwise a square of at most 64 × 64, no larger than most images. To come to another shape, the greatest
            centered part that has it is taken.
        channels: 1 for gray, 3 for color. If not given, 1 where all images are gray.
        path_column: column of the files in a table; found if not given.
        label_column: column of the labels in a table; found if not given.
        split_column: column that says train, dev or test; found if not given.
        group_column: column that says what belongs together.
        time_column: column that says when an image was made.
        unreadable: at damaged images, decompression bombs, and symbolic links that lead out of the folder: stop, or
            skip them with a note.
        encoding: of tables.
        need_labels: refuse images without labels; otherwise labels are taken where all have one.
        progress: called with the images decoded and the images in all.

    Raises:
        UsageError: there is nothing of a name, or an option is impossible.
        DataError: there are no images, labels, or readable files, or there is one class only.

    Example:
        >>> from PIL import Image
        >>> for color in ("red", "blue"):
        ...     Path("flags", color).mkdir(parents=True)
        ...     Image.new("RGB", (8, 6), color).save(f"flags/{color}/1.png")
        >>> flags = read_images(["flags"])
        >>> flags.where, flags.labels, flags.pixels.shape
        ('2 folders of flags', ['blue', 'red'], (3, 6, 8))
        >>> flags.pixels.read([1])[0, :, 0, 0]
        array([255,   0,   0], dtype=uint8)
    """
    wanted = _Wanted(size, channels, unreadable)
    columns = {
        "path_column": path_column,
        "label_column": label_column,
        "split_column": split_column,
        "group_column": group_column,
        "time_column": time_column,
    }
    paths = paths_of(sources)
    look = look_at(paths) or forced_look(paths)
    found = find(look, paths, columns, encoding, need_labels=need_labels)
    if found.labels is None and need_labels:
        raise DataError(_unlabelled(look, found))
    found.labels = [""] * len(found.names) if found.labels is None else found.labels
    if need_labels:
        check_labels(found.labels, found.columns.get("label_column"))
    digest = _digest(found)
    pixels, digests = _decoded(found, wanted, digest, progress)
    if need_labels:
        check_labels(found.labels, found.columns.get("label_column"))
        found.notes += notes_of_classes(found.labels, found.splits)
    equal, about_copies = copies(digests, found.names, found.labels, found.splits)
    found.notes += about_copies
    name = common_name([str(paths[0])] if len(paths) == 1 else list(map(str, paths)), found.files)
    return ImageSet(
        name, found.where, look.layout, pixels, found.labels, found.splits, found.groups, found.times, found.names,
        equal, found.files, digest, found.columns, found.notes,
    )  # fmt: skip


def read_to_predict(
    path: PathLike,
    *,
    size: Size,
    channels: int,
    path_column: str | None = None,
    label_column: str | None = None,
    unreadable: Literal["stop", "skip"] = "stop",
    encoding: str = "utf-8",
    notes: list[str] | None = None,
    progress: Progress | None = None,
) -> tuple[list[str], NDArray[np.uint8], list[str] | None]:
    """Images to predict for, and their labels where they stand beside.

    Args:
        path: an image, a folder or ZIP archive of images, a table, a file in IDX or CIFAR's format, a pattern.
        size: height and width, or one number for both; see `read_images`.
        channels: 1 or 3.
        path_column: column of the files in a table; found if not given.
        label_column: column of the labels in a table; without it there are none.
        unreadable: see `read_images`.
        encoding: of a table.
        notes: sentences that the user should read are added to it.
        progress: see `read_images`.

    Returns:
        A name for each image, the images as (images, channels, height, width) uint8, and the labels or None. Those of
        a folder are the names of the folders inside it, if every image lies in one.

    Raises:
        UsageError: there is nothing of this name, or an option is impossible.
        DataError: there are no images in it, or they can't be read.
    """
    wanted = _Wanted(size, channels, unreadable)
    paths = paths_of([path])
    look = look_at(paths) or forced_look(paths)
    columns = {"path_column": path_column, "label_column": label_column}
    found = find(look, paths, columns if look.layout == "table" else {}, encoding, training=False)
    pixels, _ = _decoded(found, wanted, _digest(found), progress)
    if notes is not None:
        notes += found.notes
    return found.names, pixels.array, found.labels


@dataclass(frozen=True)
class _Wanted:
    """What the user asks for, checked."""

    size: Size | None
    channels: int | None
    unreadable: str

    def __post_init__(self) -> None:
        sides = (self.size, self.size) if self.size is None or isinstance(self.size, int) else tuple(self.size)
        if len(sides) != 2 or any(side is not None and not 1 <= side <= 4096 for side in sides):
            raise UsageError(
                f"The size of images is {self.size}, but must be a number of pixels from 1 to 4,096, or two: height "
                "and width."
            )
        if self.channels not in (None, 1, 3):
            raise UsageError(f"The images cannot have {self.channels} channels; use 1 for gray or 3 for color.")
        if self.unreadable not in UNREADABLE:
            raise UsageError(
                f'At unreadable images there is no "{self.unreadable}"; use "stop" to stop at them or "skip" to leave '
                "them out."
            )


def _decoded(found: Found, wanted: _Wanted, digest: str, progress: Progress | None) -> tuple[Pixels, NDArray[np.uint8]]:
    """The pixels and the digest of each image; what can't be read is left out of all that was found, or stops."""
    if found.refused:
        count = found.source.count + len(found.refused)
        found.notes.append(unreadable_images(found.refused, count, skip=wanted.unreadable == "skip"))
    source = found.source
    with bombs_refused():
        size, channels, note = _shape(source, wanted)
        found.notes += [note] if note else []
        names = found.names
        key = [digest, names, size, channels]
        count, shape = source.count, (channels, *size)
        kept = keep(lambda: source.blocks(size, channels), count, shape, key, effort=source.effort(), progress=progress)
    if kept.failed:
        reasons = [(names[place], reason) for place, reason in sorted(kept.failed.items())]
        found.notes.append(unreadable_images(reasons, count, skip=wanted.unreadable == "skip"))
        found.only([row for row in range(count) if row not in kept.failed])
    found.notes += kept.notes + notes_of_facts(kept.facts, names, size, channels)
    return kept.pixels, kept.digests


def _shape(source: Source, wanted: _Wanted) -> tuple[tuple[int, int], int, str | None]:
    """Height and width, channels, and a sentence where the size is a choice."""
    size, channels, note = wanted.size, wanted.channels, None
    if size is None or channels is None:
        sample = source.sizes() or [(32, 32, False)]  # where none can be read, that is said later
        if channels is None:
            channels = 1 if all(gray for *_, gray in sample) else 3
        if size is None:
            size, note = _usual([(height, width) for height, width, _ in sample])
    height, width = (size, size) if isinstance(size, int) else size
    return (height, width), channels, note


def _usual(sizes: list[tuple[int, int]]) -> tuple[tuple[int, int], str | None]:
    """The size that all have, or a sensible one and a sentence about it."""
    height, width = sizes[0]
    if len(set(sizes)) == 1:
        if max(height, width) <= LARGEST:
            return (height, width), None
        scale = USUAL / min(height, width)
        size = (round(height * scale), round(width * scale))
        have = f"All images have {height:,} × {width:,} pixels (height × width)"
    else:
        side = float(np.median([min(one) for one in sizes]))
        square = max((step for step in STEPS if step <= side), default=max(1, int(side)))
        size = (square, square)
        least, most = min(sizes, key=lambda one: one[0] * one[1]), max(sizes, key=lambda one: one[0] * one[1])
        have = f"The images have different sizes, from {least[0]:,} × {least[1]:,} to {most[0]:,} × {most[1]:,} pixels"
    return size, f"{have}; they are used at {size[0]} × {size[1]}. Choose another with --size."


def _digest(found: Found) -> str:
    def one(path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
        except OSError as error:
            return str(error.strerror).encode()

    content = hashlib.blake2b(json.dumps([found.labels, found.splits]).encode(), digest_size=16)
    for own in in_threads(one, found.files):
        content.update(own)
    return content.hexdigest()


def _unlabelled(look: Look, found: Found) -> str:
    if look.layout == "idx":
        return (
            f'There are no labels for the images of "{found.files[0]}". Put the file of labels beside it, named alike '
            "(train-images-idx3-ubyte, train-labels-idx1-ubyte)."
        )
    count = len(found.names)
    images = "image" if count == 1 else f"{count:,} images"
    return (
        f"Nothing says what is on the {images}: no folder does. Make a folder for each class and move the images "
        "there, or give a table with a column of paths and one of labels. Only --network autoencoder needs no classes."
    )
