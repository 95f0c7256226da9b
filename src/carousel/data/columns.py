"""One column of a table of examples: what its cells are, and how they become numbers, categories or dates.

A column is left out, with the reason, where nothing can be learned from it: empty, constant, identifiers, free text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from ..errors import DataError
from .stamps import FORMATS, MONTHS, read_as

__all__ = ["Column", "Look", "look"]

MARKS = frozenset(("", "na", "n/a", "#n/a", "#na", "nan", "null", "?"))
"""What stands in a cell, in small letters, where nothing is known."""
NUMBER_MARKS = MARKS | {"none", "-", "--", ".", "n.a.", "missing", "unknown", "#value!", "#div/0!", "#ref!"}
"""The same among numbers and dates; among words some of these are values of their own."""

STRAYS = 0.1
"""Share of cells up to which those that are no numbers are mistakes in a column of numbers."""
FEW = 30
"""Different values up to which numbers with other words among them are codes."""
CODES = 1000
"""Different values up to which whole numbers that are named as codes are categories."""
SINGLE = 0.2
"""Share of rows with a value that comes again; below it the values of text are names of the rows."""
ENOUGH = 10
"""Rows from which on it is no chance that all values differ."""

_NUMBER = r"[+-]?(?:\d[\d.,]*|[.,]\d+)(?:[eE][+-]?\d+)?"
_UNIT = rf"^(?:[+-]?([$€£¥])\s*{_NUMBER}|{_NUMBER}\s*([^\d\s.,;+-][^\d]*))$"
_FORMS = {
    "thousands": r"^[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?$|^[+-]?\d+(?:\.\d*)?$",
    "comma": r"^[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+|)(?:,\d*)?(?:[eE][+-]?\d+)?$",
}
_OFFSET = r"(:\d{2}(?:\.\d+)?)\s?(?:Z|[+-]\d{2}:?\d{2})$"
_IDENTIFIER = re.compile(r"(?i:^(.*[\W_])?(id|ids|uuid|guid|index|idx|key|no|nr|row)$)|[a-z](Id|ID)$")
_CODE = re.compile(r"(?i:(^|[\W_])(code|zip|zipcode|postcode|plz)([\W_]|$))")

_OUT = "write NA where nothing is known, leave the column out with --drop, or read it as categories with --categories"
_AS_CLASS = "write NA where nothing is known, or say --problem classify"

Place = Callable[[int], str]
"""Where a row stands, for messages."""


@dataclass(frozen=True)
class Column:
    """How the cells of a column are read.

    Args:
        name: its name.
        kind: what they become.
        form: of numbers as text, "" for 1234.5, "comma" for 1.234,5, "thousands" for 1,234.5; of dates as text their
            format as in `strptime`.
        unit: what stands in every cell beside the number.
    """

    name: str
    kind: Literal["number", "category", "date"]
    form: str = ""
    unit: str = ""

    def read(self, cells: pl.Series, place: Place) -> pl.Series:
        """The values: Float64, String or Datetime, null where nothing is known.

        Raises:
            DataError: a cell is no number or no date; the message names row, column and value.
        """
        text, _ = _plain(cells, MARKS if self.kind == "category" else NUMBER_MARKS)
        if self.kind == "category":
            return _words(text)
        if self.kind == "number":
            values = _numbers(text, self.form, self.unit)
            plain = values if values.null_count() == text.null_count() else _numbers(text, "", "")
            values = plain if plain.null_count() == text.null_count() else values
        else:
            values = _dates(text, self.form or _date_format(text)[0])
        strays = (values.is_null() & text.is_not_null()).arg_true()
        if len(strays):
            how = f"{self.kind}, as the training data have them"
            raise DataError(_stray(self.name, how, text, strays, place, "or write NA where nothing is known"))
        return values if self.kind == "date" else _finite(values)[0]


@dataclass
class Look:
    """What was found in a column.

    Attributes:
        column: how to read it; None where it is left out.
        values: its values, as `Column.read` gives them.
        why: of a column that is left out, the reason.
        notes: sentences for the user.
        marks: what was taken as missing, and how often.
    """

    column: Column | None = None
    values: pl.Series = field(default_factory=pl.Series)
    why: str = ""
    notes: list[str] = field(default_factory=list)
    marks: Counter[str] = field(default_factory=Counter)


def look(
    cells: pl.Series,
    place: Place,
    *,
    decimal_comma: bool = False,
    typed: bool = False,
    category: bool = False,
    target: bool = False,
) -> Look:
    """What the cells of a column are.

    Args:
        cells: text as in the file, or typed values of a Parquet file.
        place: where a row stands.
        decimal_comma: 1,234 is less than two, as other columns of the file show.
        typed: the file knows types: few different values that are text there are no numbers.
        category: it holds categories, whatever it looks like.
        target: it is to be predicted, so it is never left out as constant or as names of the rows.

    Raises:
        DataError: a few cells of a column of numbers or dates are something else.
    """
    name = cells.name
    if cells.dtype.is_nested() or cells.dtype in (pl.Binary, pl.Object, pl.Null):
        return Look(why="empty" if cells.dtype == pl.Null else "neither numbers nor text")
    meant = typed and cells.dtype == pl.String and cells.n_unique() <= FEW
    if not category and not meant:
        found = _as_number(cells, place, decimal_comma, target) or _as_date(cells, place)
        if found is not None:
            return found
    text, marks = _plain(cells, MARKS)
    found = Look(Column(name, "category"), _words(text), marks=marks)
    return found if target else _judged(found, category)


# -- numbers ----------------------------------------------------------------------------------------------------------


def _as_number(cells: pl.Series, place: Place, decimal_comma: bool, target: bool) -> Look | None:
    """A column of numbers, or of codes that look like numbers; None if it is neither."""
    name = cells.name
    if cells.dtype in (pl.Boolean, pl.Categorical, pl.Enum) or cells.dtype in (pl.Date, pl.Datetime):
        return None
    form, unit = "", ""
    forms = ("comma", "", "thousands") if decimal_comma else ("", "thousands", "comma")
    if cells.dtype == pl.String:
        plain = None if decimal_comma else _plain_numbers(cells)
        if plain is not None:
            found = _days(name, plain) or Look(Column(name, "number"), plain)
            return found if target else _judged_numbers(found, cells)
        some, _ = _plain(_some(cells), NUMBER_MARKS)
        lost = _best_form(some, forms, _unit(some))[1].null_count() - some.null_count()
        if lost > 3 * STRAYS * (len(some) - some.null_count()):  # for sure, so the other cells need no look
            return None
    text, marks = _plain(cells, NUMBER_MARKS)
    known = len(text) - text.null_count()
    if not known:
        return Look(why="empty")
    if text.dtype == pl.String:
        unit = _unit(text)
        form, values = _best_form(text, forms, unit)
    else:
        values = _numbers(text, "", "")
    strays = (values.is_null() & text.is_not_null()).arg_true()
    if len(strays) > STRAYS * known or (len(strays) and _are_codes(text)):
        return None
    if len(strays):
        raise DataError(_stray(name, "number, as the others are", text, strays, place, _AS_CLASS if target else _OUT))
    values, infinite = _finite(values)
    found = _days(name, values) or Look(Column(name, "number", form, unit), values)
    found.marks = marks
    if infinite:
        found.notes.append(f"{infinite:,} infinite values of {name!r} count as missing.")
    if unit:
        found.notes.append(f"The unit {unit!r} beside the numbers of {name!r} is taken off.")
    if form == "comma" and not decimal_comma:
        found.notes.append(f"The comma in {name!r} is read as a decimal point.")
    if form == "thousands":
        found.notes.append(f"The commas in {name!r} are read as marks of thousands.")
    return found if target else _judged_numbers(found, text)


def _plain_numbers(cells: pl.Series) -> pl.Series | None:
    """The quick way for a column of finite numbers and empty cells only."""
    if _some(cells).cast(pl.Float64, strict=False).null_count():
        return None
    values = cells.cast(pl.Float64, strict=False)
    whole = values.null_count() == cells.null_count() < len(cells) and bool(values.is_finite().all())
    return values if whole else None


def _best_form(text: pl.Series, forms: Sequence[str], unit: str) -> tuple[str, pl.Series]:
    """The first form in which all cells are numbers, or else most of them, and those numbers."""
    some = _some(text)
    read: dict[str, pl.Series] = {}
    for form in sorted(forms, key=lambda form: _numbers(some, form, unit).null_count()):
        read[form] = _numbers(text, form, unit)
        if read[form].null_count() == text.null_count():
            break
    best = min(read, key=lambda form: read[form].null_count())
    return best, read[best]


def _numbers(text: pl.Series, form: str, unit: str) -> pl.Series:
    """Floats, null where a cell is none."""
    if text.dtype != pl.String:
        if isinstance(text.dtype, pl.Duration):
            return (text.dt.total_microseconds() / 1e6).cast(pl.Float64)
        return (text.cast(pl.Int64) / 1e9) if text.dtype == pl.Time else text.cast(pl.Float64).fill_nan(None)
    if unit:
        there = text.str.contains(unit, literal=True)
        text = text.str.replace(unit, "", literal=True).str.strip_chars()
        text = text.to_frame().select(pl.when(there).then(pl.col(text.name)))[text.name]
    if form:
        fits = text.str.contains(_FORMS[form]) & text.str.contains(r"\d")
        plain = text.str.replace_all("," if form == "thousands" else ".", "", literal=True)
        plain = plain.str.replace(",", ".", literal=True)
        text = plain.to_frame().select(pl.when(fits).then(pl.col(text.name)))[text.name]
    return text.cast(pl.Float64, strict=False)


def _unit(text: pl.Series) -> str:
    """What stands beside the number in nine of ten cells."""
    some = _some(text)
    groups = some.str.extract_groups(_UNIT).struct.unnest()
    beside = Counter(mark for column in groups.iter_columns() for mark in column.drop_nulls().to_list())
    unit, times = beside.most_common(1)[0] if beside else ("", 0)
    return unit.strip() if times >= (1 - STRAYS) * len(some) else ""


def _finite(values: pl.Series) -> tuple[pl.Series, int]:
    infinite = values.is_infinite()
    count = int(infinite.sum())
    if not count:
        return values, 0
    return values.to_frame().select(pl.when(~infinite).then(pl.col(values.name)))[values.name], count


def _are_codes(text: pl.Series) -> bool:
    """Few different values, each of them in one of a hundred rows: 0, 1, 2, 3+."""
    if text.n_unique() > FEW:
        return False
    counts = text.drop_nulls().value_counts()["count"]
    return min(counts.to_list()) >= max(2, 0.01 * sum(counts.to_list()))


def _judged_numbers(found: Look, text: pl.Series) -> Look:
    """Numbers that are names of rows, the same everywhere, or codes."""
    column, values = found.column, found.values
    assert column is not None
    if column.kind == "date":
        return _judged_dates(found)
    name, some = column.name, values.drop_nulls()
    if not len(some):
        return Look(why="empty", notes=found.notes)
    low, high, whole = some.min(), some.max(), bool((some == some.round()).all())
    if low == high and len(some) == len(values):
        return Look(why=f"always {low:g}")
    zeros = text.dtype == pl.String and not column.unit and bool(text.str.contains(r"^0\d").any())
    named = bool(_IDENTIFIER.search(name))
    if not whole or not (named or zeros or _CODE.search(name) or len(some) == len(values)):
        return found
    different = some.n_unique()
    if different == len(values) and len(values) >= ENOUGH:
        if named or zeros:
            return Look(why="an identifier: all values differ")
        if high - low + 1 <= 1.2 * len(some):  # pyright: ignore[reportOperatorIssue, reportOptionalOperand]
            return Look(why="running numbers", column=column, values=values)
    elif zeros or _CODE.search(name) or named:
        if different <= CODES and 5 * different <= len(some):
            notes = [f"The whole numbers in {name!r} are taken for codes: categories."]
            return Look(Column(name, "category"), _words(text), notes=notes, marks=found.marks)
        if named:
            return Look(why="an identifier that comes several times: --group-column keeps its rows on one side")
    return found


# -- dates ------------------------------------------------------------------------------------------------------------


def _days(name: str, values: pl.Series) -> Look | None:
    """Numbers such as 20240131, if all of them are days."""
    low, high = values.min(), values.max()
    if low is None or high is None or not 19_000_101 <= low <= high <= 21_001_231:  # pyright: ignore[reportOperatorIssue]
        return None
    dates = _dates(values, "%Y%m%d")
    return Look(Column(name, "date", "%Y%m%d"), dates) if dates.null_count() == values.null_count() else None


def _judged_dates(found: Look) -> Look:
    return Look(why=f"always {found.values[0]}") if found.values.n_unique() == 1 else found


def _as_date(cells: pl.Series, place: Place) -> Look | None:
    name = cells.name
    if cells.dtype not in (pl.String, pl.Date, pl.Datetime):
        return None
    if cells.dtype == pl.String and not _date_format(_plain(_some(cells), NUMBER_MARKS)[0])[0]:
        return None
    text, marks = _plain(cells, NUMBER_MARKS)
    known = len(text) - text.null_count()
    if not known:
        return Look(why="empty")
    if text.dtype != pl.String:
        form, others = "", ()
        values = _dates(text, form)
    else:
        form, others = _date_format(text)
        if not form:
            return None
        values = _dates(text, form)
    strays = (values.is_null() & text.is_not_null()).arg_true()
    if len(strays) > STRAYS * known:
        return None
    if len(strays):
        raise DataError(_stray(name, "date, as the others are", text, strays, place, _OUT))
    notes = [f"The dates in {name!r} are read as {form}; {others[0]} would fit too."] if others else []
    return _judged_dates(Look(Column(name, "date", form), values, notes=notes, marks=marks))


def _date_format(text: pl.Series) -> tuple[str, tuple[str, ...]]:
    """The format that reads most of the cells, and others that read as many; empty if none reads nine of ten."""
    some = _some(text)
    if not some.str.contains(r"\d").mean():
        return "", ()
    lost = {form: _dates(some, form).null_count() for form in (*FORMATS, *MONTHS)}
    fewest = min(lost.values())
    if fewest > STRAYS * len(some):
        return "", ()
    first, *others = (form for form, count in lost.items() if count == fewest)
    turned = first.translate(str.maketrans("dm", "md"))
    return first, tuple(form for form in others if form == turned)


def _dates(text: pl.Series, form: str) -> pl.Series:
    if text.dtype.is_numeric():
        text = _words(text)
    if text.dtype != pl.String:
        if isinstance(text.dtype, pl.Datetime) and text.dtype.time_zone is not None:
            text = text.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return text.cast(pl.Datetime("us"), strict=False)
    return read_as(text.str.replace(_OFFSET, "${1}"), form)


# -- words ------------------------------------------------------------------------------------------------------------


def _words(cells: pl.Series) -> pl.Series:
    """The values as text; whole numbers without a point."""
    if cells.dtype.is_float():
        whole = cells.is_null() | (cells == cells.round())
        cells = cells.cast(pl.Int64, strict=False) if whole.all() else cells
    return cells.cast(pl.String)


def _judged(found: Look, category: bool) -> Look:
    """Words that are empty, the same everywhere, free text, or names of the rows."""
    words = found.values
    some = words.drop_nulls()
    if not len(some):
        return Look(why="empty")
    counts = some.value_counts()["count"]
    if len(counts) == 1 and len(some) == len(words):
        return Look(why=f"always {some[0]!r}")
    if category:
        return found
    long = some.head(10_000).str.split(" ").list.len().mean()
    assert isinstance(long, float)
    if len(counts) > 0.3 * len(some) and long >= 4 and len(some) > 4:
        return Look(why="free text, which --kind labelled reads")
    again = int(counts.filter(counts > 1).sum())
    if len(some) >= ENOUGH and again < SINGLE * len(some):
        return Look(why="names of the rows: almost all values differ" if again else "an identifier: all values differ")
    if _IDENTIFIER.search(words.name) and 5 * len(counts) > len(some) and len(some) >= ENOUGH:
        return Look(why="an identifier that comes several times: --group-column keeps its rows on one side")
    return found


def _some(cells: pl.Series) -> pl.Series:
    """Known cells, at most a thousand or two from all over the column."""
    known = cells.drop_nulls()
    return known.gather_every(max(1, len(known) // 1000))


def _plain(cells: pl.Series, marks: frozenset[str]) -> tuple[pl.Series, Counter[str]]:
    """Text without blanks around it, null where it is a mark of missing values; and which marks those were."""
    if cells.dtype in (pl.Categorical, pl.Enum):
        cells = cells.cast(pl.String)
    if cells.dtype != pl.String:
        return (cells.fill_nan(None) if cells.dtype.is_float() else cells), Counter()
    text = cells.str.strip_chars()
    missing = text.str.to_lowercase().is_in(list(marks))
    if not missing.any():
        return text, Counter()
    seen = text.filter(missing).value_counts()
    found = Counter(dict(zip(seen[cells.name].to_list(), seen["count"].to_list(), strict=True)))
    return text.to_frame().select(pl.when(~missing).then(pl.col(cells.name)))[cells.name], found


def _stray(name: str, what: str, text: pl.Series, strays: pl.Series, place: Place, advice: str) -> str:
    first = int(strays[0])
    of = f", the first of {len(strays):,} such cells," if len(strays) > 1 else ""
    return f"{place(first)}: {str(text[first])[:60]!r} in the column {name!r}{of} is no {what}. Mend it, {advice}."
