"""Tables that name image files: which column is what, and what stands in each row."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CarouselError, DataError
from .image_files import IMAGE_SUFFIXES, Picture
from .splits import in_name, split_of
from .stamps import Stamps, read_stamps
from .tables import LABELS, MISSING, TABLE_SUFFIXES, column, label_column, read_table, split_column

__all__ = ["COLUMNS", "ImageTable", "labelled_paths", "names_images", "path_column", "read_image_tables"]

PATHS = "path file filename file_name filepath file_path image image_path img img_path picture photo".split()
"""What people call the column, most usual first."""
COLUMNS = ("path", "label", "split", "group", "time")


@dataclass
class ImageTable:
    """The rows of all tables, one after the other.

    Attributes:
        pictures: the file of each.
        names: its path as it stands in the table.
        labels, splits, groups, times: of each, None where no column says it; a split also where the table's name does.
        columns: which column each of these is, under the names of the options.
        notes: sentences that the user should read.
    """

    pictures: list[Picture] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    labels: list[str] | None = None
    splits: list[str | None] = field(default_factory=list)
    groups: list[str] | None = None
    times: NDArray[Any] | None = None
    columns: dict[str, str | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def path_column(table: Any, but: Sequence[str | None] = ()) -> str | None:
    """The column in which nine of ten entries end like image files; of several the one with the most usual name."""
    import polars as pl

    endings = "(?i)(" + "|".join(suffix.replace(".", r"\.") for suffix in sorted(IMAGE_SUFFIXES)) + r")\s*$"
    found = []
    for place, name in enumerate(table.columns):
        values = table[name].drop_nulls()
        if name in but or values.dtype != pl.String or not len(values):
            continue
        share = values.str.contains(endings).mean()
        if isinstance(share, float) and share >= 0.9:
            usual = PATHS.index(name.lower()) if name.lower() in PATHS else len(PATHS)
            found.append((usual, place, name))
    return min(found)[-1] if found else None


def names_images(path: Path) -> str | None:
    """The column of a table that names image files which are there, by its first rows; None if it has none."""
    return _glance(path)[1]


def labelled_paths(path: Path) -> bool:
    """Whether a table names image files and plainly has labels: one other column, or one with a usual name."""
    head, name = _glance(path)
    if head is None or name is None:
        return False
    return head.width == 2 or any(other.lower() in LABELS for other in head.columns if other != name)


def _glance(path: Path) -> tuple[Any, str | None]:
    """The first rows of a table, whatever its encoding, and the column that names image files; None if it has none."""
    if path.suffix.lower() not in TABLE_SUFFIXES:
        return None, None
    for encoding in ("utf-8", "latin-1"):  # in the latter every byte is a character
        try:
            head = read_table(path, encoding, rows=200)
        except CarouselError:
            continue
        name = path_column(head)
        if name is None:
            return head, None
        paths = [text.strip().replace("\\", "/") for text in head[name].drop_nulls().head(20).to_list()]
        base = _base(path, paths, [])
        return head, name if any((base / text).exists() for text in paths) else None
    return None, None


def read_image_tables(
    files: Sequence[Path], named: Mapping[str, str | None], *, encoding: str, need_labels: bool = True
) -> ImageTable:
    """The rows of tables with a column of paths, relative to the table, and a column of labels.

    Args:
        files: CSV, TSV or Parquet.
        named: the columns "path", "label" and "split", which are found where they are not named, and "group" and
            "time", of which there are none then.
        encoding: of the tables.
        need_labels: there must be a column of labels.

    Raises:
        DataError: a table or a column can't be read or is missing, or a path or label is.
    """
    read = ImageTable()
    labels: list[str] = []
    groups: list[str] = []
    times: list[NDArray[Any]] = []
    named = {what: named.get(what) for what in COLUMNS}
    for file in files:
        table = read_table(file, encoding)
        own = _columns(table, file, named, need_labels)
        assert own["path"] is not None
        paths = _texts(table, own["path"], file, "path")
        base = _base(file, paths, read.notes)
        read.pictures += [Picture(base / text) for text in paths]
        read.names += paths
        if own["label"] is not None:
            labels += _texts(table, own["label"], file, "label")
        if own["split"] is None:
            read.splits += [in_name(file.name)] * table.height
        else:
            read.splits += [split_of(str(value)) for value in table[own["split"]].to_list()]
        if own["group"] is not None:
            groups += _texts(table, own["group"], file, "group")
        if own["time"] is not None:
            stamps = _stamps(table, own["time"])
            times.append(stamps.values)
            read.notes += stamps.notes
        named = {**own, "split": named["split"]}
        read.columns = read.columns or {f"{what}_column": name for what, name in own.items()}
    if labels and len(labels) != len(read.names):
        raise DataError(f"Only some of the tables have the column {named['label']!r} of labels; it must be in all.")
    read.labels = labels or None
    read.groups = groups or None
    read.times = np.concatenate(times) if times else None
    return read


def _columns(table: Any, file: Path, named: dict[str, str | None], need_labels: bool) -> dict[str, str | None]:
    """What each column is: those that were named, and those that are found."""
    own = {
        what: None if name is None else column(table, name, file, f"--{what}-column")
        for what, name in named.items()
        if need_labels or what != "label"
    }
    own["split"] = split_column(table, named["split"], file)
    own["path"] = own["path"] or path_column(table, list(own.values()))
    if own["path"] is None:
        raise DataError(
            f'"{file}" has no column whose entries end like image files (.png, .jpg …); name it with --path-column. '
            f"Its columns are {', '.join(map(repr, table.columns[:20]))}."
        )
    if not need_labels:
        return {**own, "label": named["label"] if named["label"] in table.columns else None}
    others = set(filter(None, own.values()))
    if own["label"] is None:
        left = [name for name in table.columns if name not in others]
        own["label"] = label_column(table, others) or (left[0] if len(left) == 1 else None)
    if own["label"] is None:
        raise DataError(
            f'"{file}" has no column that looks like labels; name it with --label-column. Its columns are '
            f"{', '.join(map(repr, table.columns[:20]))}."
        )
    return own


def _stamps(table: Any, name: str) -> Stamps:
    """The times of a column: dates, or else numbers, which are text in a CSV file."""
    import polars as pl

    try:
        return read_stamps(table, [name])
    except DataError:
        numbers = table[name].cast(pl.Float64, strict=False)
        if numbers.null_count():
            raise
        return read_stamps(numbers.to_frame(), [name])


def _texts(table: Any, name: str, file: Path, what: str) -> list[str]:
    """The entries of a column, all of which have to be there."""
    import polars as pl

    texts = [text.strip() for text in table[name].cast(pl.String).fill_null("").to_list()]
    missing = [row for row, text in enumerate(texts, 1) if text in MISSING]
    if missing:
        many = f"{len(missing):,} rows have no {what}; the first is" if len(missing) > 1 else f"There is no {what} in"
        raise DataError(f'{many} row {missing[0]:,} of "{file}" (column {name!r}). Fill it in, or remove the row.')
    return [text.replace("\\", "/") for text in texts] if what == "path" else texts


def _base(file: Path, paths: Sequence[str], notes: list[str]) -> Path:
    """The folder that the paths are relative to: that of the table, or the one inside it in which the first one is."""
    folder = file.parent
    if (folder / paths[0]).exists():
        return folder
    with os.scandir(folder) as entries:
        inside = sorted(entry.name for entry in entries if entry.is_dir() and Path(entry.path, paths[0]).is_file())
    if not inside:
        return folder
    notes.append(f'The paths in "{file.name}" are taken as relative to the folder "{inside[0]}" beside it.')
    return folder / inside[0]
