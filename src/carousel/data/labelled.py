"""Sequences with a label each, from tables, from files or folders that are a class each, and from lines.

Five layouts are known:

- `table`: CSV, TSV or Parquet with a column of sequences and a column of labels;
- `lines`: a label and a sequence on each line, with a tab or, where the label is a number or `__label__…`, a blank
  between them;
- `parallel`: a file of sequences and, beside it, one of as many labels;
- `files`: a file for each class, with a sequence on each line; the class is the file's name, or its suffix;
- `folders`: a folder for each class, with a sequence in each file.

Files, folders and columns that speak of train, dev and test say which part a sequence belongs to.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import CarouselError, DataError
from .splits import in_name, split_of, without_split
from .tables import MISSING, TABLE_SUFFIXES, column, label_column, read_table, split_column, text_column
from .text_files import STDLIB, PathLike, common_name, digest_of, find_files, head_of, read_whole

__all__ = ["LabelledSequences", "layout_of", "read_labelled", "read_unlabelled"]

Files = list[tuple[Path, Path | None]]

MOST_FILES = 100
"""Files that are opened to see what they are."""

NUMBERED = re.compile(r"(__label__\S+|[+-]?\d{1,3})[ \t]+(\S.*)")
NO_CLASS = {*TABLE_SUFFIXES, *".py .c .h .cpp .js .ts .java .go .rs .html .css .sh .json .yaml .toml .xml".split()}
"""Suffixes of what is no list of sequences."""


@dataclass
class LabelledSequences:
    """What was read.

    Attributes:
        name: of the files.
        layout: see the top of this module.
        where: where the sequences and labels stand, in words.
        texts: the sequences.
        labels: the label of each.
        splits: train, dev or test for each, None where nothing says so.
        files: all that were read.
        digest: hash of their content.
        columns: of a table, what was found: text_column, label_column, split_column.
        notes: sentences that the user should read.
    """

    name: str
    layout: str
    where: str
    texts: list[str]
    labels: list[str]
    splits: list[str | None]
    files: list[Path]
    digest: str
    columns: dict[str, str | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def layout_of(sources: Sequence[PathLike]) -> str | None:
    """The layout that the files of these sources plainly have; None if they may be anything else."""
    if STDLIB in map(str, sources):
        return None
    try:
        files = find_files(sources)
    except CarouselError:
        return None
    return next((name for name, looks in _LOOKS.items() if files and looks(files)), None)


def read_labelled(
    sources: Sequence[PathLike],
    *,
    encoding: str = "utf-8",
    text: str | None = None,
    label: str | None = None,
    split: str | None = None,
) -> LabelledSequences:
    """Read them all.

    Args:
        sources: files, folders, patterns.
        encoding: of the files.
        text: column of the sequences in a table; found if not given.
        label: column of the labels in a table; found if not given.
        split: column that says train, dev or test; found if not given.

    Raises:
        UsageError: there is nothing of a name.
        DataError: no sequences with labels can be found, a column or a label is missing, or there is one class only.
    """
    files = find_files(sources)
    layout = layout_of(sources) or _forced(files)
    read = _Read()
    columns: dict[str, str | None] = {}
    if layout == "table":
        columns = _read_tables(files, read, encoding, text, label, split)
    else:
        _READERS[layout](files, read, encoding)
    paths = [path for path, _ in files]
    notes = _without_empty(read)
    _check_labels(read, columns.get("label_column"))
    where = _where(layout, paths, columns)
    name = common_name(sources, paths)
    return LabelledSequences(
        name, layout, where, read.texts, read.labels, read.splits, paths, digest_of(paths), columns, notes
    )


def read_unlabelled(
    path: Path, encoding: str, text: str | None, label: str | None, *, must: bool = False
) -> tuple[list[str], list[str] | None]:
    """The sequences of a file to predict for, and their labels where they stand beside.

    Args:
        path: a table, a file with a label beside each sequence, or one with a sequence on each line.
        encoding: of the file.
        text: column of the sequences in a table.
        label: column of the labels in a table.
        must: the column of the labels has to be there.

    Raises:
        DataError: it can't be read, or a column is missing.
    """
    if path.suffix.lower() in TABLE_SUFFIXES:
        import polars as pl

        table = read_table(path, encoding)
        name = text_column(table) if text is None else column(table, text, path, "--text-column")
        if name is None:
            raise DataError(f'"{path}" has no column that looks like sequences; name it with --text-column.')
        if must and label is not None:
            column(table, label, path, "--label-column")
        texts = table[name].cast(pl.String).fill_null("").to_list()
        labels = table[label].cast(pl.String).fill_null("").to_list() if label in table.columns else None
        return texts, labels
    lines = _lines(read_whole(path, encoding))
    if not lines:
        raise DataError(f'"{path}" is empty: there is no sequence in it.')
    pairs = _pairs(lines) if _are_lines([(path, None)]) else None
    if pairs is None:
        return [line.strip() for line in lines], None
    return [text.strip() for _, text in pairs], [label.strip() for label, _ in pairs]


@dataclass
class _Read:
    """Rows as they are gathered."""

    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)
    places: list[tuple[Path, int]] = field(default_factory=list)
    """File and line or row, from 1."""

    def add(self, text: str, label: str, split: str | None, path: Path, line: int) -> None:
        self.texts.append(text)
        self.labels.append(label)
        self.splits.append(split)
        self.places.append((path, line))


# -- what it looks like -----------------------------------------------------------------------------------------------


def _are_tables(files: Files) -> bool:
    """All are tables, and in the first a column of sequences and one of labels are found."""
    if any(path.suffix.lower() not in TABLE_SUFFIXES for path, _ in files):
        return False
    try:
        table = read_table(files[0][0], rows=5000)
    except DataError:
        try:  # whatever its encoding is: in this one every byte is a character
            table = read_table(files[0][0], "latin-1", rows=5000)
        except DataError:
            return False
    label = label_column(table)
    return label is not None and text_column(table, {label}) is not None


def _are_lines(files: Files) -> bool:
    """Every line is a label and a sequence."""
    seen: Counter[str] = Counter()
    for path, _ in files[:MOST_FILES]:
        lines = _lines(head_of(path) or "")
        pairs = _pairs(lines)
        if pairs is None or not lines:
            return False
        seen.update(label for label, _ in pairs)
    return 2 <= len(seen) <= seen.total() / 3


def _are_parallel(files: Files) -> bool:
    """Two files, one of which is named for labels."""
    return len(files) == 2 and len(_label_files(files)) == 1


def _are_class_files(files: Files) -> bool:
    """Files with a name of their own and short lines that differ, none of them empty or indented: no prose, no code."""
    classes = _classes_of_files(files)
    if len(set(classes.values())) < 2 or any(path.suffix.lower() in NO_CLASS for path, _ in files):
        return False
    if len({re.sub(r"\d+", "", name) for name in classes.values()}) < 2:  # chapter-1, chapter-2
        return False
    lines: list[str] = []
    for path, _ in files[:MOST_FILES]:
        own = (head_of(path) or "").rstrip("\n").split("\n")
        odd = sum(not line.strip() or line.startswith(("\t", "  ")) or not re.search(r"[^\W\d_]", line) for line in own)
        if len(own) < 2 or odd > 0.02 * len(own):
            return False
        lines += own
    return len(lines) >= 20 and len(set(lines)) > len(lines) / 3 and statistics.median(map(len, lines)) <= 200


def _are_class_folders(files: Files) -> bool:
    """Folders with nothing but short text files of one suffix."""
    places = _classes_of_folders(files)
    if places is None or any(path.suffix.lower() in NO_CLASS for path, _ in files):
        return False
    sizes = [path.stat().st_size for path, _ in files]
    counts = Counter(label for label, _ in places)
    alike = len({path.suffix for path, _ in files}) == 1
    texts = all(head_of(path) is not None for path, _ in files[:: max(1, len(files) // MOST_FILES)])
    return len(counts) >= 2 and min(counts.values()) >= 2 and alike and statistics.median(sizes) <= 10_000 and texts


_LOOKS: dict[str, Callable[[Files], bool]] = {
    "table": _are_tables,
    "lines": _are_lines,
    "parallel": _are_parallel,
    "folders": _are_class_folders,
    "files": _are_class_files,
}


def _forced(files: Files) -> str:
    """The layout of files that look like nothing in particular, but are labelled sequences as the user says."""
    if all(path.suffix.lower() in TABLE_SUFFIXES for path, _ in files):
        return "table"
    if _are_parallel(files):
        return "parallel"
    if _classes_of_folders(files) is not None:
        return "folders"
    if all(_pairs(_lines(head_of(path) or "")) for path, _ in files):
        return "lines"
    if len(set(_classes_of_files(files).values())) > 1:
        return "files"
    raise DataError(
        f'No labels were found in "{files[0][0]}". Give a table with a column of labels (--label-column), a label and '
        "a tab before each line, or a file or folder for each class."
    )


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def _pairs(lines: Sequence[str]) -> list[tuple[str, str]] | None:
    """Label and sequence of each line; None where a line is something else."""
    cells = [line.rstrip("\r").split("\t") for line in lines]
    if cells and all(len(row) == 2 for row in cells):
        first, second = (len({row[place] for row in cells}) for place in (0, 1))
        return [(row[0], row[1]) if first <= second else (row[1], row[0]) for row in cells]
    found = [NUMBERED.fullmatch(line.strip()) for line in lines]
    return [(match[1].removeprefix("__label__"), match[2]) for match in found if match] if all(found) else None


def _label_files(files: Files) -> list[Path]:
    return [path for path, _ in files if re.search(r"label|class|target", path.stem, re.IGNORECASE)]


def _classes_of_files(files: Files) -> dict[Path, str]:
    """The class that each file stands for: its name, or its suffix where the names are equal."""
    stems = {path: without_split(path.stem) for path, _ in files}
    if len(set(stems.values())) == 1 and len(files) > 1:
        return {path: without_split(path.suffix.lstrip(".")) or path.name for path, _ in files}
    return stems


def _classes_of_folders(files: Files) -> list[tuple[str, str | None]] | None:
    """Class and part of each file of a folder of folders; None where it is arranged in another way."""
    found = []
    for path, root in files:
        parts = () if root is None else path.relative_to(root).parts[:-1]
        split = split_of(parts[0]) if len(parts) == 2 else None
        if not parts or len(parts) != (1 if split is None else 2):
            return None
        found.append((parts[-1], split))
    return found


# -- reading ----------------------------------------------------------------------------------------------------------


def _read_tables(
    files: Files, read: _Read, encoding: str, text: str | None, label: str | None, split: str | None
) -> dict[str, str | None]:
    for path, _ in files:
        table = read_table(path, encoding)
        if label is not None:
            label = column(table, label, path, "--label-column")
        if text is not None:
            text = column(table, text, path, "--text-column")
        part = split_column(table, split, path)
        label = label or label_column(table, {text, part} - {None})  # pyright: ignore[reportArgumentType]
        text = text or text_column(table, {label, part} - {None})  # pyright: ignore[reportArgumentType]
        for found, what in ((label, "label"), (text, "text")):
            if found is None:
                raise DataError(
                    f'"{path}" has no column that looks like {"labels" if what == "label" else "sequences"}; name it '
                    f"with --{what}-column. Its columns are {', '.join(map(repr, table.columns[:20]))}."
                )
        assert text is not None
        assert label is not None
        import polars as pl

        chosen = table.select(pl.col(text).cast(pl.String), pl.col(label).cast(pl.String).alias("\0label"))
        read.texts += chosen[text].fill_null("").to_list()
        read.labels += chosen["\0label"].fill_null("").to_list()
        of_file = in_name(path.name)
        named = None if part is None else [split_of(str(value)) for value in table[part].to_list()]
        read.splits += [of_file] * table.height if named is None else named
        read.places += [(path, row) for row in range(1, table.height + 1)]
        split = split or part
    return {"text_column": text, "label_column": label, "split_column": split}


def _read_lines(files: Files, read: _Read, encoding: str) -> None:
    for path, _ in files:
        lines = read_whole(path, encoding).split("\n")
        numbers = [number for number, line in enumerate(lines, 1) if line.strip()]
        pairs = _pairs([lines[number - 1] for number in numbers])
        if pairs is None:
            wrong = next((n for n in numbers if _pairs([lines[n - 1]]) is None), numbers[0])
            raise DataError(
                f'"{path}", line {wrong}: {lines[wrong - 1][:60]!r} is not a label and a sequence; there must be '
                "one tab between them, or a number and a blank."
            )
        for number, (label, text) in zip(numbers, pairs, strict=True):
            read.add(text.strip(), label.strip(), in_name(path.name), path, number)


def _read_parallel(files: Files, read: _Read, encoding: str) -> None:
    (labels_in,) = _label_files(files)
    (texts_in,) = (path for path, _ in files if path != labels_in)
    texts, labels = (read_whole(path, encoding).removesuffix("\n").split("\n") for path in (texts_in, labels_in))
    if len(texts) != len(labels):
        raise DataError(
            f'"{texts_in}" has {len(texts):,} lines and "{labels_in}" {len(labels):,}; there must be a label for each '
            "sequence, on the same line."
        )
    for number, (text, label) in enumerate(zip(texts, labels, strict=True), 1):
        read.add(text.strip(), label.strip(), None, labels_in, number)


def _read_class_files(files: Files, read: _Read, encoding: str) -> None:
    for path, label in _classes_of_files(files).items():
        for number, line in enumerate(read_whole(path, encoding).removesuffix("\n").split("\n"), 1):
            read.add(line.strip(), label, in_name(path.name), path, number)


def _read_class_folders(files: Files, read: _Read, encoding: str) -> None:
    for (path, _), (label, split) in zip(files, _classes_of_folders(files) or (), strict=True):
        read.add(read_whole(path, encoding).strip(), label, split, path, 1)


_READERS: dict[str, Callable[[Files, _Read, str], None]] = {
    "lines": _read_lines,
    "parallel": _read_parallel,
    "files": _read_class_files,
    "folders": _read_class_folders,
}


# -- what is wrong with it --------------------------------------------------------------------------------------------


def _without_empty(read: _Read) -> list[str]:
    """Leave out empty sequences; returns a sentence about them."""
    empty = [place for place, text in enumerate(read.texts) if not text.strip()]
    if len(empty) == len(read.texts):
        path = read.places[0][0]
        raise DataError(f'"{path}" is empty: there is no sequence in it. Give a file with sequences and labels.')
    if not empty:
        return []
    path, line = read.places[empty[0]]
    gone = set(empty)
    for name in ("texts", "labels", "splits", "places"):
        values = getattr(read, name)
        setattr(read, name, [value for place, value in enumerate(values) if place not in gone])
    one = len(empty) == 1
    return [
        f"{len(empty):,} empty sequence{' was' if one else 's were'} left out, {'that' if one else 'the first'} of "
        f'"{path}", {_line_of(path, line)}.'
    ]


def _line_of(path: Path, number: int) -> str:
    return f"{'row' if path.suffix.lower() in TABLE_SUFFIXES else 'line'} {number:,}"


def _check_labels(read: _Read, named: str | None) -> None:
    unlabelled = [place for place, label in enumerate(read.labels) if label in MISSING]
    if unlabelled:
        path, line = read.places[unlabelled[0]]
        number = len(unlabelled)
        what = f"{number:,} sequences have no label; the first" if number > 1 else "One sequence has no label"
        raise DataError(
            f'{what}: "{path}", {_line_of(path, line)}. Give {"each" if number > 1 else "it"} a label, or leave '
            f"{'them' if number > 1 else 'it'} out of the file."
        )
    classes = len(set(read.labels))
    if classes == 1:
        raise DataError(
            f"All {len(read.labels):,} sequences have the label {read.labels[0]!r}: there is nothing to tell apart. "
            "Give at least two classes, or name another column with --label-column."
        )
    if classes > 2 and classes > len(read.labels) / 1.5:
        column_of = f" of the column {named!r}" if named else ""
        raise DataError(
            f"The labels{column_of} are {classes:,} different ones for {len(read.labels):,} sequences; a class needs "
            "several sequences. Name the column of the labels with --label-column."
        )


def _where(layout: str, paths: Sequence[Path], columns: dict[str, str | None]) -> str:
    name = paths[0].name if len(paths) == 1 else f"{len(paths):,} files"
    if layout == "table":
        where = f"{name}, text in column {columns['text_column']!r}, label in {columns['label_column']!r}"
        return where if columns["split_column"] is None else f"{where}, parts in {columns['split_column']!r}"
    return {
        "lines": f"lines of {name}, the label beside each",
        "parallel": f"lines of {paths[0].name} and {paths[-1].name}",
        "files": f"lines of {name}, a file for each class",
        "folders": f"{name}, a folder for each class",
    }[layout]
