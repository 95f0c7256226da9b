"""Tables from files: CSV, TSV and Parquet, found, sniffed and scanned lazily with polars."""

from __future__ import annotations

import csv
import difflib
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

import polars as pl

from carousel.data.text_files import read_pieces, standard_encoding
from carousel.errors import DataError, UsageError

__all__ = [
    "MISSING",
    "TABLE_SUFFIXES",
    "Layout",
    "column_named",
    "digest_of",
    "find_tables",
    "numbers",
    "scan",
    "sniff",
]

PathLike = str | os.PathLike[str]

TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".parquet", ".pq")
MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "NAN", "null", "NULL", "None", "none", "-", "?", "."]
"""Entries that stand for no value."""

_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
_NUMBER = re.compile(r"-?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?|-?inf(inity)?", re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """How a text file is cut into cells."""

    separator: str
    decimal_comma: bool
    header: bool


def find_tables(sources: Iterable[PathLike]) -> list[Path]:
    """The files of tables that files, folders and patterns name, without repetition, in order.

    Raises:
        UsageError: nothing is there.
    """
    found: list[Path] = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if p.is_file() and p.suffix.lower() in TABLE_SUFFIXES)
            if not files:
                raise UsageError(f"The folder {path} has no table; expected {', '.join(TABLE_SUFFIXES)}.")
        elif path.is_file():
            files = [path]
        else:
            files = sorted(Path(p) for p in glob(str(source), recursive=True) if Path(p).is_file())  # noqa: PTH207
            if not files:
                raise UsageError(f"There is no file {source}. Check the name, or give a pattern in quotes.")
        found += [file for file in files if file not in found]
    return found


def digest_of(files: Sequence[Path]) -> str:
    """Hash of the content of the files, in hexadecimal."""
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def sniff(path: Path, encoding: str = "utf-8") -> Layout:
    """Separator, decimal comma and header, by a look at the first lines.

    Raises:
        DataError: the file is empty, no text, or not of this encoding.
        UsageError: there is no such encoding.
    """
    raw, text = next(read_pieces(path, standard_encoding(encoding)))
    if len(raw) < path.stat().st_size:
        text = text[: text.rfind("\n") + 1] or text
    lines = [line for line in text.splitlines() if line.strip()][:200]
    if not lines:
        raise DataError(f"{path} is empty; a table has a line of column names and rows.")
    tabs = path.suffix.lower() in (".tsv", ".tab") and "\t" in lines[0]
    separator = "\t" if tabs else max((";", "\t", "|", ","), key=lambda s: _evenness(lines, s))
    rows = [row for row in csv.reader(lines, delimiter=separator) if row]
    cells = [cell.strip() for row in rows[1:] for cell in row]
    comma = separator != "," and any(_DECIMAL_COMMA.fullmatch(cell) for cell in cells)
    numeric_first = all(_NUMBER.fullmatch(cell.strip()) for cell in rows[0])
    return Layout(separator, comma, header=not numeric_first)


def _evenness(lines: Sequence[str], separator: str) -> tuple[float, float, int]:
    """How surely this cuts lines into cells: the share of lines with as many as the most have, then how few of the
    cells hold what separates cells elsewhere (1,5;2,5 has two cells, not three), then how many cells.
    """
    rows = [row for row in csv.reader(lines, delimiter=separator) if row]
    counts = [len(row) for row in rows]
    usual = max(set(counts), key=counts.count)
    mixed = sum(any(mark in cell for mark in ";\t|") for row in rows for cell in row) / sum(counts)
    return (counts.count(usual) / len(counts), -mixed, usual) if usual > 1 else (0.0, 0.0, 0)


def scan(path: Path, encoding: str = "utf-8", *, typed: bool = True) -> pl.LazyFrame:
    """A table, not read yet; numbers are floats. Without `typed` every cell of a text file is text.

    Raises:
        DataError: the file is empty or no table.
    """
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; a table has a line of column names and rows.")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            lazy = pl.scan_parquet(path)
            return lazy.with_columns(pl.col(n).cast(pl.Float64) for n, t in lazy.collect_schema().items() if _plain(t))
        layout = sniff(path, encoding)
        about = {
            "separator": layout.separator,
            "has_header": layout.header,
            "null_values": MISSING,
            "decimal_comma": layout.decimal_comma,
        }
        if encoding.lower().replace("_", "-") not in ("utf-8", "utf8", "ascii"):
            lazy = pl.read_csv(path, encoding=encoding, infer_schema=typed, infer_schema_length=1000, **about).lazy()
        else:
            lazy = pl.scan_csv(path, infer_schema=typed, infer_schema_length=1000, **about)
        types = {name: pl.Float64() for name, kind in lazy.collect_schema().items() if _plain(kind)}
        if typed and types and encoding.lower() == "utf-8":
            return pl.scan_csv(path, infer_schema_length=1000, schema_overrides=types, **about)
        return lazy.with_columns(pl.col(name).cast(pl.Float64) for name in types) if types else lazy
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} can't be read as a table: {str(error).splitlines()[0]}.") from None


def _plain(kind: pl.DataType) -> bool:
    return kind.is_numeric() or kind == pl.Boolean


def numbers(column: pl.Series, *, decimal_comma: bool = False) -> tuple[pl.Series, int, str]:
    """A column as floats, how many of its entries are none, and the first of them with its row, as a person counts."""
    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        return column.cast(pl.Float64), 0, ""
    text = column.cast(pl.String).str.strip_chars()
    plain = text.str.replace(",", ".", literal=True) if decimal_comma else text
    floats = plain.cast(pl.Float64, strict=False)
    bad = (floats.is_null() & text.is_not_null() & ~text.is_in(MISSING)).arg_true()
    first = f"{text[int(bad[0])]!r} in row {int(bad[0]) + 1:,}" if len(bad) else ""
    return floats, len(bad), first


def column_named(name: str, columns: Sequence[str], option: str) -> str:
    """The column of this name.

    Raises:
        UsageError: there is none; the nearest is suggested.
    """
    if name in columns:
        return name
    lower = {column.lower(): column for column in columns}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    hint = f"Did you mean {lower[near[0]]!r}? " if near else ""
    shown = ", ".join(list(columns)[:30]) + (" …" if len(columns) > 30 else "")
    raise UsageError(f"{option} names the column {name!r}, which the table does not have. {hint}Its columns: {shown}.")
