"""Rows as inputs and targets: scales, logarithms, missing and rare values, and rows to predict for."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from carousel.data.row_encoding import Encoding, read_rows_to_predict
from carousel.data.rows import read_rows
from carousel.errors import DataError

N = 300
RANDOM = np.random.default_rng(1)
WIDTH = RANDOM.normal(5, 2, N)
INCOME = np.exp(RANDOM.normal(0, 1.5, N))
COLOR = RANDOM.choice(["red", "green", "blue"], N, p=[0.6, 0.3, 0.1])
DAYS = np.datetime64("2020-02-01") + RANDOM.integers(0, 1400, N)
PRICE = WIDTH * 3 + RANDOM.normal(size=N)
STATE = RANDOM.bit_generator.state


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    RANDOM.bit_generator.state = STATE  # each test draws the same, whichever ran before


def table(name: str = "t.csv", **columns: object) -> list[str]:
    pl.DataFrame(columns, strict=False).write_csv(name)
    return [name]


def test_numbers_are_scaled_by_the_training_rows_alone() -> None:
    rows = read_rows(table(width=WIDTH, income=INCOME, price=PRICE))
    train = np.arange(0, N, 2)
    encoding = Encoding.learn(rows, train)
    found = encoding.inputs(rows.frame).numbers
    assert found.dtype == np.float32
    assert encoding.names == ["width", "income"]
    np.testing.assert_allclose(found[:, 0], (WIDTH - WIDTH[train].mean()) / WIDTH[train].std(), rtol=1e-5, atol=1e-6)
    log = np.log1p(INCOME)
    np.testing.assert_allclose(found[:, 1], (log - log[train].mean()) / log[train].std(), rtol=1e-5, atol=1e-6)
    assert encoding.notes == ["By their logarithm, log(1 + x), since few values are far above the others: 'income'."]
    targets = encoding.targets(rows.frame)
    assert (targets.shape, targets.dtype) == ((N, 1), np.float32)
    np.testing.assert_allclose(targets[train].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(targets[train].std(), 1, rtol=1e-5)
    np.testing.assert_allclose(encoding.restored(targets)[:, 0], PRICE, rtol=1e-5, atol=1e-5)


def test_negative_numbers_have_a_logarithm_too() -> None:
    rows = read_rows(table(income=INCOME, price=PRICE))
    encoding = Encoding.learn(rows, np.arange(N))
    (number,) = encoding.numbers
    found = encoding.inputs(pl.DataFrame({"income": [-3.0, 0.0, 3.0]})).numbers[:, 0] * number.deviation + number.mean
    np.testing.assert_allclose(found, [-np.log(4), 0, np.log(4)], atol=1e-6)


def test_numbers_of_any_size() -> None:
    rows = read_rows(table(huge=WIDTH * 1e300, tiny=WIDTH * 1e-300, same=[0.1, None] * (N // 2), price=PRICE * 1e250))
    encoding = Encoding.learn(rows, np.arange(N))
    found = encoding.inputs(rows.frame).numbers
    for column in (0, 1):
        np.testing.assert_allclose(found[:, column], (WIDTH - WIDTH.mean()) / WIDTH.std(), rtol=1e-4, atol=1e-5)
    assert set(found[:, 2]) <= {0.0, np.float32(1e-17)}
    np.testing.assert_allclose(encoding.targets(rows.frame).std(), 1, rtol=1e-5)


def test_missing_numbers_are_flagged() -> None:
    width = np.where(np.arange(N) % 10 == 3, np.nan, WIDTH)
    rows = read_rows(table(width=[None if np.isnan(w) else w for w in width], income=INCOME, price=PRICE))
    encoding = Encoding.learn(rows, np.arange(N))
    assert encoding.names == ["width", "income", "width is missing"]
    found = encoding.inputs(rows.frame)
    np.testing.assert_array_equal(found.numbers[:, 2], np.isnan(width))
    assert (found.numbers[np.isnan(width), 0] == 0).all()
    np.testing.assert_allclose(found.numbers[~np.isnan(width), 0].std(), 1, rtol=1e-5)
    more = encoding.inputs(pl.DataFrame({"width": [1.0], "income": [None]}, schema_overrides={"income": pl.Float64}))
    assert more.numbers[0, 1] == 0
    assert more.notes == ["'income' is missing in 1 rows, but never was in training: its mean stands there."]


def test_categories_rare_unseen_and_missing() -> None:
    color = [*["mauve"] * 2, *[None] * 5, *COLOR[7:]]
    rows = read_rows(table(color=color, width=WIDTH, price=PRICE))
    encoding = Encoding.learn(rows, np.arange(N))
    (category,) = encoding.categories
    assert category.values == ("", "blue", "green", "red")
    assert encoding.slots == (5,)
    assert encoding.notes == ["Values in fewer than 3 training rows share one slot: 'color' (1)."]
    found = encoding.inputs(rows.frame)
    assert found.categories.dtype == np.int64
    assert found.categories[:7, 0].tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert [category.values[slot - 1] for slot in found.categories[7:, 0]] == COLOR[7:].tolist()
    some = encoding.inputs(pl.DataFrame({"width": [1.0] * 4, "color": ["pink", "pink", "red", "lime"]}))
    assert some.categories[:, 0].tolist() == [0, 0, 4, 0]
    assert some.notes == [
        "Values of 'color' that were never or hardly ever trained on: 'pink' (2), 'lime' (1)."
    ]  # fmt: skip


def test_numbers_of_another_table_are_told() -> None:
    encoding = Encoding.learn(read_rows(table(width=WIDTH, income=INCOME, price=PRICE)), np.arange(N))
    same, other = WIDTH[:9], [*WIDTH[:4], *WIDTH[4:9] + 1000 * WIDTH.std()]
    assert encoding.inputs(pl.DataFrame({"width": same, "income": INCOME[:9]})).notes == []
    (note,) = encoding.inputs(pl.DataFrame({"width": other, "income": INCOME[:9]})).notes
    assert note.startswith("Most values of 'width' are more than 10 deviations from the mean of training")


def test_dates_are_year_month_and_weekday() -> None:
    rows = read_rows(table(day=DAYS.astype(str), price=PRICE))
    encoding = Encoding.learn(rows, np.arange(N))
    assert encoding.names == ["day: year"]
    assert [category.name for category in encoding.categories] == ["day: month", "day: weekday"]
    assert encoding.slots == (13, 8)
    some = encoding.inputs(pl.DataFrame({"day": [datetime(2021, 3, 7)]}))
    assert some.categories.tolist() == [[3, 7]]  # a Sunday
    (year,) = encoding.numbers
    np.testing.assert_allclose(some.numbers[0, 0] * year.deviation + year.mean, 2021, rtol=1e-6)
    hours = DAYS.astype("datetime64[s]") + RANDOM.integers(0, 24, N) * 3600
    rows = read_rows(table(day=hours.astype(str), price=PRICE))
    assert [c.part for c in Encoding.learn(rows, np.arange(N)).categories] == ["month", "weekday", "hour"]


def test_classes_are_those_of_all_rows() -> None:
    rows = read_rows(table(width=WIDTH, size=np.where(WIDTH > 5, 10, 9), kind=["2"] * 100 + ["10"] * 160 + ["b"] * 40))
    encoding = Encoding.learn(rows, np.arange(100, 200))
    assert encoding.classes == ("2", "10", "b")
    assert encoding.targets(rows.frame)[[0, 100, 299]].tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="Row 2 has the class 'c', which is none of those trained on"):
        encoding.targets(pl.DataFrame({"kind": ["b", "c"]}))


def test_columns_that_are_the_same_in_all_training_rows() -> None:
    rows = read_rows(table(flag=np.arange(N) > 200, width=WIDTH, price=PRICE))
    encoding = Encoding.learn(rows, np.arange(200))
    assert encoding.slots == ()
    assert encoding.notes == ["Left out, since the training part has one value of them: 'flag'."]
    rows = read_rows(table(flag=np.arange(N) > 200, price=PRICE))
    with pytest.raises(DataError, match="Every column is the same in all training rows"):
        Encoding.learn(rows, np.arange(200))


def test_as_json() -> None:
    rows = read_rows(table(day=DAYS.astype(str), color=COLOR, width=[*WIDTH[1:], None], kind=COLOR == "red"))
    encoding = Encoding.learn(rows, np.arange(N))
    again = Encoding.from_dict(json.loads(json.dumps(encoding.to_dict())))
    assert again == encoding
    for one, other in zip(encoding.inputs(rows.frame), again.inputs(rows.frame), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(DataError, match="no encoding of a table"):
        Encoding.from_dict({"columns": []})


# -- rows to predict for ----------------------------------------------------------------------------------------------


def trained(**columns: object) -> Encoding:
    rows = read_rows(table(**{"width": WIDTH, "color": COLOR, "constant": ["x"] * N, "price": PRICE, **columns}))
    return Encoding.learn(rows, np.arange(N))


def test_rows_to_predict_for() -> None:
    encoding = trained()
    table("new.csv", note=["a", "b"], color=["red", None], width=["3", "?"])
    found = read_rows_to_predict(Path("new.csv"), encoding)
    assert found.frame.columns == ["width", "color"]
    assert found.frame["width"].to_list() == [3, None]
    assert found.truth is None
    assert found.notes == ["Not used: 'note'."]
    inputs = encoding.inputs(found.frame)
    assert inputs.numbers[1].tolist() == [0]
    assert len(inputs.notes) == 2
    table("new.csv", color=["red", "blue"], width=["3", "4"], price=["7", "?"])
    found = read_rows_to_predict(Path("new.csv"), encoding)
    np.testing.assert_array_equal(found.truth, [7, np.nan])
    assert found.notes == []


def test_rows_as_they_were_written_in_training() -> None:
    encoding = trained(width=[f"{w:.2f} kg".replace(".", ",") for w in WIDTH], kind=COLOR == "red")
    table("new.csv", width=["3,5 kg", "-0,25 kg"], color=["red", "blue"], price=[1, 2], kind=["True", "None"])
    found = read_rows_to_predict(Path("new.csv"), encoding)
    assert found.frame["width"].to_list() == [3.5, -0.25]
    table("new.csv", width=["3.5", "-0.25"], color=["red", "blue"], price=[1, 2])
    assert read_rows_to_predict(Path("new.csv"), encoding).frame["width"].to_list() == [3.5, -0.25]
    pl.DataFrame({"width": [3.5, 2], "color": ["red", "blue"], "price": [1, 2]}).write_parquet("new.parquet")
    assert read_rows_to_predict(Path("new.parquet"), encoding).frame["width"].to_list() == [3.5, 2]


def test_truth_of_classes_and_rows_without_a_header() -> None:
    lines = [f"{w},{c}" for w, c in zip(WIDTH, COLOR, strict=True)]
    Path("t.csv").write_text("\n".join(lines))
    encoding = Encoding.learn(read_rows(["t.csv"]), np.arange(N))
    Path("new.csv").write_text("1.5,red\n")
    found = read_rows_to_predict(Path("new.csv"), encoding)
    assert (found.frame["1"].to_list(), found.truth) == ([1.5], ["red"])
    Path("new.csv").write_text("1.5\n2.5\n")
    found = read_rows_to_predict(Path("new.csv"), encoding)
    assert (found.frame["1"].to_list(), found.truth) == ([1.5, 2.5], None)


def test_classes_that_are_written_in_another_way() -> None:
    encoding = Encoding.learn(read_rows(table(width=WIDTH, kind=np.arange(N) % 2)), np.arange(N))
    table("new.csv", width=[1, 2, 3, 4], kind=["1.0", "0.", "3", None])
    assert read_rows_to_predict(Path("new.csv"), encoding).truth == ["1", "0", "3", None]
    pl.DataFrame({"width": [1.0, 2.0], "kind": [1.0, None]}).write_parquet("new.parquet")
    assert read_rows_to_predict(Path("new.parquet"), encoding).truth == ["1", None]


def test_rows_that_can_not_be_predicted_for() -> None:
    encoding = trained()
    table("new.csv", note=["a", "b"], color=["red", None])
    with pytest.raises(
        DataError, match=r'"new.csv" lacks the column \'width\', which .* columns are \'note\', \'color\''
    ):
        read_rows_to_predict(Path("new.csv"), encoding)
    table("new.csv", width=["1", "wide"], color=["red", None])
    with pytest.raises(DataError, match=r"row 2: 'wide' in the column 'width' is no number, as the training data have"):
        read_rows_to_predict(Path("new.csv"), encoding)
    Path("new.csv").write_text("width,color\n")
    with pytest.raises(DataError, match="has a header but no rows"):
        read_rows_to_predict(Path("new.csv"), encoding)
