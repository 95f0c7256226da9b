"""Files of word vectors: all formats hold the same numbers, gensim reads ours and we read gensim's, damage is named."""

from __future__ import annotations

import gzip
import re
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

from carousel.data.word_vectors import WordVectors, read_vectors
from carousel.errors import CarouselError, DataError, UsageError

WORDS = ("the", "né", "1", "cat", "don't")
MATRIX = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
LINES = [f"{word} {' '.join(map(repr, row))}" for word, row in zip(WORDS, MATRIX.tolist(), strict=True)]
RECORDS = [word.encode() + b" " + struct.pack("<3f", *row) for word, row in zip(WORDS, MATRIX, strict=True)]
BINARY = b"5 3\n" + b"".join(record + b"\n" for record in RECORDS)
FORMATS = {
    "glove.txt": "\n".join(LINES).encode(),
    "word2vec.vec": ("5 3\n" + "\n".join(LINES) + "\n").encode(),
    "windows.txt": ("5 3\r\n" + "\r\n".join(LINES) + "\r\n").encode(),
    "tabs.tsv": "\n".join(LINES).replace(" ", "\t").encode(),
    "word2vec.bin": BINARY,
    "no-newlines.bin": b"5 3\n" + b"".join(RECORDS),
    "packed.txt.gz": gzip.compress("\n".join(LINES).encode()),
    "packed.bin.gz": gzip.compress(BINARY),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_hold_the_same(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FORMATS[name])
    found = read_vectors(tmp_path / name)
    assert found.words == WORDS
    np.testing.assert_array_equal(found.matrix, MATRIX)
    some = read_vectors(tmp_path / name, {"cat", "dog", "the"})
    assert some.words == ("the", "cat")
    np.testing.assert_array_equal(some["cat"], MATRIX[3])


def test_words_with_blanks_inside_and_words_that_come_twice(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("a 1 2\n. . . 3 4\na 5 6\n\n")
    found = read_vectors(tmp_path / "v.txt")
    assert found.words == ("a", ". . .")
    assert found.matrix.tolist() == [[1, 2], [3, 4]]


def test_saved_and_read_again(tmp_path: Path) -> None:
    WordVectors(WORDS, MATRIX).save(tmp_path / "v.txt")
    found = read_vectors(tmp_path / "v.txt")
    assert found.words == WORDS
    np.testing.assert_allclose(found.matrix, MATRIX, rtol=1e-5)
    with pytest.raises(UsageError, match="can't be written"):
        found.save(tmp_path / "no" / "v.txt")


@pytest.mark.parametrize("binary", [False, True])
def test_gensim_reads_ours_and_we_read_gensims(tmp_path: Path, binary: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = pytest.importorskip("gensim.models")
    made = models.KeyedVectors(3)
    made.add_vectors(list(WORDS), MATRIX)
    made.save_word2vec_format(tmp_path / "theirs", binary=binary)
    found = read_vectors(tmp_path / "theirs")
    assert found.words == WORDS
    np.testing.assert_array_equal(found.matrix, MATRIX)
    found.save(tmp_path / "ours")
    theirs = models.KeyedVectors.load_word2vec_format(tmp_path / "ours")
    assert [word for word, _ in theirs.most_similar("cat", topn=3)] == [word for word, _ in found.nearest("cat", 3)]


def test_nearest_by_the_angle() -> None:
    found = WordVectors(("a", "b", "c", "zero"), np.array([[1, 0], [5, 5], [-1, 1], [0, 0]], np.float32))
    assert found.nearest("a") == [
        ("b", pytest.approx(0.5**0.5)),
        ("zero", pytest.approx(0)),
        ("c", pytest.approx(-(0.5**0.5))),
    ]
    assert len(found.nearest("zero", 2)) == 2
    with pytest.raises(DataError, match="no vector of the word 'dog'"):
        found.nearest("dog")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no word vectors"),
        (b"word\nother\n", "holds no word vectors"),
        (b"PK\x03\x04 packed 1 2 3\n", "holds no word vectors"),
        (b"a 1 2\nb 1\n", "line 2: 1 numbers; the lines before have 2"),
        (b"a 1 2\nb 1 2 3\n", "line 2: 3 numbers; the lines before have 2"),
        (b"2 2\na 1 2\nb 1 2 3\n", "line 3: 3 numbers; the lines before have 2"),
        (b"a 1 2\nb 1 x\n", "line 2: 'x' is not a number"),
        (b"a 1 2\nb 1 nan\n", "line 2: a number is not finite"),
        (b"3 2\na 1 2\nb 1 2\n", "says that it has 3 words, and has 2"),
        (BINARY[:-9], "ends inside word 5 of 5; it is cut off"),
        (b"1 2\na " + struct.pack("<2f", 1, float("inf")), "word 1: a number is not finite"),
        (b"7 0\n", "holds no word vectors"),
    ],
)
def test_damage_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "v.txt").write_bytes(content)
    with pytest.raises(DataError, match=re.escape(said)):
        read_vectors(tmp_path / "v.txt")


def test_no_file_a_folder_and_broken_packing(tmp_path: Path) -> None:
    for name in ("missing.txt", ""):
        with pytest.raises(UsageError):
            read_vectors(tmp_path / name)
    (tmp_path / "v.txt.gz").write_bytes(gzip.compress("\n".join(LINES).encode())[:-12])
    with pytest.raises(CarouselError, match="cannot be read"):
        read_vectors(tmp_path / "v.txt.gz")
