"""Tables of examples: what is found in them, what is said about it, and a sentence for what can't be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from carousel.data.leakage import telling
from carousel.data.rows import Rows, looks_like_rows, read_rows
from carousel.errors import DataError, UsageError

TABULAR = Path(__file__).parents[3] / "shared" / "data" / "tabular"
RANDOM = np.random.default_rng(0)
WIDTH = RANDOM.normal(5, 1, 200).round(2)
KIND = np.where(WIDTH + RANDOM.normal(0, 1, 200) > 5, "oak", "elm")
STATE = RANDOM.bit_generator.state


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    RANDOM.bit_generator.state = STATE  # each test draws the same, whichever ran before


def write(text: str, name: str = "t.csv", encoding: str = "utf-8") -> list[str]:
    Path(name).write_text(text, encoding=encoding)
    return [name]


def table(name: str = "t.csv", **columns: Any) -> list[str]:
    """A file with these columns, and before the last `width` and behind it `kind` where they are not among them."""
    columns = {"width": WIDTH, **columns} if "width" not in columns else columns
    columns = {**columns, "kind": KIND} if "kind" not in columns else columns
    frame = pl.DataFrame({name: list(values) for name, values in columns.items() if values is not None}, strict=False)
    if name.endswith(".parquet"):
        frame.write_parquet(name)
    else:
        frame.write_csv(name)
    return [name]


def said(rows: Rows) -> str:
    return " ".join(rows.notes)


def kinds(rows: Rows) -> dict[str, str]:
    return {column.name: column.kind for column in rows.columns[:-1]}


# -- the target -------------------------------------------------------------------------------------------------------


def test_classes_and_numbers() -> None:
    rows = read_rows(table())
    assert (rows.target, rows.problem, rows.name, rows.inputs) == ("kind", "classify", "t", ["width"])
    assert rows.why.startswith("the target is 'kind', the last column (--target says otherwise); it has 2 different")
    assert rows.where == "200 rows of t.csv, from 1 number"
    assert rows.labels.tolist() == KIND.tolist()
    assert rows.frame["width"].to_list() == WIDTH.tolist()
    rows = read_rows(table(), target="width")
    assert (rows.problem, rows.frame.schema["width"]) == ("regress", pl.Float64)
    assert np.array_equal(rows.labels, WIDTH)


@pytest.mark.parametrize(
    ("values", "problem", "why"),
    [
        (np.arange(200) % 7 + 3, "classify", "7 different whole numbers: classes (--problem regress otherwise)"),
        (np.arange(200) % 41, "regress", "41 different whole numbers: a number to predict (--problem classify other"),
        (np.arange(200) % 4 + 0.5, "regress", "4 different numbers: a number to predict"),
        (np.arange(200) % 2 + 0.5, "classify", "2 different numbers: classes (--problem regress otherwise)"),
        ((np.arange(200) % 3).astype(float), "classify", "3 different whole numbers: classes"),
    ],
)  # fmt: skip
def test_what_the_target_is(values: np.ndarray, problem: str, why: str) -> None:
    rows = read_rows(table(quality=values, kind=None))
    assert rows.problem == problem
    assert why in rows.why
    if problem == "classify":
        assert set(rows.labels) == {f"{value:g}" for value in values}
    other = "regress" if problem == "classify" else "classify"
    assert read_rows(table(quality=values, kind=None), problem=other).problem == other


def test_booleans_of_parquet_are_classes() -> None:
    rows = read_rows(table("t.parquet", kind=WIDTH > 5))
    assert (rows.problem, set(rows.labels)) == ("classify", {"true", "false"})


def test_the_target_by_its_name_or_place() -> None:
    rows = read_rows(table(Target=KIND, last=WIDTH**2, kind=None))
    assert rows.target == "Target"
    assert "by its name (--target says otherwise)" in rows.why
    rows = read_rows(table(good=KIND, id=np.arange(200), same=["x"] * 200, kind=None))
    assert rows.target == "good"
    assert "the last column that can be predicted" in rows.why


def test_words_among_numbers_may_be_classes() -> None:
    kind = ["b", *RANDOM.choice(["1", "2"], 199)]
    with pytest.raises(DataError, match=r"row 1: 'b' in the column 'kind' is no number, .* or say --problem classify"):
        read_rows(table(kind=kind))
    assert set(read_rows(table(kind=kind), problem="classify").labels) == {"1", "2", "b"}


def test_rows_without_a_target_are_left_out() -> None:
    kind = [None, "?", *KIND[2:]]
    rows = read_rows(table(kind=kind))
    assert len(rows) == len(rows.splits) == 198
    assert "2 rows without a value of the target 'kind' are left out, the first \"t.csv\", row 1." in said(rows)
    assert rows.place(0) == "t.csv, row 3"


def test_classes_of_signs_are_no_missing_values() -> None:
    rows = read_rows(table(kind=np.where(KIND == "oak", "+", "-")))
    assert set(rows.labels) == {"+", "-"}
    assert len(rows) == 200


def test_odd_classes_are_reported() -> None:
    rows = read_rows(table(kind=["one", *["few"] * 9, *["many"] * 190]))
    assert "A single row of 'one': of such a class nothing can be learned" in said(rows)
    assert "from 1 rows ('one') to 190 ('many'): always answering 'many' is right in 95 % of the rows." in said(rows)


# -- the columns ------------------------------------------------------------------------------------------------------


def test_kinds_of_columns() -> None:
    words = ["the", "river", "runs", "under", "an", "old", "bridge", "at", "night", "slowly"]
    rows = read_rows(
        table(
            color=RANDOM.choice(["red", "green", "blue"], 200),
            day=np.datetime_as_string(np.datetime64("2024-01-01") + RANDOM.integers(0, 365, 200)),
            rooms=RANDOM.integers(1, 5, 200),
            zip_code=RANDOM.choice([10115, 20095, 80331], 200),
            area=RANDOM.choice(["01", "02", "17"], 200),
            story=[" ".join(RANDOM.permutation(words)) for _ in range(200)],
            ticket=[f"A/{n * 17 % 1009}" for n in range(200)],
            number=np.arange(1000, 1200)[::-1],
            customer_id=RANDOM.permutation(10**6)[:200],
            shop_id=RANDOM.choice(10**6, 80)[np.arange(200) % 80],
            unit=["cm"] * 200,
            nothing=[None] * 200,
        )
    )  # fmt: skip
    assert kinds(rows) == {"width": "number", "color": "category", "day": "date", "rooms": "number",
                           "zip_code": "category", "area": "category"}  # fmt: skip
    for words in (
        "'story' (free text, which --kind labelled reads)", "'ticket' (an identifier: all values differ)",
        "'number' (running numbers)", "'customer_id' (an identifier: all values differ)",
        "'shop_id' (an identifier that comes several times: --group-column keeps its rows on one side)",
        "'unit' (always 'cm')", "'nothing' (empty)",
    ):  # fmt: skip
        assert words in said(rows)
    assert "The whole numbers in 'zip_code' are taken for codes" in said(rows)
    assert rows.where == "200 rows of t.csv, from 2 numbers, 3 categories, 1 date"


def test_types_of_parquet() -> None:
    rows = read_rows(
        table(
            "t.parquet",
            color=pl.Series(RANDOM.choice(["red", "blue"], 200), dtype=pl.Categorical),
            digits=RANDOM.choice(["1", "2"], 200),
            on=WIDTH > 4,
            when=pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 7, 18), "1d", eager=True)[:200],
            lasted=pl.Series(RANDOM.integers(1, 90, 200)).cast(pl.Duration("us")),
            pair=[[1, 2]] * 200,
            hollow=[None if n % 4 else 1.5 for n in range(200)],
            broken=np.where(WIDTH > 5, np.nan, WIDTH),
        )
    )
    assert kinds(rows) == {"width": "number", "color": "category", "digits": "category", "on": "category",
                           "when": "date", "lasted": "number", "hollow": "number", "broken": "number"}  # fmt: skip
    assert "'pair' (neither numbers nor text)" in said(rows)
    assert "'hollow' (75 %)" in said(rows)
    assert rows.frame["broken"].null_count() == (WIDTH > 5).sum()


def test_running_numbers_are_kept_where_there_is_nothing_else() -> None:
    assert read_rows(table(width=np.arange(200))).inputs == ["width"]


def test_marks_of_missing_values() -> None:
    width = [("n/a", "?", "-", "NaN", " ")[n] if n < 5 else width for n, width in enumerate(WIDTH)]
    color = ["?", "none", "-", *["red"] * 97, *["blue"] * 100]
    rows = read_rows(table(width=width, color=color))
    assert rows.frame["width"].null_count() == 5
    assert rows.frame["color"].to_list()[:4] == [None, "none", "-", "red"]
    assert "'?' is taken for a missing value: 'width' (1), 'color' (1)." in said(rows)
    assert "'n/a' is taken for a missing value: 'width' (1)." in said(rows)
    assert "Missing values, of which the network is told: 'width' (2.5 %), 'color' (0.5 %)." in said(rows)


@pytest.mark.parametrize("stray", ["1,5", "12 kg", "abc", "3 1"])
def test_text_in_a_column_of_numbers_is_named(stray: str) -> None:
    width = [stray if n in (17, 30) else width for n, width in enumerate(WIDTH)]
    with pytest.raises(DataError) as caught:
        read_rows(table(width=width))
    assert str(caught.value).startswith(
        f"\"t.csv\", row 18: '{stray}' in the column 'width', the first of 2 such cells, is no number, as the others"
    )
    assert read_rows(table(width=width, x=WIDTH), drop=("width",)).inputs == ["x"]
    assert kinds(read_rows(table(width=width), categories=("width",))) == {"width": "category"}


def test_numbers_as_people_write_them() -> None:
    rows = read_rows(
        table(
            weight=[f"{w} kg" for w in WIDTH],
            price=[f"${1000 * w:,.2f}" for w in WIDTH],
            share=[f"{w}%" for w in WIDTH],
            comma=[f"{w:.3f}".replace(".", ",") for w in WIDTH / 10],
            people=[f"{1_000_000 * w:,.0f}" for w in WIDTH],
            infinite=["inf", "-inf", *WIDTH[2:]],
            children=["3+" if n % 9 == 0 else n % 3 for n in range(200)],
        )
    )
    frame = rows.frame
    np.testing.assert_allclose(frame["weight"], WIDTH)
    np.testing.assert_allclose(frame["price"], 1000 * WIDTH)
    np.testing.assert_allclose(frame["share"], WIDTH)
    np.testing.assert_allclose(frame["comma"], WIDTH / 10)
    np.testing.assert_allclose(frame["people"], 1e6 * WIDTH)
    assert frame["infinite"].null_count() == 2
    assert kinds(rows)["children"] == "category"
    for words in (
        "The unit 'kg' beside the numbers of 'weight' is taken off.",
        "The unit '$' beside the numbers of 'price' is taken off.",
        "The comma in 'comma' is read as a decimal point.",
        "The commas in 'people' are read as marks of thousands.",
        "2 infinite values of 'infinite' count as missing.",
    ):
        assert words in said(rows)


@pytest.mark.parametrize(
    ("days", "form"),
    [
        (["2024-02-29", "2023-12-31"], "%Y-%m-%d"),
        (["29.02.2024", "31.12.2023"], "%d.%m.%Y"),
        (["02/29/2024", "12/31/2023"], "%m/%d/%Y"),
        (["20240229", "20231231"], "%Y%m%d"),
        (["Feb 29, 2024", "Dec 31, 2023"], "%b %d, %Y"),
        (["2024-02-29T10:00:00Z", "2023-12-31T23:30:00+02:00"], "%Y-%m-%dT%H:%M:%S%.f"),
    ],
)
def test_dates(days: list[str], form: str) -> None:
    rows = read_rows(table(day=days * 100))
    assert (rows.columns[1].kind, rows.columns[1].form) == ("date", form)
    assert [f"{day:%Y-%m-%d}" for day in rows.frame["day"][:2]] == ["2024-02-29", "2023-12-31"]


def test_dates_that_can_be_read_in_two_ways() -> None:
    rows = read_rows(table(day=["01/02/2024", "03/04/2024"] * 100))
    assert "The dates in 'day' are read as %d/%m/%Y; %m/%d/%Y would fit too." in said(rows)
    with pytest.raises(DataError, match=r"row 7: 'soon' in the column 'day' is no date"):
        read_rows(table(day=["soon" if n == 6 else "2024-01-01" for n in range(200)]))
    with pytest.raises(DataError, match=r"The target 'day' holds dates"):
        read_rows(table(day=["2024-01-01", "2024-01-03"] * 100), target="day")


# -- what makes results look better than they are ---------------------------------------------------------------------


def test_columns_that_tell_the_target() -> None:
    rows = read_rows(table(again=KIND, code=np.where(KIND == "oak", 7, 4)))
    assert "'again' (a copy of the target 'kind')" in said(rows)
    assert "again" not in rows.inputs
    assert "The column 'code' alone tells the target 'kind' almost without a mistake." in said(rows)
    quality = np.arange(200) % 3
    assert read_rows(table(same=[f"{q}.0" for q in quality], quality=quality, kind=None)).inputs == ["width"]
    rows = read_rows(
        table(centimeters=WIDTH * 2.54 + 1, power=WIDTH**9, twice=RANDOM.normal(WIDTH, 0.5)), target="width"
    )
    assert "Each of 'centimeters', 'power' tells the target 'width'" in said(rows)
    assert "twice" not in said(rows)


def test_chance_is_no_leakage() -> None:
    goal = RANDOM.choice(["a", "b"], 1000, p=[0.99, 0.01])
    frame = pl.DataFrame({"x": RANDOM.normal(size=1000), "word": RANDOM.choice(list("pqrs"), 1000), "goal": goal})
    assert telling(frame, "goal") == []
    assert telling(frame.head(20), "goal") == []
    assert telling(frame.with_columns(pl.lit(None, pl.Float64).alias("hollow")), "x") == []


def test_rows_on_both_sides_of_a_split() -> None:
    split = ["train"] * 150 + ["test"] * 50
    width = [*WIDTH[:198], *WIDTH[:2]]
    rows = read_rows(table(width=np.arange(200) + np.array(width), split=split))
    assert rows.splits == split
    assert rows.inputs == ["width"]
    assert "part are in the training part" not in said(rows)
    rows = read_rows(table(width=[*np.arange(198) + 0.5, 0.5, 1.5], split=split))
    assert '2 of 50 rows of the test part are in the training part too, as "t.csv", row 199, and "t.csv", row' in said(
        rows
    )
    assert rows.equal[198] == rows.equal[0] != rows.equal[1]
    rows = read_rows(table(width=[*np.arange(198) + 0.5, 0.5, 1.5]))
    assert "2 rows repeat the inputs of another." in said(rows)
    rows = read_rows(table(width=np.arange(200) % 7))
    assert "193 of 200 rows repeat another, so that equal rows may be trained on and tested." in said(rows)
    assert len(set(rows.equal.tolist())) == 200


def test_splits_groups_and_times() -> None:
    days = [f"2024-01-{n % 28 + 1:02}" for n in range(200)]
    rows = read_rows(table(who=np.arange(200) // 10, day=days), group_column="who", time_column="day")
    assert rows.groups is not None
    assert rows.groups[:11] == ["0"] * 10 + ["1"]
    assert rows.times is not None
    assert rows.times[1] == np.datetime64("2024-01-02")
    assert rows.inputs == ["width"]
    assert rows.splits == [None] * 200
    rows = read_rows(table(year=np.arange(200) + 1800), time_column="year")
    assert rows.times is not None
    assert rows.times.tolist() == list(range(1800, 2000))
    with pytest.raises(DataError, match="holds neither dates nor numbers; --time-column takes one that does"):
        read_rows(table(color=["red", "blue"] * 100), time_column="color")
    with pytest.raises(DataError, match=r"row 2: the time in 'year' is missing"):
        read_rows(table(year=[1, None, *range(198)]), time_column="year")
    table("train.csv"), table("test.csv")
    assert read_rows(["train.csv", "test.csv"]).splits == ["train"] * 200 + ["test"] * 200
    with pytest.raises(DataError, match=r"'fold' .*must say train, dev or test"):
        read_rows(table(fold=["a"] * 200), split_column="fold")
    with pytest.raises(DataError, match=r'"t.csv", row 3: the group in \'who\' is missing'):
        read_rows(table(who=["a", "b", None, *["c"] * 197]), group_column="who")


# -- files ------------------------------------------------------------------------------------------------------------


def test_semicolons_decimal_commas_quotes_and_a_byte_order_mark() -> None:
    lines = [f'{w};"{w:.2f}";"a; ""b"""'.replace(".", ",") + f";{k}" for w, k in zip(WIDTH, KIND, strict=True)]
    rows = read_rows(write("\ufeffwidth;Länge ganz;note;kind\n" + "\n".join(lines) + "\n"))
    assert rows.inputs == ["width", "Länge ganz"]
    np.testing.assert_array_equal(rows.frame["Länge ganz"], WIDTH)
    assert "'note' (always 'a; \"b\"')" in said(rows)
    headless = read_rows(write("\n".join(f"{w:.2f};{2 * w:.2f}".replace(".", ",") for w in WIDTH)))
    np.testing.assert_array_equal(headless.frame["1"], WIDTH)


def test_encodings() -> None:
    text = "Größe,kind\n" + "".join(f"{w},{k}é\n" for w, k in zip(WIDTH, KIND, strict=True))
    for encoding in ("latin-1", "utf-16"):
        rows = read_rows(write(text, encoding=encoding), encoding=encoding)
        assert rows.inputs == ["Größe"]
        assert set(rows.labels) == {"oaké", "elmé"}
    with pytest.raises(DataError, match=r'"t.csv" is not valid utf-8: byte 0xF6.*--encoding latin-1'):
        read_rows(write(text, encoding="latin-1"))


def test_names_of_columns() -> None:
    body = "".join(f"{w},{w**2},{w**3},{w**4},{k}\n" for w, k in zip(WIDTH, KIND, strict=True))
    rows = read_rows(write(f"a, a ,,a,kind\n{body}"))
    assert rows.inputs == ["a", "a (2)", "3", "a (3)"]
    assert "Several columns have the same name; the later ones are called a (2), a (3)." in said(rows)
    rows = read_rows(write(body))
    assert (rows.inputs, rows.target, rows.header) == (["1", "2", "3", "4"], "5", False)
    assert "The first line looks like the others" in said(rows)


def test_several_files_and_empty_lines() -> None:
    write("a,b\n1,x\n\n,\n2,y\n" + "3,x\n4,y\n" * 20, "one.csv")
    write("b,a\nx,5\ny,6\n", "two.csv")
    rows = read_rows(["one.csv", "two.csv"])
    assert rows.frame["a"].to_list()[-2:] == [5, 6]
    assert rows.place(len(rows) - 1) == "two.csv, row 2"
    assert "2 empty rows are left out." in said(rows)
    with pytest.raises(DataError, match=r'"three.csv" does not have the columns of "one.csv": c is in one'):
        read_rows(["one.csv", *write("a,b,c\n1,2,3\n", "three.csv")])


def test_classes_that_another_file_ends_with_a_full_stop() -> None:
    table("train.csv"), table("test.csv", kind=np.char.add(KIND, "."))
    rows = read_rows(["train.csv", "test.csv"])
    assert set(rows.labels) == {"oak", "elm"}
    assert "it has 2 different values" in rows.why
    assert "The full stop behind each class in test.csv is taken off" in said(rows)


BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "empty": ("", {}, "is empty"),
    "header only": ("a,b\n", {}, "has a header but no rows"),
    "one row": ("a,b\n1,x\n", {}, "has one row; to learn takes many"),
    "blank rows": ("a,b\n,\n,\n", {}, "has no rows with anything in them"),
    "one column": ("a\n1\n2\n", {}, "has 1 column beside those with a role"),
    "one class": ("a,b\n1,x\n2,x\n3,x\n", {"target": "b"}, r"The target 'b' is 'x' in all 3 rows"),
    "one number": ("a,b\n1,2.5\n2,2.5\n", {"target": "b"}, r"The target 'b' is 2.5 in all 2 rows"),
    "one class left": ("a,b\n1,x\n2,\n3,\n", {"target": "b"}, r"The target 'b' is 'x' in the only row that has one"),
    "all missing": ("a,b\n1,\n2,?\n", {"target": "b"}, "The target 'b' is empty; name another"),
    "nothing to predict": ("a,b\nx,\nx,?\n", {}, r"has no column that can be predicted: a \(always 'x'\), b \(empty\)"),
    "nothing to predict from": ("a,b\nx,1\nx,2\n", {"target": "b"}, r"has nothing to predict 'b' from: a \(always"),
    "a thousand classes": (
        "a,b\n" + "".join(f"{n * n % 97},w{n}\n" for n in range(1000)) * 2, {"target": "b"},
        None,
    ),
    "all classes differ": (
        "a,b\n" + "".join(f"{n * n % 97},w{n}\n" for n in range(1000)), {"target": "b"},
        "The target 'b' has 1,000 different values in 1,000 rows: too many to be classes",
    ),
    "more classes": (
        "a,b\n" + "".join(f"{n * n % 97},w{n}\n" for n in range(1001)) * 2, {"target": "b"},
        "The target 'b' has 1,001 different values in 2,002 rows: too many",
    ),
    "numbers as classes": (
        "a,b\n" + "".join(f"{n * n % 97},{n}.5\n" for n in range(50)), {"problem": "classify"},
        "has 50 different numbers in 50 rows, too many for classes; say --problem regress",
    ),
    "words as numbers": (
        "a,b\n1,2\n2,y\n3,z\n", {"problem": "regress"}, r"row 2: 'y' in the target 'b' is no number",
    ),
    "a row too long": ("a,b\n1,x\n2,y,z\n", {}, r'"t.csv", row 2 has 3 cells, where the first line has 2'),
    "binary": ("a\0b\n" * 9, {}, "is not text but binary data"),
}  # fmt: skip


@pytest.mark.parametrize("case", [case for case in BAD if BAD[case][2]])
def test_bad_data(case: str) -> None:
    text, options, message = BAD[case]
    with pytest.raises(DataError, match=message) as caught:
        read_rows(write(text), **options)
    assert "\n" not in str(caught.value)


def test_a_thousand_classes() -> None:
    text, options, _ = BAD["a thousand classes"]
    assert "it has 1,000 different values: classes" in read_rows(write(text), **options).why


def test_bad_requests() -> None:
    with pytest.raises(UsageError, match=r"--target names the column 'knid', .* Did you mean 'kind'\?"):
        read_rows(table(), target="knid")
    for option, value in (("drop", ("x",)), ("categories", ("x",)), ("group_column", "x"), ("split_column", "x")):
        with pytest.raises(UsageError, match="names the column 'x', which the table does not have"):
            read_rows(table(), **{option: value})
    with pytest.raises(UsageError, match="'kind' is named in --target and in --drop; it can have one role"):
        read_rows(table(), target="kind", drop=("kind",))
    with pytest.raises(UsageError, match=r"There is no file nothing\.csv"):
        read_rows(["nothing.csv"])
    with pytest.raises(UsageError, match="There is no text encoding"):
        read_rows(table(), encoding="utf-9")


def test_few_rows_are_said() -> None:
    rows = read_rows(write("a,b\n1,x\n2,y\n3,x\n"))
    assert "There are 3 rows only" in said(rows)


def test_what_looks_like_rows() -> None:
    assert looks_like_rows(table()) == "a table of examples with 2 columns"
    assert looks_like_rows(table("t.parquet"))
    assert looks_like_rows(write("Größe,b\n1,x\n", encoding="latin-1"))
    assert looks_like_rows(write("a\n1\n")) is None
    assert looks_like_rows(write("", "e.csv")) is None
    assert looks_like_rows(write("some words\n", "t.txt")) is None
    assert looks_like_rows(["nothing.csv"]) is None
    Path("folder").mkdir()
    table("folder/a.csv"), table("folder/b.csv")
    assert looks_like_rows(["folder"])
    write("some words\n", "folder/t.txt")
    assert looks_like_rows(["folder"]) is None


@pytest.mark.skipif(not TABULAR.is_dir(), reason="needs the shared tables")
def test_known_tables() -> None:
    adult = read_rows([TABULAR / "adult-train.csv", TABULAR / "adult-test.csv"])
    assert (len(adult), adult.problem, sorted(set(adult.labels))) == (48_842, "classify", ["<=50K", ">50K"])
    assert list(kinds(adult).values()).count("number") == 6
    assert adult.splits.count("test") == 16_281
    housing, iris, wine = (read_rows([TABULAR / f"{name}.csv"]) for name in ("housing", "iris", "wine"))
    assert (len(housing), housing.problem, len(housing.inputs)) == (506, "regress", 13)
    assert (len(iris), iris.problem, len(set(iris.labels))) == (150, "classify", 3)
    assert (len(wine), wine.problem, sorted(set(wine.labels))) == (178, "classify", ["1", "2", "3"])
