"""The time column of a table: found by its content, read in the forms that files have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from carousel.errors import DataError

__all__ = ["FORMATS", "MONTHS", "Stamps", "find_time_columns", "read_as", "read_stamps"]

PARTS = ("year", "month", "day", "hour", "minute", "second")
FORMATS = (
    "%Y-%m-%d", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y/%m/%d",
    "%Y/%m/%d %H:%M:%S%.f", "%Y/%m/%d %H:%M", "%Y%m%d", "%Y%m%d%H%M%S", "%d.%m.%Y", "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d/%m/%Y", "%m/%d/%Y", "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d-%m-%Y", "%m-%d-%Y",
)  # fmt: skip
MONTHS = ("%Y-%m", "%Y/%m", "%b %Y", "%b-%Y", "%m/%Y", "%m.%Y")
_TIMELIKE = re.compile(r"(^|_|\b)(time|date|datetime|timestamp|stamp|epoch|unix|ds|year|t|zeit|datum|jahr)(_|\b|$)")
_DATELIKE = r"^\s*\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})"
_OFFSET = r"(Z|[+-]\d{2}:?\d{2})$"
_QUARTER = r"^(\d{4})[- ]?[Qq]([1-4])$"


@dataclass(frozen=True)
class Stamps:
    """Time stamps as they were read.

    Args:
        values: (rows,) datetime64[us] or floats.
        where: the column in words, for messages.
        dates: they are whole days.
        zone: they had offsets from universal time, and are universal time now.
        notes: sentences for the user.
    """

    values: NDArray[Any]
    where: str
    dates: bool = False
    zone: bool = False
    notes: tuple[str, ...] = ()


def find_time_columns(head: pl.DataFrame) -> list[str]:
    """The time column by the look of the first rows; several where year, month … stand apart; none if there is none."""
    for name, kind in head.schema.items():
        if kind in (pl.Date, pl.Datetime) or isinstance(kind, pl.Datetime):
            return [name]
    lower = {name.lower().strip(): name for name in head.columns}
    if "year" in lower and "month" in lower:
        return [lower[part] for part in PARTS if part in lower]
    for name, kind in head.schema.items():
        if kind == pl.String:
            some = head[name].drop_nulls().head(100)
            if len(some) and (
                some.str.contains(_DATELIKE).sum() > 0.7 * len(some) or _parsed(some, None)[0] is not None
            ):
                return [name]
    for name in head.columns:
        if head[name].dtype.is_numeric() and _TIMELIKE.search(name.lower()):
            values = head[name].drop_nulls().to_numpy()
            if len(values) > 2 and (np.diff(values) > 0).mean() > 0.9:
                return [name]
    return []


def read_stamps(frame: pl.DataFrame, columns: Sequence[str], time_format: str | None = None) -> Stamps:
    """The stamps of all rows.

    Raises:
        DataError: some are missing, can't be read, or mix times with and without an offset from universal time.
    """
    where = f"column {columns[0]!r}" if len(columns) == 1 else "columns " + ", ".join(columns)
    for name in columns:
        missing = frame[name].null_count()
        if missing:
            row = int(frame[name].is_null().arg_true()[0]) + 1
            raise DataError(
                f"{missing:,} time stamps are missing in column {name!r}, the first in row {row:,}; remove those rows "
                "or fill them in."
            )
    if len(columns) > 1:
        return _from_parts(frame, columns, where)
    column = frame[columns[0]]
    if isinstance(column.dtype, pl.Datetime):
        zone = column.dtype.time_zone is not None
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zone else column
        return _datetimes(column, where, zone=zone)
    if column.dtype == pl.Date:
        return _datetimes(column, where)
    if column.dtype.is_numeric():
        return _from_numbers(column, where)
    return _from_text(column.str.strip_chars(), where, time_format)


def _datetimes(column: pl.Series, where: str, *, zone: bool = False, notes: tuple[str, ...] = ()) -> Stamps:
    values = column.cast(pl.Datetime("us")).to_numpy().astype("datetime64[us]")
    dates = bool((values == values.astype("datetime64[D]")).all())
    return Stamps(values, where, dates and not zone, zone, notes)


def _from_parts(frame: pl.DataFrame, columns: Sequence[str], where: str) -> Stamps:
    given = {name.lower().strip(): pl.col(name).cast(pl.Int32, strict=False) for name in columns}
    parts = [given.get(part, pl.lit(1 if part in ("month", "day") else 0)) for part in PARTS]
    try:
        made = frame.select(pl.datetime(*parts).alias("t"))["t"]
    except pl.exceptions.PolarsError:
        made = pl.Series("t", [None], pl.Datetime)
    if made.null_count() or len(made) != len(frame):
        row = int(made.is_null().arg_true()[0]) if len(made) == len(frame) else 0
        shown = "-".join(str(frame[name][row]) for name in columns)
        raise DataError(f"The {where} give no time in row {row + 1:,} ({shown}).")
    return _datetimes(made, where)


def _from_numbers(column: pl.Series, where: str) -> Stamps:
    values = column.to_numpy().astype(np.float64)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0]) + 1
        raise DataError(f"The {where} has a time stamp in row {row:,} that is not a finite number.")
    middle, whole = float(np.median(values)), bool((values == np.rint(values)).all())
    if whole and values.min() >= 1000 and values.max() < 3000 and "year" in where.lower() + column.name.lower():
        return Stamps((values - 1970).astype("datetime64[Y]").astype("datetime64[us]"), where, True)
    for least, factor in ((1e17, 1e-3), (1e14, 1.0), (1e11, 1e3), (3e8, 1e6)):
        if whole and middle >= least:
            since = np.rint(values * factor).astype(np.int64).astype("datetime64[us]")
            return Stamps(since, where, zone=True, notes=(f"The numbers in {where} are read as time since 1970, UTC.",))
    return Stamps(values, where)


def _from_text(text: pl.Series, where: str, time_format: str | None) -> Stamps:
    offsets = text.str.contains(r":\d{2}(\.\d+)?\s?" + _OFFSET)
    count = int(offsets.sum())
    if 0 < count < len(text):
        with_, without = int(offsets.arg_true()[0]), int((~offsets).arg_true()[0])
        raise DataError(
            f"The {where} mixes times with and without an offset from universal time ({text[with_]!r} in row "
            f"{with_ + 1:,}, {text[without]!r} in row {without + 1:,}). Give all of them the same way."
        )
    notes: tuple[str, ...] = ()
    if count:
        ends = text.str.extract(_OFFSET, 1).unique()
        text = text.str.replace("Z$", "+0000").str.replace(r"\s?([+-]\d{2}):?(\d{2})$", "${1}${2}")
        if len(ends) > 1:
            shown = ", ".join(sorted(ends.to_list())[:4])
            notes = (f"The {where} has several offsets from universal time ({shown}): all times are UTC from here on.",)
    made, unread = _parsed(text, time_format, offset=bool(count))
    if made is None:
        expected = f"--time-format {time_format!r}" if time_format else "--time-format, as '%d.%m.%Y %H:%M', says how"
        raise DataError(f"The {where} has a time stamp that can't be read: {text[unread]!r} in row {unread + 1:,}; "
                        f"{expected}{' does not fit it' if time_format else ''}.")  # fmt: skip
    return _datetimes(made, where, zone=bool(count), notes=notes)


def _parsed(text: pl.Series, time_format: str | None, offset: bool = False) -> tuple[pl.Series | None, int]:
    """The stamps, or None and the row that the best format can't read."""
    tail = "%z" if offset else ""
    if time_format is None and not offset and text.str.contains(_QUARTER).all():
        quarters = text.str.extract(_QUARTER, 2).cast(pl.Int32)
        months = (quarters * 3 - 2).cast(pl.String).str.zfill(2)
        return (text.str.extract(_QUARTER, 1) + "-" + months + "-01").str.to_datetime("%Y-%m-%d"), 0
    readings: list[tuple[str, pl.Series]] = []
    failing, fewest = 0, len(text) + 1
    for form in (time_format,) if time_format else (*FORMATS, *MONTHS):
        made = read_as(text, form, tail)
        lost = made.null_count()
        if lost == 0:
            readings.append((form, made))
        elif lost < fewest:
            failing, fewest = int(made.is_null().arg_true()[0]), lost
    if not readings:
        return None, failing
    if len(readings) > 1:  # day or month first: the one in which time goes forward evenly
        readings.sort(key=lambda reading: _unevenness(reading[1]))
    return readings[0][1], 0


def read_as(text: pl.Series, form: str, tail: str = "") -> pl.Series:
    """The stamps in this format, with `tail` behind a time of day; null where a cell is in another."""
    nothing = pl.Series(text.name, [None] * len(text), pl.Datetime("us"))
    try:
        if form in MONTHS:
            return nothing if tail else ("1 " + text).str.to_datetime("%d " + form, strict=False, time_unit="us")
        if "%H" not in form:
            return nothing if tail else text.str.to_date(form, strict=False).cast(pl.Datetime("us"))
        made = text.str.to_datetime(form + tail, strict=False, time_unit="us")
        return made.dt.replace_time_zone(None) if tail else made
    except pl.exceptions.PolarsError:
        return nothing


def _unevenness(stamps: pl.Series) -> tuple[float, int]:
    apart = np.diff(stamps.to_numpy().astype("datetime64[us]").astype(np.int64))
    if not len(apart):
        return 0.0, 0
    return float((apart < 0).mean()), len(np.unique(apart))
