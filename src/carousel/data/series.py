"""Series of numbers over time: read from tables, laid on a regular grid, gaps filled or cut out, everything said."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from carousel.data.clock import JITTER, Clock, find_clock
from carousel.data.number_tables import TABLE_SUFFIXES, column_named, digest_of, find_tables, numbers, scan, sniff
from carousel.data.stamps import find_time_columns, read_stamps
from carousel.errors import CarouselError, DataError, UsageError

__all__ = ["MAX_GAP", "Piece", "Roles", "Series", "looks_like_series", "read_series"]

MAX_GAP = 6
"""Missing values of a target in a row that are filled in, if nothing else is said."""
HEAD = 1000
NAMES = ("target", "y", "value", "ot", "demand", "load", "sales", "passengers")
"""Of a column that is the target if none is named."""


@dataclass(frozen=True)
class Roles:
    """Which columns are what; `past` None for all other columns of numbers."""

    targets: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    past: tuple[str, ...] | None = None
    time: str | None = None
    group: str | None = None


@dataclass(frozen=True, eq=False)
class Piece:
    """A stretch of one series without long gaps.

    Args:
        group: its number among the series' groups.
        begin: place of its first row on the grid.
        values: (rows, columns) targets, then past and known covariates; NaN where nothing is known. Behind the last
            value of the targets there may be rows that hold known covariates only.
        observed: (rows, columns) bool, where the file has a value.
        ends: rows up to the last value of the targets.
    """

    group: int
    begin: int
    values: NDArray[np.float64]
    observed: NDArray[np.bool_]
    ends: int


@dataclass(frozen=True, eq=False)
class Series:
    """One or several series on a regular grid."""

    name: str
    files: list[Path]
    digest: str
    clock: Clock
    where: str
    """The time column in words."""
    roles: Roles
    groups: list[str]
    pieces: list[Piece]
    rows: int
    notes: list[str] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """Targets, past covariates, known covariates: the order of a piece's columns."""
        return [*self.roles.targets, *(self.roles.past or ()), *self.roles.known]

    def describe(self) -> str:
        """The series in a line."""
        first = min(piece.begin for piece in self.pieces)
        last = max(piece.begin + len(piece.values) - 1 for piece in self.pieces)
        begin, end = self.clock.text(np.array([first, last]))
        file = f"{self.files[0].name}" + (f" and {len(self.files) - 1} more" if len(self.files) > 1 else "")
        apart = "" if self.clock.unit == "row" else f", {self.clock.step_text()} apart, {begin} to {end} ({self.where})"
        groups = f", {len(self.groups)} series by {self.roles.group!r}" if self.roles.group else ""
        covariates = f" from {_few(self.roles.past or ())}" if self.roles.past else ""
        known = f", with {_few(self.roles.known)} known ahead" if self.roles.known else ""
        return (
            f"series: {self.rows:,} rows of {file}{apart}{groups}; forecasts {_few(self.roles.targets)}{covariates}"
            f"{known}"
        )


def looks_like_series(sources: Iterable[str | os.PathLike[str]]) -> str | None:
    """Why these are files of series, by a look at their first rows; None if they are not."""
    try:
        files = find_tables(sources)
        if not files or any(file.suffix.lower() not in TABLE_SUFFIXES for file in files):
            return None
        head = scan(files[0]).head(HEAD).collect()
    except (CarouselError, pl.exceptions.PolarsError, OSError, UnicodeError):
        return None
    times = find_time_columns(head)
    numeric = [name for name, kind in head.schema.items() if kind.is_numeric() and name not in times]
    text = [name for name, kind in head.schema.items() if not kind.is_numeric() and name not in times]
    wordy = [n for n in text if head[n].dtype == pl.String and (head[n].str.len_chars().mean() or 0) > 20]  # pyright: ignore[reportOperatorIssue]
    if not numeric or wordy or len(head) < 3:
        return None
    if times:
        return f"numbers over time ({', '.join(times)})" if _goes_on(head, times) else None
    return None if text or not _alike(head, numeric) else "columns of numbers"


def _goes_on(head: pl.DataFrame, times: Sequence[str]) -> bool:
    """Whether the stamps mostly go one way; those of examples in any order go both ways."""
    try:
        steps = np.diff(read_stamps(head.drop_nulls(times), times).values).astype(np.float64)
    except DataError:
        return True  # said when it is read
    return min((steps > 0).sum(), (steps < 0).sum()) <= 0.25 * len(steps)


def _alike(head: pl.DataFrame, numeric: Sequence[str]) -> bool:
    """Whether rows are like their neighbors, as in a series, and not examples in any order.

    Asked is von Neumann's ratio of the mean squared difference of neighbors to twice the variance, the median of the
    columns: 1 for any order, near 0 for a smooth series. Tables of many columns are seldom series without a time.
    """
    if head.height < 30:
        return True
    ratios = []
    for name in numeric:
        values = head[name].cast(pl.Float64).drop_nulls().to_numpy()
        values = values[np.isfinite(values)]
        if len(values) > 1 and np.ptp(values) > 0:
            ratios.append(np.square(np.diff(values)).mean() / (2 * values.var()))
    return not ratios or bool(np.median(ratios) < (0.15 if len(numeric) > 3 else 0.5))


def read_series(
    sources: Iterable[str | os.PathLike[str]],
    roles: Roles = Roles(),
    *,
    time_format: str | None = None,
    every: str | None = None,
    duplicates: Literal["refuse", "mean"] = "refuse",
    max_gap: int = MAX_GAP,
    encoding: str = "utf-8",
    settled: bool = False,
) -> Series:
    """Read series from tables.

    Args:
        sources: files, folders, patterns.
        roles: what the columns are; what is not named is found.
        time_format: how stamps are written, as `"%d.%m.%Y %H:%M"`.
        every: a step, as `"1h"` or `"1d"`, over which rows are averaged.
        duplicates: rows with the same stamp are refused, or averaged.
        max_gap: missing values of a target in a row that are filled in; a longer gap cuts the series.
        encoding: of text files.
        settled: the roles are those of a trained network: constant columns are kept.

    Raises:
        UsageError: no such file or column.
        DataError: there is no honest way to read the data as asked; the message says which row or column.
    """
    files = find_tables(sources)
    notes: list[str] = []
    frame, times, numeric = _load(files, roles, encoding, notes, settled)
    if frame.height < 3:
        raise DataError(f"{files[0]} has {frame.height} rows; a series needs more.")
    values = frame.select(numeric).to_numpy().astype(np.float64)
    groups, group_of = _groups(frame, roles.group)
    stamps = read_stamps(frame, times, time_format) if times else None
    rows = frame.height
    del frame
    if stamps:
        notes += stamps.notes
    t = stamps.values if stamps else np.arange(rows)
    row = np.arange(rows)
    if every is not None:
        t, group_of, values, row = _averaged(t, group_of, values, every, bool(stamps))
    order = np.lexsort((t, group_of))
    back = int(((np.diff(t) < np.zeros(1, np.diff(t).dtype)) & (np.diff(group_of) == 0)).sum())
    if back:
        notes.append(f"The rows are not in the order of time ({back:,} steps back); they were sorted.")
    t, group_of, values, row = t[order], group_of[order], values[order], row[order]
    infinite = np.isinf(values)
    if infinite.any():
        named = [f"{name} ({n:,})" for name, n in zip(numeric, infinite.sum(0), strict=True) if n]
        notes.append(f"Infinite values count as missing: {', '.join(named)}.")
        values[infinite] = np.nan
    where = stamps.where if stamps else "the rows' order"
    clock = find_clock(t if stamps else None, group_of, dates=bool(stamps and stamps.dates),
                       zone=bool(stamps and stamps.zone), where=where)  # fmt: skip
    if clock.unit == "row":
        notes.append("No time column was found: the rows count as time, evenly (--time-column says otherwise).")
        places = np.concatenate([np.arange(n) for n in np.bincount(group_of, minlength=len(groups))])
    else:
        places = _on_grid(clock, t, group_of, row, where, notes)
    places, group_of, values = _without_duplicates(places, group_of, values, row, clock, duplicates, notes)
    if not settled:
        roles, values, numeric = _found_roles(roles, values, numeric, notes)
    columns = [*roles.targets, *(roles.past or ()), *roles.known]
    values = values[:, [numeric.index(name) for name in columns]]
    roles = Roles(roles.targets, roles.known, tuple(roles.past or ()), ", ".join(times) or None, roles.group)
    pieces = _pieces(places, group_of, values, roles, max_gap, clock, groups, notes)
    return Series(files[0].stem, files, digest_of(files), clock, where, roles, groups, pieces, rows, notes)


# -- columns ----------------------------------------------------------------------------------------------------------


def _load(
    files: list[Path], roles: Roles, encoding: str, notes: list[str], settled: bool
) -> tuple[pl.DataFrame, list[str], list[str]]:
    """The columns that are needed, the names of the time columns and those of numbers."""
    try:
        return _load_as(files, roles, encoding, notes, settled, typed=True)
    except pl.exceptions.PolarsError:
        pass  # a cell far down is no number: read text, and say which
    try:
        return _load_as(files, roles, encoding, notes, settled, typed=False)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{files[0]} can't be read as a table: {str(error).splitlines()[0]}.") from None


def _load_as(
    files: list[Path], roles: Roles, encoding: str, notes: list[str], settled: bool, *, typed: bool
) -> tuple[pl.DataFrame, list[str], list[str]]:
    scans = [scan(file, encoding, typed=typed) for file in files]
    names = scans[0].collect_schema().names()
    for file, other in zip(files[1:], scans[1:], strict=True):
        different = set(names) ^ set(other.collect_schema().names())
        if different:
            raise DataError(
                f"{file} does not have the columns of {files[0]}: {_few(sorted(different))} is in one of them only."
            )
    head = scans[0].head(HEAD).collect()
    comma = files[0].suffix.lower() not in (".parquet", ".pq") and sniff(files[0], encoding).decimal_comma
    wanted = [column_named(n, names, "--target") for n in roles.targets]
    wanted += [column_named(n, names, "--known") for n in roles.known]
    wanted += [column_named(n, names, "--past") for n in roles.past or ()]
    twice = [n for n in dict.fromkeys(wanted) if wanted.count(n) > 1]
    if twice:
        raise UsageError(f"The column {twice[0]!r} has two roles; name it once, in --target, --known or --past.")
    if roles.time is not None:
        named = roles.time.split(", ") if roles.time not in names else [roles.time]
        times = [column_named(n, names, "--time-column") for n in named]
    else:
        times = find_time_columns(head)
    times = [n for n in times if n not in wanted]
    if roles.group is not None:
        column_named(roles.group, names, "--group-column")
    others = [n for n in names if n not in times and n != roles.group]
    others = [n for n in others if n in wanted] if roles.past is not None and roles.targets else others
    numeric = [n for n in others if n in wanted or _mostly_numbers(head[n], comma)]
    text = [n for n in others if n not in numeric]
    if text:
        notes.append(f"Not used, since they hold no numbers: {_few(text)}.")
    if not numeric:
        raise DataError(f"{files[0]} has no column of numbers beside its time; its columns: {_few(names)}.")
    needed = [*times, *([roles.group] if roles.group else []), *numeric]
    frame = pl.concat([one.select(needed) for one in scans]).collect()
    for name in numeric:
        floats, bad, first = numbers(frame[name], decimal_comma=comma)
        filled = int(frame[name].is_not_null().sum())
        if bad and (bad > 0.05 * filled or bad > 1000):
            raise DataError(
                f"The column {name!r} holds {bad:,} entries that are no numbers, the first {first}. Give a column of "
                "numbers, or mark missing values as NA."
            )
        if bad:
            notes.append(f"{bad:,} entries of {name!r} are no numbers, the first {first}; they count as missing.")
        if not frame[name].dtype.is_float():
            frame = frame.with_columns(floats.alias(name))
    if not typed:
        frame = frame.with_columns(pl.col(n).cast(pl.Float64) for n in times if _mostly_numbers(frame[n].head(HEAD)))
    return frame, times, numeric


def _mostly_numbers(column: pl.Series, comma: bool = False) -> bool:
    if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Boolean)):
        return False
    floats, bad, _ = numbers(column, decimal_comma=comma)
    return bad <= 0.1 * len(floats) and (bad == 0 or floats.is_not_null().any())


def _found_roles(
    roles: Roles, values: NDArray[np.float64], numeric: list[str], notes: list[str]
) -> tuple[Roles, NDArray[np.float64], list[str]]:
    """Targets and covariates, without columns that are constant, empty or only count the rows."""
    named = {*roles.targets, *roles.known, *(roles.past or ())}
    keep, dropped = [], []
    for place, name in enumerate(numeric):
        column = values[:, place]
        some = column[~np.isnan(column)]
        constant = len(some) == 0 or some.min() == some.max()
        counter = place == 0 and len(numeric) > 1 and name not in named and len(some) == len(column) and _counts(column)
        if name in roles.targets and constant:
            what = "is empty" if len(some) == 0 else f"is always {some[0]:g}"
            raise DataError(f"The target {name!r} {what}, so there is nothing to forecast; name another with --target.")
        if constant or counter:
            dropped.append(f"{name} ({'empty' if len(some) == 0 else 'constant' if constant else 'counts the rows'})")
        else:
            keep.append(place)
    if dropped:
        notes.append(f"Left out: {_few(dropped)}.")
    left = [numeric[place] for place in keep]
    if not left:
        raise DataError("No column of numbers is left that changes, so there is nothing to forecast.")
    targets = roles.targets
    if not targets:
        free = [n for n in left if n not in named] or left
        targets = (next((n for n in free if n.lower() in NAMES), free[-1]),)
    past = roles.past
    if past is None:
        past = tuple(n for n in left if n not in targets and n not in roles.known)
    known, past = tuple(n for n in roles.known if n in left), tuple(n for n in past if n in left)
    return Roles(targets, known, past, roles.time, roles.group), values[:, keep], left


def _counts(column: NDArray[np.float64]) -> bool:
    """Whether a column only counts the rows."""
    ordered = np.sort(column)
    return bool(ordered[0] in (0, 1) and (np.diff(ordered) == 1).all())


# -- rows -------------------------------------------------------------------------------------------------------------


def _groups(frame: pl.DataFrame, column: str | None) -> tuple[list[str], NDArray[np.int64]]:
    if column is None:
        return [""], np.zeros(frame.height, np.int64)
    named = frame[column].cast(pl.String)
    if named.null_count():
        row = int(named.is_null().arg_true()[0]) + 1
        raise DataError(f"The group column {column!r} is empty in row {row:,}; every row belongs to a series.")
    groups = named.unique(maintain_order=True).to_list()
    numbered = {name: number for number, name in enumerate(groups)}
    return groups, np.array([numbered[name] for name in named.to_list()], np.int64)


def _averaged(
    t: NDArray[Any], group_of: NDArray[np.int64], values: NDArray[np.float64], every: str, timed: bool
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Rows averaged over steps; missing values are left out of the means."""
    if not timed or t.dtype.kind != "M":
        raise UsageError(f"--every {every} needs a time column with dates or times.")
    columns = {f"v{n}": np.where(np.isfinite(v), v, np.nan) for n, v in enumerate(values.T)}
    try:
        frame = pl.DataFrame({"group": group_of, "t": t.astype("datetime64[us]"), **columns}).fill_nan(None)
        means = frame.group_by("group", pl.col("t").dt.truncate(every)).mean().sort("group", "t")
    except pl.exceptions.PolarsError:
        raise UsageError(f"--every {every!r} is no step; write 15m, 1h, 1d, 1w or 1mo.") from None
    averaged = means.select(list(columns)).fill_null(float("nan")).to_numpy().astype(np.float64)
    stamps = means["t"].to_numpy().astype("datetime64[us]")
    return stamps, means["group"].to_numpy(), averaged, np.arange(means.height)


def _on_grid(
    clock: Clock, t: NDArray[Any], group_of: NDArray[np.int64], row: NDArray[np.int64], where: str, notes: list[str]
) -> NDArray[np.int64]:
    """The place of every stamp; slightly uneven ones are moved."""
    exact = clock.exact(t)
    places = np.rint(exact).astype(np.int64)
    away = np.abs(exact - places)
    if clock.unit in ("month", "workday"):
        away = np.zeros_like(away)
    far = np.flatnonzero(away > JITTER)
    if len(far):
        raise DataError(
            f"{len(far):,} rows lie between the steps of {clock.step_text()} that most rows of {where} are apart, the "
            f"first in row {row[far[0]] + 1:,} ({str(t[far[0]]).replace('T', ' ')}). Say a step, as --every 1h; the "
            "rows in a step are averaged."
        )
    near = int((away > 1e-3).sum())
    if near:
        notes.append(
            f"{near:,} rows were moved onto the grid of {clock.step_text()}, by at most {away.max():.2g} of a step."
        )
    return places


def _without_duplicates(
    places: NDArray[np.int64],
    group_of: NDArray[np.int64],
    values: NDArray[np.float64],
    row: NDArray[np.int64],
    clock: Clock,
    duplicates: str,
    notes: list[str],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    same = (np.diff(places) == 0) & (np.diff(group_of) == 0)
    if not same.any():
        return places, group_of, values
    first = int(np.flatnonzero(same)[0])
    pair = sorted((int(row[first]) + 1, int(row[first + 1]) + 1))
    stamp = clock.text(places[first : first + 1])[0]
    if duplicates == "refuse":
        raise DataError(
            f"Rows {pair[0]:,} and {pair[1]:,} have the same time stamp, {stamp} ({int(same.sum()):,} such rows in "
            "all). Remove one of them, average them with --duplicates mean, or say with --group-column to which of "
            "several series a row belongs."
        )
    begins = np.concatenate([[0], np.flatnonzero(~same) + 1])
    sums, counts = (np.add.reduceat(what, begins, axis=0) for what in (np.nan_to_num(values), ~np.isnan(values)))
    values = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    notes.append(f"{int(same.sum()):,} rows with the time stamp of another were averaged with it.")
    return places[begins], group_of[begins], values


# -- gaps -------------------------------------------------------------------------------------------------------------


def _pieces(
    places: NDArray[np.int64],
    group_of: NDArray[np.int64],
    values: NDArray[np.float64],
    roles: Roles,
    max_gap: int,
    clock: Clock,
    groups: list[str],
    notes: list[str],
) -> list[Piece]:
    """Regular stretches; short gaps are filled, long ones cut."""
    targets = len(roles.targets)
    present = np.asarray(np.isfinite(values[:, :targets]).all(1))
    pieces: list[Piece] = []
    filled = cuts = 0
    first_cut = ""
    for group in range(len(groups)):
        inside = np.flatnonzero(group_of == group)
        seen = inside[present[inside]]
        if not len(seen):
            if len(groups) > 1:
                notes.append(f"The series {groups[group]!r} has no values of its targets and is left out.")
            continue
        apart = np.flatnonzero(np.diff(places[seen]) > max_gap + 1)
        cuts += len(apart)
        if len(apart) and not first_cut:
            first_cut = clock.text(places[seen[apart[:1]]])[0]
        starts, stops = [0, *(apart + 1)], [*(apart + 1), len(seen)]
        for number, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            first, last = int(seen[start]), int(seen[stop - 1])
            tail = inside[-1] if number == len(starts) - 1 else last
            piece = _filled(group, places[first : tail + 1], values[first : tail + 1], targets, roles, last - first)
            filled += int((~piece.observed[: piece.ends, :targets]).sum())
            pieces.append(piece)
    if not pieces:
        raise DataError(f"{_few(roles.targets)} has no values, so there is nothing to forecast.")
    if filled:
        notes.append(
            f"{filled:,} missing values of {_few(roles.targets)} were filled by straight lines (gaps of at most "
            f"{max_gap} steps); no error is counted there, and no forecast begins there."
        )
    if cuts:
        notes.append(
            f"{cuts:,} gaps of more than {max_gap} steps cut the series, the first after {first_cut} "
            f"(--max-gap says otherwise)."
        )
    lost = {
        name: share
        for place, name in enumerate([*(roles.past or ()), *roles.known], targets)
        if (share := float(np.mean(np.concatenate([~p.observed[: p.ends, place] for p in pieces])))) > 0
    }
    if lost:
        shown = _few([f"{name} ({100 * share:.2g} %)" for name, share in lost.items()])
        notes.append(f"Missing values of covariates keep their last value, and the network is told: {shown}.")
    return pieces


def _filled(
    group: int, places: NDArray[np.int64], values: NDArray[np.float64], targets: int, roles: Roles, last: int
) -> Piece:
    """Rows on every place, gaps filled: targets and known covariates by straight lines, past ones with the last."""
    begin, length = int(places[0]), int(places[-1] - places[0]) + 1
    grid = np.full((length, values.shape[1]), np.nan)
    grid[places - begin] = values
    observed = ~np.isnan(grid)
    ends = int(places[last] - begin) + 1
    at = np.arange(length)
    pasts = len(roles.past or ())
    for column in range(values.shape[1]):
        known = observed[:, column]
        if known.all() or not known.any():
            continue
        if targets <= column < targets + pasts:
            latest = np.maximum.accumulate(np.where(known, at, -1))
            grid[:, column] = np.where(latest >= 0, grid[np.maximum(latest, 0), column], np.nan)
        else:
            line = np.interp(at, at[known], grid[known, column], left=np.nan, right=np.nan)
            grid[:, column] = line
    grid[ends:, :targets] = np.nan
    return Piece(group, begin, grid, observed, ends)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
