"""Tables of examples: a row for each, one column of which is to be predicted from the others.

Everything that is found is said: which column is the target and why, what is missing, what is left out, and what makes
results look better than they are. Nothing is scaled here; see `row_encoding.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..errors import CarouselError, DataError, UsageError
from .columns import Column, Look, look
from .leakage import copies, imbalance, repeated, telling
from .number_tables import column_named, find_tables, sniff
from .splits import in_name, split_of
from .tables import TABLE_SUFFIXES, read_table, split_column
from .text_files import PathLike, common_name, digest_of, find_files

__all__ = ["Problem", "Rows", "looks_like_rows", "read_rows"]

Problem = Literal["classify", "regress"]

TARGETS: Sequence[str] = (
    "target label labels class classes y outcome output response result species diagnosis survived churn"
).split()
"""Names of a column that is the target if none is named, the surest first."""
MOST_CLASSES = 20
"""Different whole numbers up to which they are classes, if each comes five times."""
MOST_NAMES = 1000
"""Different words that a target may have."""
FEW_ROWS = 30


@dataclass(frozen=True, eq=False)
class Rows:
    """A table as it was read.

    Attributes:
        name: of the files, short.
        where: what it is, in words.
        frame: the inputs and the target: numbers as Float64, categories as String, dates as Datetime, null where
            nothing is known. The target is String if classes are to be named, else Float64, and known in every row.
        target: the column to be predicted.
        problem: whether that is a class or a number.
        why: both in a sentence.
        columns: how the inputs and then the target are read.
        splits: train, dev or test for each row, None where nothing says so.
        groups: of each row, if a column of groups was named.
        times: of each row, datetime64 or float, if a time column was named.
        files: all that were read.
        digest: hash of their content.
        notes: sentences that the user should read.
        at: (rows, 2) the file of each row and its number there, from 1.
        header: whether the files name their columns.
    """

    name: str
    where: str
    frame: pl.DataFrame
    target: str
    problem: Problem
    why: str
    columns: tuple[Column, ...]
    splits: list[str | None]
    groups: list[str] | None
    times: NDArray[Any] | None
    files: list[Path]
    digest: str
    notes: list[str]
    at: NDArray[np.int64]
    header: bool = True

    def __len__(self) -> int:
        return self.frame.height

    @property
    def inputs(self) -> list[str]:
        """Names of the columns to predict from."""
        return [column.name for column in self.columns[:-1]]

    @cached_property
    def labels(self) -> NDArray[Any]:
        """(rows,) the target: class names, or float64."""
        values = self.frame[self.target]
        return np.array(values.to_list()) if self.problem == "classify" else values.to_numpy().astype(np.float64)

    @cached_property
    def equal(self) -> NDArray[np.int64]:
        """(rows,) the same number for rows whose inputs are the same, which must not lie on both sides of a split.

        Where most rows repeat another, as in a table of few categories, repeating is no copying: all are different.
        """
        same = self.frame.select(self.inputs).hash_rows(0).rank("dense").to_numpy().astype(np.int64) - 1
        return np.arange(len(self)) if same.max(initial=0) + 1 < len(self) / 2 else same

    def place(self, row: int) -> str:
        """Where a row stands, for a person: `wine.csv, row 17`."""
        file, number = self.at[row].tolist()
        return f"{self.files[file].name}, row {number:,}"


def looks_like_rows(sources: Sequence[PathLike]) -> str | None:
    """Why these are tables of examples, by a look at their first rows; None if they are none.

    Almost every table is one: series, labelled texts and lists of images are asked for before.
    """
    try:
        files = [file for file, _ in find_files(sources)]
        if not files or any(file.suffix.lower() not in TABLE_SUFFIXES for file in files):
            return None
        try:
            head = read_table(files[0], rows=1000)
        except DataError:  # whatever its encoding is: in this one every byte is a character
            head = read_table(files[0], "latin-1", rows=1000)
    except (CarouselError, OSError):
        return None
    if head.width < 2:
        return None
    return f"a table of examples with {head.width} columns"


def read_rows(
    sources: Sequence[PathLike],
    *,
    target: str | None = None,
    problem: Problem | None = None,
    drop: tuple[str, ...] = (),
    categories: tuple[str, ...] = (),
    split_column: str | None = None,
    group_column: str | None = None,
    time_column: str | None = None,
    encoding: str = "utf-8",
) -> Rows:
    """Read tables of examples.

    Args:
        sources: files, folders, patterns: one table, or several with the same columns.
        target: the column to predict; by default one that is called so, else the last that can be one.
        problem: whether to name classes or to predict a number; inferred if not given.
        drop: columns to leave out.
        categories: columns that hold categories even if they look like numbers or free text.
        split_column: says train, dev or test; found if not given.
        group_column: rows of the same group belong on the same side of a split; no input.
        time_column: when a row was seen; no input.
        encoding: of text files.

    Raises:
        UsageError: no such file or column, or a column with two roles.
        DataError: there is no honest way to read the table as asked; the message says which row or column.

    Example:
        >>> rows = read_rows(["wine.csv"], target="quality")  # doctest: +SKIP
        >>> rows.problem, rows.why  # doctest: +SKIP
        ('classify', "'quality' has 7 different whole numbers: classes (--problem regress otherwise)")
    """
    table = _gathered(sources, encoding)
    options = {"--target": target, "--split-column": split_column, "--group-column": group_column}
    _check_names({**options, "--time-column": time_column}, drop, categories, table.frame.columns)
    table.frame = table.frame.drop(drop)
    part = _split_column(table, split_column)
    aside = [name for name in (part, group_column, time_column) if name is not None]
    looks = _Looks(table, categories)
    target, how = _target(table, looks, target, [n for n in table.frame.columns if n not in aside])
    goal = looks.target(target, problem)
    known = goal.is_not_null()
    if not known.all():
        lost = int((~known).sum())
        if lost == len(known):
            raise DataError(f"The target {target!r} is missing in all rows; name another column with --target.")
        row = table.place(int((~known).arg_true()[0]))
        table.notes.append(f"{lost:,} rows without a value of the target {target!r} are left out, the first {row}.")
        table.keep(known)
        looks = _Looks(table, categories)
        goal = looks.target(target, problem)
    problem, goal, why = _problem(table, target, goal, problem)
    splits = [split_of(str(v)) for v in table.frame[part]] if part is not None else table.parts()
    groups = None if group_column is None else _groups(table, group_column)
    times = None if time_column is None else _times(table, time_column)
    columns, values = _inputs(table, looks, goal, [n for n in table.frame.columns if n not in (*aside, target)])
    frame = pl.DataFrame([*values, goal])
    notes = [*table.notes, *looks.notes(columns)]
    about = looks.found[target].column or Column(target, "category")
    if problem == "classify":
        about = Column(target, "category")
        notes += imbalance(goal, target)
    if len(frame) < FEW_ROWS:
        notes.append(f"There are {len(frame)} rows only: what is learned from so few hardly holds for others.")
    notes += telling(frame, target)
    notes += repeated(frame.select(column.name for column in columns), splits, table.place)
    return Rows(
        common_name(sources, table.files), _where(table, columns), frame, target, problem, f"{how}; {why}",
        (*columns, about), splits, groups, times, table.files, digest_of(table.files), notes, table.at, table.header,
    )  # fmt: skip


# -- files ------------------------------------------------------------------------------------------------------------


@dataclass
class _Table:
    """All files below one another."""

    files: list[Path]
    frame: pl.DataFrame
    at: NDArray[np.int64]
    decimal_comma: bool
    typed: bool
    header: bool
    notes: list[str] = field(default_factory=list)

    def place(self, row: int) -> str:
        file, number = self.at[row].tolist()
        return f'"{self.files[file]}", row {number:,}'

    def keep(self, rows: pl.Series) -> None:
        self.frame, self.at = self.frame.filter(rows), self.at[rows.to_numpy()]

    def parts(self) -> list[str | None]:
        """What the names of the files say."""
        named = [in_name(file.name) for file in self.files]
        return [named[file] for file in self.at[:, 0].tolist()]


def _gathered(sources: Sequence[PathLike], encoding: str) -> _Table:
    files = find_tables(sources)
    frames = [read_table(file, encoding) for file in files]
    first = frames[0]
    for file, frame in zip(files[1:], frames[1:], strict=True):
        different = set(first.columns) ^ set(frame.columns)
        if different:
            raise DataError(
                f'"{file}" does not have the columns of "{files[0]}": {_listed(sorted(different))} '
                f"{'is' if len(different) == 1 else 'are'} in one of them only. Give tables with the same columns."
            )
    heights = [frame.height for frame in frames]
    at = np.stack([np.repeat(np.arange(len(files)), heights), np.concatenate([np.arange(n) + 1 for n in heights])], 1)
    whole = pl.concat([frame.select(first.columns) for frame in frames], how="vertical_relaxed")
    text = [file.suffix.lower() not in (".parquet", ".pq") for file in files]
    comma = any(sniff(file, encoding).decimal_comma for file, is_text in zip(files, text, strict=True) if is_text)
    headless = first.columns == [str(number) for number in range(1, first.width + 1)] and text[0]
    table = _Table(files, whole, at, comma, not all(text), not headless)
    if headless:
        table.notes.append("The first line looks like the others: the columns are called 1, 2, … by their places.")
    twice = [name for name in first.columns if re.search(r" \(\d+\)$", name) and name[: name.rindex(" (")] in first]
    if twice:
        table.notes.append(f"Several columns have the same name; the later ones are called {_listed(twice)}.")
    blank = whole.select(pl.all_horizontal(pl.all().is_null()).alias("blank"))["blank"]
    if blank.any():
        table.notes.append(f"{int(blank.sum()):,} empty rows are left out.")
        table.keep(~blank)
    if table.frame.height < 2:
        raise DataError(
            f'"{files[0]}" has {"one row" if table.frame.height else "no rows with anything in them"}; to learn takes '
            "many, and to be tested some more."
        )
    return table


def _check_names(
    roles: dict[str, str | None], drop: Sequence[str], categories: Sequence[str], columns: Sequence[str]
) -> None:
    """Check what the user named.

    Raises:
        UsageError: there is no such column, or it has two roles.
    """
    taken: dict[str, str] = {}
    for option, name in (*roles.items(), *(("--drop", name) for name in drop)):
        if name is None:
            continue
        column_named(name, columns, option)
        if name in taken and taken[name] != option:
            raise UsageError(f"The column {name!r} is named in {taken[name]} and in {option}; it can have one role.")
        taken[name] = option
    for name in categories:
        column_named(name, columns, "--categories")


def _split_column(table: _Table, named: str | None) -> str | None:
    return split_column(table.frame, named, table.files[0])


def _groups(table: _Table, name: str) -> list[str]:
    values = table.frame[name].cast(pl.String)
    if values.null_count():
        row = table.place(int(values.is_null().arg_true()[0]))
        raise DataError(f"{row}: the group in {name!r} is missing; every row belongs to one (--group-column).")
    return values.to_list()


def _times(table: _Table, name: str) -> NDArray[Any]:
    found = look(table.frame[name], table.place, decimal_comma=table.decimal_comma, target=True)
    if found.column is None or found.column.kind == "category":
        raise DataError(f"The column {name!r} holds neither dates nor numbers; --time-column takes one that does.")
    if found.values.null_count():
        row = table.place(int(found.values.is_null().arg_true()[0]))
        raise DataError(f"{row}: the time in {name!r} is missing; every row needs one (--time-column).")
    table.notes += found.notes
    return found.values.to_numpy()


# -- columns ----------------------------------------------------------------------------------------------------------


@dataclass
class _Looks:
    """What the columns are, each looked at once."""

    table: _Table
    categories: Collection[str]
    found: dict[str, Look] = field(default_factory=dict)

    def at(self, name: str, *, target: bool = False) -> Look:
        """What this column is."""
        if name not in self.found:
            self.found[name] = look(
                self.table.frame[name],
                self.table.place,
                decimal_comma=self.table.decimal_comma,
                typed=self.table.typed and not target,
                category=name in self.categories,
                target=target,
            )
        return self.found[name]

    def target(self, name: str, problem: Problem | None) -> pl.Series:
        """The values of a column as a target."""
        self.found.pop(name, None)
        try:
            found = self.at(name, target=True)
        except DataError:
            if problem != "classify":
                raise
            self.categories = {*self.categories, name}  # words among numbers are no mistake in names of classes
            found = self.at(name, target=True)
        if found.column is None:
            raise DataError(f"The target {name!r} is {found.why}; name another column with --target.")
        if found.column.kind == "date":
            raise DataError(f"The target {name!r} holds dates, which can't be predicted; name another with --target.")
        return found.values

    def notes(self, used: Sequence[Column]) -> list[str]:
        """What is missing and what is left out."""
        notes = [note for found in self.found.values() if found.column is not None for note in found.notes]
        marks: dict[str, Counter[str]] = {}
        for name, found in self.found.items():
            for mark, times in found.marks.items():
                if mark:
                    marks.setdefault(mark, Counter())[name] = times
        for mark, places in marks.items():
            some = _listed([f"{name!r} ({times:,})" for name, times in places.most_common()])
            notes.append(f"{mark!r} is taken for a missing value: {some}.")
        rows = self.table.frame.height
        lost = {column.name: self.found[column.name].values.null_count() / rows for column in used}
        if any(lost.values()):
            some = [f"{name!r} ({_percent(part)})" for name, part in sorted(lost.items(), key=lambda x: -x[1]) if part]
            notes.append(f"Missing values, of which the network is told: {_listed(some)}.")
        kept = {column.name for column in used}
        left = [f"{name!r} ({found.why})" for name, found in self.found.items() if found.why and name not in kept]
        if left:
            notes.append(f"Left out: {_listed(left)}.")
        return notes


def _target(table: _Table, looks: _Looks, named: str | None, columns: Sequence[str]) -> tuple[str, str]:
    """The column to predict, and why it is that one."""
    if len(columns) < 2:
        raise DataError(
            f'"{table.files[0]}" has {len(columns)} column{"s" * (len(columns) != 1)} beside those with a role of '
            "their own; it takes a target and something to predict it from."
        )
    if named is not None:
        return named, f"the target is {named!r}"
    lower = {name.strip().lower(): name for name in reversed(columns)}
    for name in TARGETS:
        if name in lower:
            return lower[name], f"the target is {lower[name]!r}, by its name (--target says otherwise)"
    for name in reversed(columns):
        try:
            found = looks.at(name)
        except DataError:  # which is said again, as of a target
            found = Look(Column(name, "number"))
        if found.column is not None and not found.why and found.column.kind != "date":
            place = "the last column" if name == columns[-1] else "the last column that can be predicted"
            return name, f"the target is {name!r}, {place} (--target says otherwise)"
    raise DataError(
        f'"{table.files[0]}" has no column that can be predicted: '
        f"{_listed([f'{name} ({looks.at(name).why})' for name in columns])}. Name one with --target."
    )


def _problem(table: _Table, name: str, values: pl.Series, problem: Problem | None) -> tuple[Problem, pl.Series, str]:
    """Whether the target is a class or a number, its values as such, and why.

    Raises:
        DataError: there is nothing to learn from it.
    """
    different, rows = values.n_unique(), len(values)
    if different < 2:
        where = f"in all {rows:,} rows" if rows > 1 else "in the only row that has one"
        raise DataError(
            f"The target {name!r} is {values[0]!r} {where}: there is nothing to learn. Name another with --target."
        )
    if values.dtype == pl.String:
        if problem == "regress":
            row = int(values.cast(pl.Float64, strict=False).is_null().arg_max() or 0)
            raise DataError(
                f"{table.place(row)}: {values[row]!r} in the target {name!r} is no number, so there is nothing to "
                "regress; say --problem classify, or name another with --target."
            )
        if different > MOST_NAMES or (different > 2 and different > rows / 2):
            raise DataError(
                f"The target {name!r} has {different:,} different values in {rows:,} rows: too many to be classes that "
                "can be learned. Name another with --target."
            )
        merged = _merged(table, values)
        return "classify", merged, f"it has {merged.n_unique():,} different values: classes"
    whole = bool(((values == values.round()) & (values.abs() < 2**53)).all())
    few = different <= 2 or (whole and different <= min(MOST_CLASSES, rows / 5))
    chosen = problem or ("classify" if few else "regress")
    if chosen == "regress":
        what = f"{different:,} different {'whole ' if whole else ''}numbers"
        said = "" if problem else f": a number to predict{' (--problem classify otherwise)' if whole else ''}"
        return "regress", values, f"it has {what}{said}"
    if different > MOST_NAMES or (different > 2 and different > rows / 2):
        raise DataError(
            f"The target {name!r} has {different:,} different numbers in {rows:,} rows, too many for classes; say "
            "--problem regress, or name another with --target."
        )
    said = "" if problem else ": classes (--problem regress otherwise)"
    kinds = f"{different} different {'whole ' if whole else ''}numbers"
    text = values.cast(pl.Int64).cast(pl.String) if whole else values.cast(pl.String)
    return "classify", text, f"it has {kinds}{said}"


def _merged(table: _Table, values: pl.Series) -> pl.Series:
    """Classes that one file writes with a full stop and another without are the same, as `>50K` and `>50K.`."""
    if len(table.files) == 1:
        return values
    stop = values.str.ends_with(".")
    plain = values.str.strip_chars_end(".")
    ends, others = (set(table.at[rows.to_numpy(), 0].tolist()) for rows in (stop, ~stop))
    if not ends or ends & others or not set(plain.filter(stop)) <= set(plain.filter(~stop)):
        return values
    files = _listed([table.files[file].name for file in sorted(ends)])
    table.notes.append(f"The full stop behind each class in {files} is taken off, as the other files have none.")
    return plain


def _inputs(
    table: _Table, looks: _Looks, goal: pl.Series, names: Sequence[str]
) -> tuple[list[Column], list[pl.Series]]:
    """The columns to predict from, and their values."""
    for name in names:
        looks.at(name)
        if copies(looks.at(name).values, goal):
            looks.found[name] = Look(why=f"a copy of the target {goal.name!r}")
    used = [name for name in names if not looks.at(name).why]
    if not used:  # numbers that run are better than nothing
        used = [name for name in names if looks.at(name).column is not None]
        for name in used:
            looks.at(name).why = ""
    if not used:
        raise DataError(
            f'"{table.files[0]}" has nothing to predict {goal.name!r} from: '
            f"{_listed([f'{name} ({looks.at(name).why})' for name in names])}."
        )
    found = [looks.at(name) for name in used]
    return [one.column for one in found if one.column is not None], [one.values for one in found]


def _where(table: _Table, columns: Sequence[Column]) -> str:
    kinds = Counter(column.kind for column in columns)
    words = {"number": ("number", "numbers"), "category": ("category", "categories"), "date": ("date", "dates")}
    some = [f"{kinds[kind]} {words[kind][kinds[kind] > 1]}" for kind in words if kinds[kind]]
    file = table.files[0].name if len(table.files) == 1 else f"{len(table.files):,} files"
    return f"{table.frame.height:,} rows of {file}, from {', '.join(some)}"


def _percent(part: float) -> str:
    return "below 0.1 %" if part < 1e-3 else f"{100 * part:.2g} %" if part < 0.995 else f"{100 * part:.4g} %"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12:,} more" if len(names) > 12 else "")
