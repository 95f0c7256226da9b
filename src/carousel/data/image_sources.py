"""Where labelled images stand: the layout of files, and everything about the images but their pixels."""

from __future__ import annotations

import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError
from .cifar import cifar_labels, is_pickle, pickle_refused, read_cifar
from .idx import idx_header, read_idx
from .image_files import GRAY, IMAGE_SUFFIXES, Picture, Unreadable, probe
from .image_folders import arrange, glance, is_archive, walk
from .image_tables import COLUMNS, labelled_paths, names_images, read_image_tables
from .packed_images import Packed, packed_blocks
from .pixels import Block, decode_all, in_threads
from .tables import TABLE_SUFFIXES
from .text_files import PathLike, find_files

__all__ = ["Found", "Layout", "Look", "Source", "find", "forced_look", "look_at", "paths_of"]

Layout = Literal["folders", "table", "idx", "cifar"]

ARCHIVES = (".zip", ".gz", ".tar", ".tgz", ".bz2", ".xz", ".7z", ".rar")
LOOKED_AT = 100
"""Files of those that are named one by one that are opened to see what they are."""
PROBED = 1000
"""Images whose headers are read to choose a size."""

# -- what it looks like -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """A layout, why it is that one in a few words, and the tables if it is one of tables."""

    layout: Layout
    why: str
    tables: tuple[Path, ...] = ()


def paths_of(sources: Sequence[PathLike]) -> list[Path]:
    """Folders as they are, and the files of all other sources."""
    paths: list[Path] = []
    for source in sources:
        expanded = os.path.expanduser(source)  # noqa: PTH111 (leaves the name of no user as it is)
        if os.path.isdir(expanded):  # noqa: PTH112 (False whatever is wrong with the name)
            paths.append(Path(expanded))
        else:
            paths += [file for file, _ in find_files([source])]
    if not paths:
        raise UsageError("The list of images is empty: give at least one file or folder.")
    return list(dict.fromkeys(paths))


def look_at(paths: Sequence[Path]) -> Look | None:
    """The layout that these files plainly have."""
    tables = _tables(paths)
    if tables:
        return Look("table", f'"{tables[0].name}" names image files in its column {names_images(tables[0])!r}', tables)
    some = [file for path in paths[:LOOKED_AT] for file in (glance(path) if path.is_dir() else [path])]
    if any(is_archive(path) for path in paths):
        return _mostly_images(paths, [Path(name) for path in paths for name in _members(path)])
    for file in some:
        header = None if file.suffix.lower() in IMAGE_SUFFIXES else idx_header(file)
        if header is not None and len(header.shape) > 1:
            return Look("idx", f'"{file.name}" is an IDX file of images')
        if labels := cifar_labels(file):
            return Look("cifar", f'"{file.name}" consists of records of CIFAR-{10 if labels == 1 else 100}')
        if re.fullmatch(r"data_batch_\d+|test_batch|train|test", file.name) and is_pickle(file):
            return Look("cifar", f'"{file.name}" is named like the files of CIFAR')
    return _mostly_images(paths, some)


def _tables(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Tables that name images: those that were given, or those in the only folder that plainly have labels too."""
    if len(paths) == 1 and paths[0].is_dir():
        try:
            with os.scandir(paths[0]) as entries:
                inside = sorted(entry.path for entry in entries if Path(entry.name).suffix.lower() in TABLE_SUFFIXES)
        except OSError:  # said when it is read
            return ()
        return tuple(path for path in map(Path, inside[:20]) if path.is_file() and labelled_paths(path))
    given = [path for path in paths if path.suffix.lower() in TABLE_SUFFIXES]
    return tuple(given) if given and len(given) == len(paths) and names_images(given[0]) is not None else ()


def _mostly_images(paths: Sequence[Path], files: Sequence[Path]) -> Look | None:
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    if not images or 2 * len(images) <= len(files):
        return None
    suffixes = ", ".join(sorted({file.suffix.lower() for file in images})[:4])
    shown = paths[0].name or str(paths[0])
    return Look("folders", f'"{shown}" is an image' if images == list(paths) else f"{shown} has images ({suffixes})")


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [info.filename for info in archive.infolist() if not info.is_dir()]
    except (OSError, zipfile.BadZipFile):
        return []


def forced_look(paths: Sequence[Path]) -> Look:
    """The layout of files that look like something else but are images, as the user says."""
    if all(path.suffix.lower() in TABLE_SUFFIXES for path in paths):
        return Look("table", "", tuple(paths))
    for path in paths:
        if path.is_file() and is_pickle(path):
            raise DataError(pickle_refused(path))
        if path.suffix.lower() in ARCHIVES and path.is_file() and not is_archive(path):
            raise DataError(f'"{path}" is packed. Unpack it, and give the folder that comes out.')
    return Look("folders", "")


# -- reading ----------------------------------------------------------------------------------------------------------


class Source(Protocol):
    """Where pixels come from.

    `sizes` has height, width and whether it is gray of some images; `effort` is the bytes of compressed files.
    """

    @property
    def count(self) -> int: ...
    def sizes(self) -> list[tuple[int, int, bool]]: ...
    def effort(self) -> int: ...
    def blocks(self, size: tuple[int, int], channels: int) -> Iterable[Block]: ...


@dataclass(frozen=True)
class _Pictures:
    """Each image in a file of its own."""

    pictures: list[Picture]

    @property
    def count(self) -> int:
        return len(self.pictures)

    def sizes(self) -> list[tuple[int, int, bool]]:
        """Of a sample that is spread evenly."""

        def one(place: int) -> tuple[int, int, bool] | None:
            try:
                height, width, mode = probe(self.pictures[place])
                return height, width, mode in GRAY
            except Unreadable:
                return None

        places = np.unique(np.linspace(0, self.count - 1, min(self.count, PROBED)).astype(int))
        return [header for header in in_threads(one, places.tolist()) if header is not None]

    def effort(self) -> int:
        return sum(path.stat().st_size for path in {picture.file for picture in self.pictures} if path.is_file())

    def blocks(self, size: tuple[int, int], channels: int) -> Iterable[Block]:
        return decode_all(self.pictures, size, channels)


@dataclass(frozen=True)
class _Packs:
    """Many images in a file."""

    parts: list[Packed]

    @property
    def count(self) -> int:
        return sum(part.count for part in self.parts)

    def sizes(self) -> list[tuple[int, int, bool]]:
        return [(part.shape[1], part.shape[2], part.shape[0] == 1) for part in self.parts]

    def effort(self) -> int:
        return 0

    def blocks(self, size: tuple[int, int], channels: int) -> Iterable[Block]:
        return packed_blocks(self.parts, size, channels)


@dataclass
class Found:
    """Everything but the pixels."""

    source: Source
    where: str
    names: list[str]
    labels: list[str] | None
    splits: list[str | None]
    files: list[Path]
    refused: list[tuple[str, str]] = field(default_factory=list)
    groups: list[str] | None = None
    times: NDArray[Any] | None = None
    columns: dict[str, str | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def only(self, rows: Sequence[int]) -> None:
        """Leave out all others."""
        for what in ("names", "labels", "splits", "groups"):
            values = getattr(self, what)
            if values is not None:
                setattr(self, what, [values[row] for row in rows])
        if self.times is not None:
            self.times = self.times[list(rows)]


def find(
    look: Look,
    paths: Sequence[Path],
    columns: dict[str, str | None],
    encoding: str,
    training: bool = True,
    need_labels: bool | None = None,
) -> Found:
    """Everything about the images but their pixels, which are not read yet.

    Args:
        look: what the files look like.
        paths: what the user gave.
        columns: options that name columns of a table, and what was given for them.
        encoding: of tables.
        training: what is odd about the files is said.
        need_labels: images without a label are left out; otherwise, labels are taken where all have one. The same as
            `training` if not given.

    Raises:
        UsageError: a column is named, but there is no table.
        DataError: there are no images, or what stands beside them is not as it should be.
    """
    need_labels = training if need_labels is None else need_labels
    if look.layout == "table":
        return _from_tables(look.tables, columns, encoding, need_labels)
    for option, value in columns.items():
        if value is not None:
            raise UsageError(
                f"The option --{option.replace('_', '-')} {value} is about tables of image files, but {paths[0]} is "
                "none: leave it out."
            )
    if look.layout == "folders":
        return _from_folders(paths, training, need_labels)
    return _from_packed(look.layout, paths)


def _from_tables(tables: Sequence[Path], columns: dict[str, str | None], encoding: str, need_labels: bool) -> Found:
    named = {what: columns.get(f"{what}_column") for what in COLUMNS}
    read = read_image_tables(tables, named, encoding=encoding, need_labels=need_labels)
    shown = tables[0].name if len(tables) == 1 else f"{len(tables)} tables"
    where = f"{shown}, files in column {read.columns['path_column']!r}"
    if read.columns["label_column"] is not None:
        where += f", label in {read.columns['label_column']!r}"
    if read.columns["split_column"] is not None:
        where += f", parts in {read.columns['split_column']!r}"
    files = list(dict.fromkeys([*tables, *(picture.file for picture in read.pictures)]))
    return Found(
        _Pictures(read.pictures), where, read.names, read.labels, read.splits, files, [], read.groups, read.times,
        read.columns, read.notes,
    )  # fmt: skip


def _from_folders(paths: Sequence[Path], training: bool, need_labels: bool) -> Found:
    walked = walk(paths)
    if not walked.images:
        raise DataError(_no_images(paths, walked.others, walked.refused))
    arranged = arrange([folders for folders, _, _ in walked.images])
    notes = arranged.notes if need_labels else []
    rows: Sequence[int] = arranged.rows if need_labels and arranged.rows else range(len(walked.images))
    labelled = len(arranged.rows) == len(rows)
    labels = arranged.labels if labelled else None
    splits = [arranged.splits[row] for row in rows]
    images = [walked.images[row] for row in rows]
    if training and walked.others:
        count = walked.others.total()
        kinds = ", ".join(f"{suffix} {number:,}" for suffix, number in walked.others.most_common(5))
        notes.append(f"{count:,} other file{' was' if count == 1 else 's were'} left out ({kinds}).")
    if training and walked.empty:
        more = f" and {len(walked.empty) - 3} more" if len(walked.empty) > 3 else ""
        shown = ", ".join(f'"{folder}"' for folder in walked.empty[:3])
        notes.append(f"There is no image in {shown}{more}.")
    shown = paths[0].resolve().name if len(paths) == 1 else f"{len(paths)} sources"
    classes = len(set(labels or ()))
    where = f"{classes:,} folder{'' if classes == 1 else 's'} of {shown}" if classes else shown
    names = ["/".join((*folders, name)) for folders, name, _ in images]
    files = list(dict.fromkeys(picture.file for _, _, picture in images))
    return Found(
        _Pictures([picture for _, _, picture in images]), where, names, labels, splits, files, walked.refused,
        notes=notes,
    )  # fmt: skip


def _from_packed(layout: Layout, paths: Sequence[Path]) -> Found:
    files = [file for path in paths for file in (sorted(glance(path)) if path.is_dir() else [path])]
    parts, notes = (read_idx(files, beside=True), []) if layout == "idx" else read_cifar(files)
    parts = sorted(parts, key=lambda part: part.split == "test")
    names, labels, splits = [], [], []
    for part in parts:
        title = re.sub(r"[-.]idx\d-ubyte$", "", part.title)
        names += [f"{title} #{number}" for number in range(part.count)]
        labels += part.labels or []
        splits += [part.split] * part.count
    shown = [part.file.name for part in parts]
    where = " and ".join(shown) if len(shown) < 3 else f"{shown[0]} and {len(shown) - 1} more files"
    files = list(dict.fromkeys(file for part in parts for file in part.files))
    return Found(_Packs(parts), where, names, labels if len(labels) == len(names) else None, splits, files, notes=notes)


def _no_images(paths: Sequence[Path], others: Counter[str], refused: list[tuple[str, str]]) -> str:
    what = ", ".join(f"{number:,} {suffix}" for suffix, number in others.most_common(5))
    links = f"{refused[0][0]}: {refused[0][1]}" if refused else ""
    has = f" (it has {what})" if what else f" ({links})" if links else ", it is empty" if paths[0].is_dir() else ""
    packed = next(
        (suffix for suffix in (".zip", ".gz", ".tar", ".tgz", ".bz2", ".xz", ".7z") if suffix in others), None
    )
    unpack = f" Unpack the {packed} archives first." if packed else ""
    return (
        f'There is no image in "{paths[0]}"{has}. Looked for files that end in {" ".join(sorted(IMAGE_SUFFIXES))}, '
        f"for IDX files, and for the binary files of CIFAR.{unpack}"
    )
