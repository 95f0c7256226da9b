"""Tables: CSV, TSV and Parquet, and which column is what."""

from __future__ import annotations

import contextlib
import csv
import difflib
import io
import re
from collections.abc import Collection, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from .number_tables import sniff
from .splits import split_of
from .text_files import read_whole, standard_encoding

if TYPE_CHECKING:
    import polars

__all__ = [
    "MISSING",
    "TABLE_SUFFIXES",
    "column",
    "in_order",
    "label_column",
    "read_table",
    "split_column",
    "text_column",
]

TABLE_SUFFIXES = {".csv": ",", ".tsv": "\t", ".parquet": None, ".pq": None}
"""Suffixes of tables, and what separates their columns."""

LABELS: Sequence[str] = (
    "label labels class classes category target y tag sentiment intent polarity language lang nationality topic "
    "species family rating stars answer hit outcome"
).split()
TEXTS: Sequence[str] = (
    "text sentence sequence seq name review comment content message document tweet body title utterance question "
    "peptide protein dna smiles word string input x"
).split()
SPLITS = ("split", "set", "subset", "partition", "part")
MOST_CLASSES = 1000
MISSING = ("", "nan", "NaN", "NA", "null", "None")
"""What stands in a table where there is nothing."""


def read_table(
    path: Path, encoding: str = "utf-8", rows: int | None = None, header: bool | None = None
) -> polars.DataFrame:
    """A table, all of it or its first rows; the cells of a text file are text, and empty ones null.

    Columns without a name, and all of a file without a header, are called by their places 1, 2, …; of several with
    the same name the later ones are called `name (2)`, ….

    Args:
        path: the file.
        encoding: of a text file.
        rows: how many at most.
        header: whether the first line names the columns; by default it does unless it looks like the others.

    Raises:
        DataError: it can't be read, or has no rows.
    """
    import polars as pl

    text = path.suffix.lower() not in (".parquet", ".pq")
    try:
        if text:
            table = _read_text(path, standard_encoding(encoding), rows, header)
        else:
            scanned = pl.scan_parquet(path)
            table = (scanned if rows is None else scanned.head(rows)).collect()
    except pl.exceptions.NoDataError:
        raise DataError(f'"{path}" is empty: there is nothing to learn. Give a table with a header and rows.') from None
    except OSError as error:
        raise DataError(f'"{path}" cannot be read: {error.strerror or error}.') from None
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        if text:
            _check_width(path, encoding)
        raise DataError(f'"{path}" cannot be read as a table: {reason}. Mend the file, or say --kind text.') from None
    if not table.height:
        raise DataError(f'"{path}" has a header but no rows: there is nothing to learn.')
    return table


def _read_text(path: Path, encoding: str, rows: int | None, header: bool | None) -> polars.DataFrame:
    import polars as pl

    layout = sniff(path, encoding)
    whole = None if encoding == "utf-8" else read_whole(path, encoding).encode()

    def read(has_header: bool) -> polars.DataFrame:
        return pl.read_csv(
            path if whole is None else io.BytesIO(whole),
            separator=layout.separator,
            infer_schema=False,
            n_rows=rows,
            has_header=has_header,
        )

    if header is not False and (header or layout.header):
        table = read(True)
        if header or not _headless(table):
            table.columns = _distinct(table.columns)
            return table
    table = read(False)
    table.columns = [str(number) for number in range(1, table.width + 1)]
    return table


def _distinct(names: Sequence[str]) -> list[str]:
    """Names without blanks around them, none of them empty or equal to another."""
    found: dict[str, None] = {}
    for place, name in enumerate(names, 1):
        plain = re.sub(r"_duplicated_\d+$", "", name).strip() or str(place)
        number = next(n for n in count(1) if (plain if n == 1 else f"{plain} ({n})") not in found)
        found[plain if number == 1 else f"{plain} ({number})"] = None
    return list(found)


def _check_width(path: Path, encoding: str) -> None:
    """Raise an error that names the first row with too many cells, or where the file is not valid text."""
    lines = read_whole(path, encoding).splitlines(keepends=True)
    separator = sniff(path, encoding).separator
    rows = csv.reader(lines, delimiter=separator)
    with contextlib.suppress(csv.Error, StopIteration):
        width = len(next(rows))
        for number, cells in enumerate(rows, 1):
            if len(cells) > width:
                raise DataError(
                    f'"{path}", row {number:,} has {len(cells)} cells, where the first line has {width}; put a cell '
                    f"that holds the separator {separator!r} in quotes."
                )


def _headless(table: polars.DataFrame) -> bool:
    """Whether the names of the columns stand among the values too."""
    few = table.head(2000)
    return any(name in few[name].unique().to_list() for name in few.columns if few[name].dtype == _text())


def _text() -> Any:
    import polars as pl

    return pl.String


def column(table: polars.DataFrame, name: str, path: Path, option: str) -> str:
    """The column of this name.

    Raises:
        DataError: there is none; the nearest is suggested.
    """
    if name in table.columns:
        return name
    near = difflib.get_close_matches(name, table.columns, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}?" if near else f"Its columns are {', '.join(map(repr, table.columns[:20]))}."
    raise DataError(f'"{path}" has no column {name!r} ({option}). {hint}')


def text_column(table: polars.DataFrame, but: Collection[str] = ()) -> str | None:
    """The column that holds sequences of symbols: mostly letters, mostly different, of those the longest."""
    import polars as pl

    best, found = 0.0, None
    for name in table.columns:
        values = table[name].drop_nulls()
        if name in but or values.dtype != pl.String or not len(values):
            continue
        letters = values.str.contains(r"\p{L}").mean()
        assert isinstance(letters, float)
        usual = name.lower() in TEXTS
        different = values.n_unique() / len(values)
        if letters < 0.9 or different < (0.02 if usual else 0.3):
            continue
        length = values.str.len_chars().mean()
        assert isinstance(length, float)
        worth = different * length * (1000 if usual else 1)
        if worth > best:
            best, found = worth, name
    return found


def label_column(table: polars.DataFrame, but: Collection[str] = ()) -> str | None:
    """The column that holds classes: few different values, each of them several times."""
    import polars as pl

    candidates = []
    for place, name in enumerate(table.columns):
        values = table[name].drop_nulls()
        if values.dtype == pl.String:
            values = values.filter(~values.is_in(MISSING))
        if name in but or not len(values) or values.dtype.is_nested() or values.dtype.is_temporal():
            continue
        different = values.n_unique()
        usual = name.lower() in LABELS
        most = min(MOST_CLASSES, len(values) / (1 if usual else 5))
        fractions = values.dtype == pl.String and values.str.contains(r"^[+-]?\d+\.\d*[1-9]").any()
        if (different < 2 and not usual) or different > most or values.dtype.is_float() or fractions:
            continue
        candidates.append((not usual, different if not usual else LABELS.index(name.lower()), place, name))
    return min(candidates)[-1] if candidates else None


def in_order(name: str) -> tuple[int, float, str]:
    """What classes are sorted by: numbers by their size, then words."""
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name


def split_column(table: polars.DataFrame, named: str | None, path: Path) -> str | None:
    """The column that says which part a row belongs to.

    Raises:
        DataError: the named one is missing, or says something else than train, dev and test.
    """
    if named is None:
        found = [name for name in table.columns if name.lower() in SPLITS]
        return next((name for name in found if not _strange(table, name)), None)
    name = column(table, named, path, "--split-column")
    strange = _strange(table, name)
    if strange:
        raise DataError(
            f'"{path}" has {strange[0]!r} in the column {name!r} (--split-column); it must say train, dev or test.'
        )
    return name


def _strange(table: polars.DataFrame, name: str) -> Sequence[Any]:
    return [value for value in table[name].unique().to_list() if value is None or split_of(str(value)) is None]
