"""Labelled sequences from every layout, and what is wrong with them said in a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from carousel.data.labelled import layout_of, read_labelled
from carousel.data.ragged import Ragged, Vocabulary
from carousel.data.splits import draw, in_name, without_split
from carousel.errors import DataError, UsageError

NAMES = ["Abel", "Bohr", "Curie", "Dirac", "Euler", "Fermi", "Gauss", "Hilbert", "Ising", "Jacobi", "Kelvin", "Laue"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(path: str, rows: list[tuple[str, str]], header: str = "name,field\n") -> str:
    Path(path).write_text(header + "".join(f"{a},{b}\n" for a, b in rows))
    return path


ROWS = [(name, "physics" if place % 2 else "mathematics") for place, name in enumerate(NAMES)]


def test_csv_and_parquet() -> None:
    csv = table("a.csv", ROWS, "id,name,field\n".replace("id,", ""))
    read = read_labelled([csv])
    assert (read.layout, read.texts, read.labels[:2]) == ("table", NAMES, ["mathematics", "physics"])
    assert read.columns == {"text_column": "name", "label_column": "field", "split_column": None}
    pl.DataFrame({"year": [1900 + i for i in range(12)], "who": NAMES, "label": [0, 1] * 6}).write_parquet("a.parquet")
    read = read_labelled(["a.parquet"])
    assert (read.columns["text_column"], read.columns["label_column"]) == ("who", "label")
    assert set(read.labels) == {"0", "1"}


def test_csv_without_header_and_in_another_encoding() -> None:
    Path("plain.tsv").write_bytes("".join(f"{b}\tGödel {a}\n" for a, b in ROWS).encode("latin-1"))
    assert read_labelled(["plain.tsv"], encoding="latin-1").texts[0] == "Gödel Abel"
    assert layout_of(["plain.tsv"]) == "table"
    with pytest.raises(DataError, match=r"not valid utf-8.*--encoding latin-1"):
        read_labelled(["plain.tsv"])


def test_split_column_and_split_files() -> None:
    rows = [f"{name},{field},{'valid' if place > 8 else 'train'}\n" for place, (name, field) in enumerate(ROWS)]
    Path("a.csv").write_text("name,field,split\n" + "".join(rows))
    assert read_labelled(["a.csv"]).splits == ["train"] * 9 + ["dev"] * 3
    with pytest.raises(DataError, match=r"'mathematics' in the column 'field' \(--split-column\)|'physics' in"):
        read_labelled(["a.csv"], split="field", text="name", label="split")
    for part in ("train", "dev", "test"):
        Path(f"x.{part}.tsv").write_text("".join(f"{b}\t{a}\n" for a, b in ROWS))
    assert set(read_labelled(["x.train.tsv", "x.dev.tsv", "x.test.tsv"]).splits) == {"train", "dev", "test"}


def test_lines_with_a_label() -> None:
    Path("some.train").write_text("".join(f"{place % 3} the word {name}\n" for place, name in enumerate(NAMES)))
    read = read_labelled(["some.train"])
    assert (read.layout, read.labels[:3], read.texts[0]) == ("lines", ["0", "1", "2"], "the word Abel")
    assert set(read.splits) == {"train"}
    Path("fast").write_text("".join(f"__label__{b} {a} and more\n" for a, b in ROWS))
    assert set(read_labelled(["fast"]).labels) == {"mathematics", "physics"}


def test_a_file_or_a_folder_for_each_class() -> None:
    for label in ("greek", "latin"):
        Path(label).mkdir()
        Path(f"lists-{label}.txt").write_text("".join(f"{label[0]}{name}\n" for name in NAMES))
        for name in NAMES[:3]:
            Path(label, f"{name}.txt").write_text(f"a text\nof {name}\n")
    read = read_labelled(["lists-*.txt"])
    assert (read.layout, len(read.texts), set(read.labels)) == ("files", 24, {"lists-greek", "lists-latin"})
    Path("folder").mkdir()
    for label in ("greek", "latin"):
        Path(label).rename(f"folder/{label}")
    read = read_labelled(["folder"])
    assert (read.layout, set(read.labels), read.texts[0]) == ("folders", {"greek", "latin"}, "a text\nof Abel")
    Path("same.pos").write_text("good and so on\n" * 2 + "\n".join(f"good {n}" for n in NAMES))
    Path("same.neg").write_text("\n".join(f"bad {n}" for n in NAMES))
    assert set(read_labelled(["same.pos", "same.neg"]).labels) == {"pos", "neg"}


def test_prose_code_and_numbers_are_no_labelled_sequences() -> None:
    Path("book-one.txt").write_text("It was a dark night.\n\nThe rain fell.\n" * 20)
    Path("book-two.txt").write_text("Call me what you like.\n\nSome years ago.\n" * 20)
    Path("series.csv").write_text("date,load\n" + "".join(f"2020-01-{d:02},{d * 0.5}\n" for d in range(1, 29)))
    Path("part1.txt").write_text("\n".join(NAMES))
    Path("part2.txt").write_text("\n".join(NAMES))
    for sources in (["book-one.txt", "book-two.txt"], ["series.csv"], ["part1.txt", "part2.txt"], ["nothing"]):
        assert layout_of(sources) is None, sources


def refused(words: str, *sources: str, **options: str) -> None:
    with pytest.raises((DataError, UsageError), match=words) as caught:
        read_labelled(sources, **options)
    assert "\n" not in str(caught.value)


def test_bad_input() -> None:
    good = table("good.csv", ROWS)
    refused(r"no column 'feild' \(--label-column\). Did you mean 'field'", good, label="feild")
    refused(r"no column 'nmae' \(--text-column\). Did you mean 'name'", good, text="nmae")
    refused("One sequence has no label.*row 2.*Give it a label", table("a.csv", [ROWS[0], ("Noether", ""), *ROWS * 2]))
    refused("2 sequences have no label; the first.*row 1", table("b.csv", [("A", "nan"), ("B", "NaN"), *ROWS]))
    refused("All 12 sequences have the label 'x'", table("c.csv", [(name, "x") for name in NAMES]), label="field")
    Path("empty.csv").touch()
    refused("is empty", "empty.csv")
    refused("header but no rows", table("d.csv", []))
    Path("texts.txt").write_text("one\ntwo\nthree\n")
    Path("labels.txt").write_text("a\nb\n")
    refused('"texts.txt" has 3 lines and "labels.txt" 2', "texts.txt", "labels.txt")
    refused("12 different ones for 12 sequences", table("e.csv", [(n, n.upper()) for n in NAMES]), label="field")
    Path("broken.txt").write_text("0 fine\n1 fine\nnot\n0 fine\n")
    refused("No labels were found", "broken.txt")


def test_empty_sequences_are_left_out_and_told() -> None:
    read = read_labelled([table("a.csv", [*ROWS, ("", "physics")])])
    assert len(read.texts) == 12
    assert read.notes == ['1 empty sequence was left out, that of "a.csv", row 13.']


def test_draw_is_stratified_keeps_equal_ones_together_and_leaves_a_class_its_last() -> None:
    classes = np.repeat([0, 1, 2, 3], [600, 300, 99, 1])
    groups = [f"{c}-{i // 3}" for i, c in enumerate(classes)]
    held = draw(classes, groups, np.ones(1000, bool), 0.2, 0)
    for number, size in ((0, 600), (1, 300), (2, 99)):
        assert abs(held[classes == number].sum() - 0.2 * size) <= 3
    assert not held[classes == 3].any()
    by_group = {}
    for group, out in zip(groups, held.tolist(), strict=True):
        assert by_group.setdefault(group, out) == out
    assert np.array_equal(held, draw(classes, groups, np.ones(1000, bool), 0.2, 0))
    assert not np.array_equal(held, draw(classes, groups, np.ones(1000, bool), 0.2, 1))
    assert not draw(classes, groups, np.ones(1000, bool), 0.0, 0).any()


def test_names_of_parts() -> None:
    assert in_name("en_ewt-ud-dev.conllu") == "dev"
    assert in_name("TREC.train.all") == "train"
    assert in_name("contest.txt") is None
    assert without_split("stsa.binary.train") == "stsa.binary"


def test_vocabulary_and_ragged() -> None:
    vocabulary = Vocabulary.choose(["to be or not to be"], "word", min_count=2)
    assert vocabulary.symbols == ("<unk>", "to", "be")
    assert vocabulary.encode("to sleep").tolist() == [1, 0]
    assert Vocabulary.from_dict(vocabulary.to_dict()) == vocabulary
    some = Ragged.of([[1], [], [2, 3]])
    assert some.padded(np.array([2, 1, 0]), -1).tolist() == [[2, -1, 1], [3, -1, -1]]
    with pytest.raises(DataError, match="no vocabulary"):
        Vocabulary.from_dict({"level": "char"})
