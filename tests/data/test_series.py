"""Series from tables: what is found, what is filled or cut, and a sentence for what can't be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from carousel.data.clock import Clock
from carousel.data.series import Roles, looks_like_series, read_series
from carousel.errors import DataError, UsageError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def table(*rows: str, head: str = "date,y", name: str = "s.csv") -> list[str]:
    Path(name).write_text("\n".join((head, *rows)) + "\n")
    return [name]


def days(*values: object, start: str = "2024-01-01") -> list[str]:
    first = np.datetime64(start)
    return [f"{first + n},{v}" for n, v in enumerate(values)]


@pytest.mark.parametrize(
    ("stamps", "unit", "step"),
    [
        (["1981-01", "1981-02", "1981-03", "1981-04"], "month", "1 month"),
        (["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"], "month", "1 month"),
        (["1981-Q1", "1981-Q2", "1981-Q3", "1981-Q4"], "month", "3 months"),
        (["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"], "time", "1 day"),
        (["03.01.2024 10:00", "03.01.2024 10:15", "03.01.2024 10:30", "03.01.2024 10:45"], "time", "15 minutes"),
        (["1700000000", "1700003600", "1700007200", "1700010800"], "time", "1 hour"),
        (["2024-03-31T01:00:00+01:00", "2024-03-31T03:00:00+02:00", "2024-03-31T04:00:00+02:00",
          "2024-03-31T05:00:00+02:00"], "time", "1 hour"),
        (["0.0", "0.1", "0.2", "0.3"], "number", "0.1"),
    ],
)  # fmt: skip
def test_stamps(stamps: list[str], unit: str, step: str) -> None:
    series = read_series(table(*(f"{s},{n}" for n, s in enumerate([5, 3, 4, 1]) for s in [stamps[n]]), head="time,y"))
    assert (series.clock.unit, series.clock.step_text()) == (unit, step)
    assert series.roles.targets == ("y",)
    assert [p.ends for p in series.pieces] == [4]


def test_day_or_month_first_is_what_goes_forward_evenly() -> None:
    series = read_series(table("01/02/2024,1", "02/02/2024,3", "03/02/2024,2", "04/02/2024,5"))
    assert series.clock.text(np.array([0, 3])) == ["2024-02-01", "2024-02-04"]


def test_years_parts_and_rows() -> None:
    years = read_series(table("1990,1", "1991,5", "1992,2", "1993,9", head="year,y"))
    assert years.clock.text(np.array([0, 3])) == ["1990", "1993"]
    parts = read_series(table("2024,2,28,23,1", "2024,2,29,0,4", "2024,2,29,1,2", head="year,month,day,hour,y"))
    assert parts.clock.text(np.array([1])) == ["2024-02-29 00:00"]
    rows = read_series(table("1,2", "5,1", "2,2", head="x,y"))
    assert rows.clock.unit == "row"
    assert "the rows count as time" in " ".join(rows.notes)


def test_separator_decimal_comma_and_strays() -> None:
    rows = [f"2024-01-{n:02};{n},5;{'err' if n == 7 else n}" for n in range(1, 31)]
    series = read_series(table(*rows, head="date;a;y"))
    assert series.roles.past == ("a",)
    assert series.pieces[0].values[:2, 1].tolist() == [1.5, 2.5]
    assert "1 entries of 'y' are no numbers, the first 'err' in row 7" in " ".join(series.notes)


def test_parquet_groups_and_working_days() -> None:
    stamps = [d for d in np.arange("2024-01-01", "2024-02-01", dtype="datetime64[D]") if np.is_busday(d)]
    pl.DataFrame(
        {"when": np.array(stamps * 2), "shop": ["a"] * 23 + ["b"] * 23, "y": np.arange(46.0) ** 2}
    ).write_parquet("s.parquet")
    series = read_series(["s.parquet"], Roles(group="shop"))
    assert series.groups == ["a", "b"]
    assert series.clock.unit == "workday"
    assert [p.ends for p in series.pieces] == [23, 23]


def test_gaps_are_filled_or_cut_and_marked() -> None:
    rows = days(1, 2, "NA", 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)
    series = read_series(table(*rows[:5], *rows[8:]), max_gap=2)
    first, second = series.pieces
    assert first.values[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert first.observed[:, 0].tolist() == [True, True, False, True, True]
    assert second.begin == 8
    said = " ".join(series.notes)
    assert "1 missing values of y were filled by straight lines" in said
    assert "1 gaps of more than 2 steps cut the series, the first after 2024-01-05" in said


def test_past_covariates_never_look_ahead() -> None:
    series = read_series(table("2024-01-01,1,1", "2024-01-02,,2", "2024-01-03,9,4", head="date,a,y"))
    assert series.pieces[0].values[:, 1].tolist() == [1, 1, 9]
    assert "covariates keep their last value" in " ".join(series.notes)


def test_sorted_infinite_constant_and_counting() -> None:
    rows = ["2024-01-02,1,7,inf,2", "2024-01-01,2,7,4,1", "2024-01-03,3,7,5,3", "2024-01-04,4,7,5,9"]
    series = read_series(table(*rows, head="date,No,same,a,y"))
    said = " ".join(series.notes)
    assert "not in the order of time (1 steps back); they were sorted" in said
    assert "Infinite values count as missing: a (1)" in said
    assert "No (counts the rows), same (constant)" in said
    assert series.columns == ["y", "a"]
    assert series.pieces[0].values[:, 0].tolist() == [1, 2, 3, 9]


def test_rows_are_averaged_over_steps_and_duplicates() -> None:
    rows = [
        "2024-01-01 00:10,1",
        "2024-01-01 00:50,3",
        "2024-01-01 01:20,5",
        "2024-01-01 02:02,6",
        "2024-01-01 03:40,8",
    ]
    hours = read_series(table(*rows), every="1h")
    assert hours.pieces[0].values[:, 0].tolist() == [2, 5, 6, 8]
    twice = read_series(table(*days(1, 2, 3), "2024-01-02,6"), duplicates="mean")
    assert twice.pieces[0].values[:, 0].tolist() == [1, 4, 3]


def test_a_little_uneven_stamps_are_moved() -> None:
    rows = [f"2024-01-01 {h:02}:{m:02}:00,{h}" for h, m in ((0, 0), (1, 0), (2, 3), (3, 0), (4, 0), (5, 0))]
    assert "1 rows were moved onto the grid of 1 hour" in " ".join(read_series(table(*rows)).notes)


BAD = {
    "two rows at a time": ([*days(1, 2, 3), "2024-01-02,6"], {}, r"Rows 2 and 4 have the same time stamp, 2024-01-02"),
    "zones": (
        ["2024-01-01T00:00:00Z,1", "2024-01-01T01:00:00,2", "2024-01-01T02:00:00Z,3"],
        {},
        r"mixes times with and without an offset .*'2024-01-01T00:00:00Z' in row 1, '2024-01-01T01:00:00' in row 2",
    ),
    "stamp": ([*days(1, 2, 3), "soon,4"], {"roles": Roles(time="date")}, r"can't be read: 'soon' in row 4"),
    "no stamp": (
        [*days(1, 2, 3), ",4"],
        {"roles": Roles(time="date")},
        r"1 time stamps are missing in column 'date', "
        r"the first in row 4",
    ),
    "uneven": (
        [f"{np.datetime64('2024-01-01') + n * n},{n}" for n in range(1, 12)],
        {},
        r"have no regular step.*--every",
    ),
    "between": (
        [
            "2024-01-01 00:00,1",
            "2024-01-01 01:00,1",
            "2024-01-01 01:30,2",
            "2024-01-01 02:00,3",
            "2024-01-01 03:00,3",
            "2024-01-01 04:00,3",
            "2024-01-01 05:00,3",
        ],
        {},
        r"1 rows lie between the steps of "
        r"1 hour .* first in row 3",
    ),
    "constant": (days(5, 5, 5, 5), {"roles": Roles(("y",))}, r"The target 'y' is always 5"),
    "no numbers": (days("a", "b", "c"), {}, r"has no column of numbers"),
    "text": (
        days("1", "b", "c", "d"),
        {"roles": Roles(("y",))},
        r"The column 'y' holds 3 entries that are no numbers, the "
        r"first 'b' in row 2",
    ),
    "short": (days(1, 2), {}, r"has 2 rows; a series needs more"),
    "all missing": (days("NA", "NA", "NA", "NA"), {"roles": Roles(("y",))}, r"'y' is empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data(case: str) -> None:
    rows, options, message = BAD[case]
    with pytest.raises(DataError, match=message):
        read_series(table(*rows), **options)


def test_bad_requests() -> None:
    files = table(*days(1, 2, 4, 3))
    with pytest.raises(UsageError, match=r"--target names the column 'Y', .* Did you mean 'y'\?"):
        read_series(files, Roles(("Y",)))
    with pytest.raises(UsageError, match="two roles"):
        read_series(files, Roles(("y",), known=("y",)))
    with pytest.raises(UsageError, match="is no step"):
        read_series(files, every="often")
    with pytest.raises(UsageError, match=r"There is no file nothing\.csv"):
        read_series(["nothing.csv"])
    Path("empty.csv").write_text("")
    with pytest.raises(DataError, match="is empty"):
        read_series(["empty.csv"])
    with pytest.raises(DataError, match="does not have the columns"):
        read_series([*files, *table(*days(1, 2), head="date,z", name="t.csv")])


def test_what_looks_like_a_series() -> None:
    assert looks_like_series(table(*days(1, 2, 3)))
    assert looks_like_series(table("1,2", "2,3", "5,1", head="a,b"))
    assert not looks_like_series(table("hi,spam", "you,ham", "there,spam", head="text,label"))
    assert not looks_like_series(table("5.1,x", "4.9,y", "5.0,x", head="width,species"))


def test_examples_in_any_order_are_no_series() -> None:
    random = np.random.default_rng(0)
    walk = random.normal(size=(200, 4)).cumsum(0)
    for columns in (2, 4):
        head = ",".join("abcd"[:columns])
        lines = [",".join(map(str, row)) for row in walk[:, :columns]]
        assert looks_like_series(table(*lines, head=head)) == "columns of numbers"
        assert looks_like_series(table(*random.permutation(lines), head=head)) is None
    lines = days(*range(200))
    assert looks_like_series(table(*lines)) == looks_like_series(table(*lines[::-1])) == "numbers over time (date)"
    assert looks_like_series(table(*sorted(lines * 3))) == "numbers over time (date)"
    assert looks_like_series(table(*random.permutation(lines))) is None


def test_calendar_and_places() -> None:
    clock = Clock("time", 0, 3_600_000_000)
    day = clock.calendar(np.arange(24), ["hour"])
    np.testing.assert_allclose(day[6], [1, 0], atol=1e-6)
    assert clock.usual_seasons()[:2] == [24, 168]
    months = Clock("month", 0, 1, day=31)
    assert months.text(np.array([1])) == ["1970-02-28"]
    np.testing.assert_array_equal(months.exact(months.stamps(np.arange(5))), np.arange(5))
