"""Rows of a table as inputs and targets of a network, by what is learned on the training rows alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..errors import DataError
from .columns import Column
from .rows import Problem, Rows
from .tables import in_order, read_table

__all__ = ["CategoryInput", "Encoding", "Inputs", "NumberInput", "ToPredict", "read_rows_to_predict"]

SKEW = 2.0
"""Skewness above which the logarithm of a positive number is taken, if that halves it at least."""
RARE = 3
"""Training rows below which a category shares a slot with the others of its column that are rare."""
MOST = 1000
"""Slots of a column, at most."""
FAR = 10
"""Deviations from the mean of training beyond which hardly anything is of the same kind."""
PARTS = ("month", "weekday", "hour")
"""Of a date, as categories."""


@dataclass(frozen=True)
class NumberInput:
    """One number for the network: (t(x) - mean) / deviation, 0 where x is missing.

    Args:
        column: where it comes from.
        part: "year" of a date, otherwise empty.
        mean: of t(x) over the training rows.
        deviation: the same, above 0.
        log: t(x) is sign(x) log(1 + |x|), not x.
        flagged: a further input is 1 where x is missing, 0 elsewhere.
    """

    column: str
    part: str
    mean: float
    deviation: float
    log: bool
    flagged: bool

    @property
    def name(self) -> str:
        """For a person."""
        return f"{self.column}: {self.part}" if self.part else self.column


@dataclass(frozen=True)
class CategoryInput:
    """One slot out of several for the network: 0 for what is rare or was never seen, then one for each value.

    Args:
        column: where it comes from.
        part: month, weekday or hour of a date, otherwise empty.
        values: those of slots 1, 2, …; "" stands for a missing value.
    """

    column: str
    part: str
    values: tuple[str, ...]

    @property
    def name(self) -> str:
        """For a person."""
        return f"{self.column}: {self.part}" if self.part else self.column

    @property
    def slots(self) -> int:
        """How many."""
        return len(self.values) + 1


class Inputs(NamedTuple):
    """(rows, numbers) float32, (rows, categories) int64, and what is to be said."""

    numbers: NDArray[np.float32]
    categories: NDArray[np.int64]
    notes: list[str]


class ToPredict(NamedTuple):
    """Rows to predict for: inputs as in `Rows.frame`; the target of each, None or NaN where it is unknown; notes."""

    frame: pl.DataFrame
    truth: list[str | None] | NDArray[np.float64] | None
    notes: list[str]


@dataclass(frozen=True)
class Encoding:
    """How rows become inputs and targets.

    Attributes:
        columns: how the inputs and then the target are read.
        numbers: what becomes numbers; the flags of missing values stand behind all of them.
        categories: what becomes slots.
        problem: whether classes or a number are predicted.
        classes: names of the classes, of all rows; empty for a number.
        mean: of a target that is a number, over the training rows.
        deviation: the same, above 0.
        header: whether the files name their columns.
        notes: sentences that the user should read.
    """

    columns: tuple[Column, ...]
    numbers: tuple[NumberInput, ...]
    categories: tuple[CategoryInput, ...]
    problem: Problem
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    deviation: float = 1.0
    header: bool = True
    notes: list[str] = field(default_factory=list, compare=False)

    @classmethod
    def learn(cls, rows: Rows, train: NDArray[np.int64]) -> Encoding:
        """From the training rows.

        Args:
            rows: the table.
            train: (training rows,) their numbers.

        Raises:
            DataError: every input is the same in all training rows.
        """
        frame = rows.frame[np.sort(train)]
        numbers: list[NumberInput] = []
        categories: list[CategoryInput] = []
        rare: dict[str, int] = {}
        for column in rows.columns[:-1]:
            values = frame[column.name]
            if column.kind != "category":
                parts = {"": values} if column.kind == "number" else {"year": values.dt.year().cast(pl.Float64)}
                numbers += [found for part, some in parts.items() if (found := _number(column.name, part, some))]
            if column.kind != "number":
                parts = {"": values} if column.kind == "category" else _parts(values)
                categories += [
                    found for part, some in parts.items() if (found := _category(column.name, part, some, rare))
                ]
        notes = _notes(rows, numbers, categories, rare)
        if not numbers and not categories:
            raise DataError("Every column is the same in all training rows, so there is nothing to predict from.")
        if rows.problem == "classify":
            classes = tuple(sorted(rows.frame[rows.target].unique().to_list(), key=in_order))
            return cls(
                rows.columns, tuple(numbers), tuple(categories), "classify", classes, 0.0, 1.0, rows.header, notes
            )
        mean, deviation = _moments(frame[rows.target].to_numpy().astype(np.float64))
        return cls(rows.columns, tuple(numbers), tuple(categories), "regress", (), mean, deviation, rows.header, notes)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Encoding:
        """What `to_dict` described.

        Raises:
            DataError: it is no description of an encoding.
        """
        try:
            return cls(
                tuple(Column(**column) for column in data["columns"]),
                tuple(NumberInput(**number) for number in data["numbers"]),
                tuple(CategoryInput(c["column"], c["part"], tuple(c["values"])) for c in data["categories"]),
                data["problem"], tuple(data["classes"]), data["mean"], data["deviation"], data["header"],
                list(data["notes"]),
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise DataError(
                f"This is no encoding of a table ({error}). The file that it comes from is damaged."
            ) from None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)

    @property
    def target(self) -> str:
        """The column that is predicted."""
        return self.columns[-1].name

    @property
    def names(self) -> list[str]:
        """Of the inputs that are numbers, in their order."""
        flags = [f"{number.name} is missing" for number in self.numbers if number.flagged]
        return [*(number.name for number in self.numbers), *flags]

    @property
    def slots(self) -> tuple[int, ...]:
        """Slots of each category."""
        return tuple(category.slots for category in self.categories)

    def inputs(self, frame: pl.DataFrame) -> Inputs:
        """What the network sees of these rows.

        Args:
            frame: with the columns of `Rows.frame`; that of the target may be absent.

        Returns:
            numbers: (rows, `len(names)`).
            categories: (rows, `len(slots)`), each below its number of slots.
            notes: of values that training never saw.
        """
        notes: list[str] = []
        numbers = np.empty((frame.height, len(self.names)), np.float32)
        flag, far = len(self.numbers), []
        for place, number in enumerate(self.numbers):
            values = frame[number.column]
            x = (values.dt.year() if number.part else values).cast(pl.Float64).to_numpy().astype(np.float64)
            missing = np.isnan(x)
            numbers[:, place] = np.where(missing, 0.0, (_bent(x, number.log) - number.mean) / number.deviation)
            if 2 * np.count_nonzero(np.abs(numbers[:, place]) > FAR) > len(x):
                far.append(number.name)
            if number.flagged:
                numbers[:, flag] = missing
                flag += 1
            elif missing.any():
                notes.append(
                    f"{number.name!r} is missing in {int(missing.sum()):,} rows, but never was in training: its mean "
                    "stands there."
                )
        if far:
            notes.append(
                f"Most values of {_quoted(far)} are more than {FAR} deviations from the mean of training: are these "
                "the same columns, in the same units?"
            )
        categories = np.empty((frame.height, len(self.categories)), np.int64)
        for place, category in enumerate(self.categories):
            values = _of_part(frame[category.column], category.part).fill_null("")
            slots = {value: slot for slot, value in enumerate(category.values, 1)}
            found = values.replace_strict(slots, default=0, return_dtype=pl.Int64)
            categories[:, place] = found.to_numpy()
            notes += _unseen(category, values.filter(found == 0))
        return Inputs(numbers, categories, notes)

    def targets(self, frame: pl.DataFrame) -> NDArray[np.int64] | NDArray[np.float32]:
        """Numbers of the classes, (rows,); or the scaled target, (rows, 1).

        Raises:
            DataError: a class is none of these.
        """
        values = frame[self.target]
        if self.problem == "regress":
            return ((values.to_numpy().astype(np.float64) - self.mean) / self.deviation).astype(np.float32)[:, None]
        known = {name: number for number, name in enumerate(self.classes)}
        found = values.replace_strict(known, default=None, return_dtype=pl.Int64)
        if found.null_count():
            row = int(found.is_null().arg_true()[0])
            raise DataError(f"Row {row + 1:,} has the class {values[row]!r}, which is none of those trained on.")
        return found.to_numpy()

    def restored(self, outputs: NDArray[np.floating]) -> NDArray[np.float64]:
        """Predicted numbers in the units of the target, from what `targets` scales."""
        return np.asarray(outputs, np.float64) * self.deviation + self.mean


def read_rows_to_predict(path: Path, encoding: Encoding, text_encoding: str = "utf-8") -> ToPredict:
    """The rows of a file to predict for, all of them and in their order.

    Args:
        path: a table with the columns that were trained on; others are ignored.
        encoding: of the trained network.
        text_encoding: of a text file.

    Raises:
        DataError: it can't be read, a column is missing, or a cell is no number where one is needed.
    """
    table = read_table(path, text_encoding, header=encoding.header)
    target, inputs = encoding.columns[-1], encoding.columns[:-1]
    used = {number.column for number in (*encoding.numbers, *encoding.categories)}
    missing = [column.name for column in inputs if column.name in used and column.name not in table.columns]
    if missing:
        raise DataError(
            f'"{path}" lacks the column{"s" * (len(missing) > 1)} {_quoted(missing)}, which the network was trained '
            f"on; its columns are {_quoted(table.columns)}."
        )
    notes: list[str] = []
    more = [name for name in table.columns if name not in used and name != target.name]
    if more:
        notes.append(f"Not used: {_quoted(more)}.")

    def place(row: int) -> str:
        return f'"{path}", row {row + 1:,}'

    read = [column.read(table[column.name], place) for column in inputs if column.name in used]
    truth = None
    if target.name in table.columns:
        goal = target.read(table[target.name], place)
        if goal.null_count() < len(goal):
            named = encoding.problem == "classify"
            truth = _named(goal, encoding.classes) if named else goal.to_numpy().astype(np.float64)
    return ToPredict(pl.DataFrame(read), truth, notes)


def _named(goal: pl.Series, classes: Sequence[str]) -> list[str | None]:
    """The classes as they are called in training: 1 for 1.0, and without a full stop that they do not have there."""
    known: dict[str | None, str | None] = {None: None, **{name: name for name in classes}}
    for value in goal.drop_nulls().unique().to_list():
        others = (re.sub(r"\.0*$", "", value), value.rstrip("."))
        known.setdefault(value, next((name for name in others if name in known), value))
    return [known[value] for value in goal.to_list()]


def _number(column: str, part: str, values: pl.Series) -> NumberInput | None:
    """None where there is one value only."""
    x = values.drop_nulls().to_numpy().astype(np.float64)
    flagged = values.null_count() > 0
    if not len(x) or (np.ptp(x) == 0 and not flagged):
        return None
    log = x.min() >= 0 and (skew := _skewness(x)) > SKEW and abs(_skewness(np.log1p(x))) < skew / 2
    return NumberInput(column, part, *_moments(_bent(x, log)), bool(log), flagged)


def _bent(x: NDArray[np.float64], log: bool) -> NDArray[np.float64]:
    return np.sign(x) * np.log1p(np.abs(x)) if log else x


def _moments(x: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and deviation, of numbers of any size; the deviation is 1 where all are equal."""
    largest = float(np.abs(x).max()) or 1.0
    deviation = float((x / largest).std()) * largest if np.ptp(x / largest) > 0 else 1.0
    return float((x / largest).mean()) * largest, deviation


def _skewness(x: NDArray[np.float64]) -> float:
    mean, deviation = _moments(x)
    z = (x - mean) / deviation
    return float((z * z * z).mean())


def _category(column: str, part: str, values: pl.Series, rare: dict[str, int]) -> CategoryInput | None:
    """The values that come often enough, the most frequent first; None where there is one only."""
    named = values.fill_null("")
    counts = named.value_counts()
    if len(counts) < 2:
        return None
    often = counts.filter(pl.col("count") >= RARE).sort("count", named.name, descending=[True, False]).head(MOST - 1)
    found = CategoryInput(column, part, tuple(sorted(often[named.name].to_list(), key=in_order)))
    if len(often) < len(counts):
        rare[found.name] = len(counts) - len(often)
    return found


def _parts(values: pl.Series) -> dict[str, pl.Series]:
    """Month, weekday and, where there are times, hour of dates, as text."""
    names = [part for part in PARTS if part != "hour" or (values.dt.hour() > 0).any()]
    return {part: _of_part(values, part) for part in names}


def _of_part(values: pl.Series, part: str) -> pl.Series:
    return getattr(values.dt, part)().cast(pl.String) if part else values


def _unseen(category: CategoryInput, values: pl.Series) -> list[str]:
    """A sentence about values that have no slot of their own."""
    if not len(values):
        return []
    counts = values.value_counts(sort=True)
    pairs = zip(counts[values.name].to_list(), counts["count"].to_list(), strict=True)
    shown = _listed([f"{repr(value) if value else 'missing'} ({times:,})" for value, times in pairs])
    return [f"Values of {category.name!r} that were never or hardly ever trained on: {shown}."]


def _notes(
    rows: Rows, numbers: Sequence[NumberInput], categories: Sequence[CategoryInput], rare: Mapping[str, int]
) -> list[str]:
    notes = []
    used = {number.column for number in (*numbers, *categories)}
    same = [column.name for column in rows.columns[:-1] if column.name not in used]
    if same:
        notes.append(f"Left out, since the training part has one value of them: {_quoted(same)}.")
    bent = [number.name for number in numbers if number.log]
    if bent:
        notes.append(f"By their logarithm, log(1 + x), since few values are far above the others: {_quoted(bent)}.")
    if rare:
        some = _listed([f"{name!r} ({lost:,})" for name, lost in rare.items()])
        notes.append(f"Values in fewer than {RARE} training rows share one slot: {some}.")
    return notes


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12:,} more" if len(names) > 12 else "")


def _quoted(names: Sequence[str]) -> str:
    return _listed([repr(name) for name in names])
