"""CoNLL-U, columns with tabs or blanks, and the line that is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from carousel.data.conll import is_tagged, read_sentences, read_tagged
from carousel.errors import DataError

CONLLU = """# sent_id = 1
# text = Don't go .
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\tVBP\t_\t3\taux\t_\t_
2\tn't\tnot\tPART\tRB\t_\t3\tadvmod\t_\t_
3\tgo\tgo\tVERB\tVB\t_\t0\troot\t_\t_
3.1\tunseen\t_\tVERB\t_\t_\t_\t_\t_\t_
4\t.\t.\tPUNCT\t.\t_\t3\tpunct\t_\t_

1\tYes\tyes\tINTJ\tUH\t_\t0\troot\t_\t_
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_conllu() -> None:
    Path("a-dev.conllu").write_text(CONLLU)
    Path("notes.txt").write_text("not a sentence")
    for sources in (["a-dev.conllu"], ["."]):
        read = read_tagged(sources)
        assert read.words == [["Do", "n't", "go", "."], ["Yes"]]
        assert read.tags == [["AUX", "PART", "VERB", "PUNCT"], ["INTJ"]]
        assert read.splits == ["dev", "dev"]
        assert (read.word_column, read.tag_column) == ("FORM", "UPOS")
    assert read_tagged(["a-dev.conllu"], tag="xpos", word="lemma").tags[1] == ["UH"]
    assert read_tagged(["a-dev.conllu"], word="lemma").words[0] == ["do", "not", "go", "."]


@pytest.mark.parametrize("gap", ["\t", " "])
def test_columns(gap: str) -> None:
    sentence = "EU NNP B-ORG\nrejects VBZ O\n# SYM O\n. . O\n".replace(" ", gap)
    Path("ner").write_text((sentence + "\n") * 8)
    assert is_tagged(["ner"])
    read = read_tagged(["ner"])
    assert read.words[0] == ["EU", "rejects", "#", "."]
    assert read.tags[7] == ["B-ORG", "O", "O", "O"]
    assert read_tagged(["ner"], tag="2").tags[0][:2] == ["NNP", "VBZ"]
    assert read_sentences(Path("ner"), "utf-8", "1", "3")[1] == read.tags
    Path("plain.txt").write_text("EU rejects .\n\nAnd so on\n")
    assert read_sentences(Path("plain.txt"), "utf-8", "1", "3") == ([["EU", "rejects", "."], ["And", "so", "on"]], None)


def test_prose_is_not_tagged() -> None:
    Path("prose.txt").write_text("two words\nthree more words\n\n" * 20)
    Path("code.txt").write_text("x = 1\n\x0c\ny = f(2, 3)\n    \n\nz = 3\nprint(w)\n" * 9)
    assert is_tagged(["code.txt"]) is None
    Path("pairs.txt").write_text("".join(f"word{i} wort{i}\n" for i in range(60)))
    assert is_tagged(["prose.txt"]) is is_tagged(["pairs.txt"]) is is_tagged(["missing"]) is None


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        (CONLLU.replace("\tgo\tgo\t", "\tgo\t"), {}, '"a.conllu", line 6: .* has 9 columns; CoNLL-U has 10'),
        (CONLLU.replace("3\tgo", "x\tgo"), {}, "\"a.conllu\", line 6: 'x' is no word number"),
        (CONLLU, {"tag": "UPSO"}, r"no column 'UPSO' \(--tag-column\). Did you mean UPOS\?"),
        (CONLLU, {"tag": "FEATS"}, "line 4: 'Do' has no tag in the column FEATS"),
        ("", {}, "is empty"),
        ("# only a comment\n", {}, "is empty"),
        ("1\tYes\t_\tINTJ\t_\t_\t_\t_\t_\t_\n", {}, "All 1 words have the tag 'INTJ'"),
    ],
)
def test_bad_input(text: str, options: dict, words: str) -> None:
    Path("a.conllu").write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        read_tagged(["a.conllu"], **options)
    assert "\n" not in str(caught.value)


def test_bad_columns() -> None:
    Path("two").write_text("The DET\ndog NOUN\n\nA DET\ncat\n")
    with pytest.raises(DataError, match="\"two\", line 5: 'cat' has 1 column; the lines before have 2, with a blank"):
        read_tagged(["two"])
    Path("one").write_text("The\ndog\n")
    with pytest.raises(DataError, match="has one column; there must be a word and a tag"):
        read_tagged(["one"])
