"""Word vectors in files: the text formats of word2vec and GloVe, and word2vec's binary one.

Text has a word and its numbers on each line; word2vec writes how many words and numbers there are in a line before,
GloVe does not. Binary has that line, then for each word its letters, a blank, and its numbers in 4 bytes each. A file
whose name ends in .gz is unpacked as it is read. Only the words that are wanted are kept, so that a large file fits.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError
from .text_files import find_files

__all__ = ["WordVectors", "read_vectors"]

_HEADER = re.compile(rb"\s*(\d+)\s+(\d+)\s*\n?")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_LONGEST = 1 << 20
"""Bytes, at most, of a line or a word; what has longer ones is no file of word vectors."""
_SAMPLE = 4096


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Words, each with a vector.

    Args:
        words: all different.
        matrix: (words, size) their vectors.

    Example:
        >>> found = WordVectors(("up", "down", "high"), np.array([[1.0, 0.0], [-1.0, 0.1], [0.9, 0.1]], np.float32))
        >>> [word for word, _ in found.nearest("up", 2)]
        ['high', 'down']
        >>> "low" in found, found["down"].tolist()[0]
        (False, -1.0)
    """

    words: tuple[str, ...]
    matrix: NDArray[np.float32]

    @property
    def size(self) -> int:
        """Numbers of a vector."""
        return self.matrix.shape[1]

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._places

    def __getitem__(self, word: str) -> NDArray[np.float32]:
        return self.matrix[self._place(word)]

    def nearest(self, word: str, count: int = 10) -> list[tuple[str, float]]:
        """The words with the most similar vectors, and the cosines of the angles between them and that of `word`.

        Raises:
            DataError: the word has no vector.
        """
        place = self._place(word)
        cosines = self._directions @ self._directions[place]
        cosines[place] = -np.inf
        best = np.argsort(-cosines, kind="stable")[: min(count, len(self) - 1)].tolist()
        return [(self.words[other], float(cosines[other])) for other in best]

    def save(self, path: str | Path) -> None:
        """Write word2vec's text format, which `read_vectors`, gensim and many others read.

        Raises:
            UsageError: the file can't be written.
        """
        try:
            with Path(path).open("w", encoding="utf-8", newline="\n") as file:
                file.write(f"{len(self)} {self.size}\n")
                for word, vector in zip(self.words, self.matrix, strict=True):
                    file.write(f"{word} {' '.join(f'{value:.6g}' for value in vector.tolist())}\n")
        except OSError as error:
            raise UsageError(f"{path} can't be written: {error.strerror or error}. Choose another file.") from error

    def _place(self, word: str) -> int:
        if word not in self._places:
            raise DataError(f"There is no vector of the word {word!r}.")
        return self._places[word]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words)}

    @cached_property
    def _directions(self) -> NDArray[np.float32]:
        return self.matrix / np.maximum(np.linalg.norm(self.matrix, axis=1, keepdims=True), 1e-12)


def read_vectors(path: str | Path, wanted: Collection[str] | None = None) -> WordVectors:
    """The vectors of a file; of words that it has twice, the first.

    Args:
        path: a file in one of the formats.
        wanted: words; the vectors of others are left out. All are kept if not given.

    Raises:
        UsageError: there is no such file.
        DataError: it holds no word vectors, or is damaged; the message says in which line.
    """
    if Path(path).is_dir():
        raise UsageError(f'"{path}" is a folder; give the file of the word vectors.')
    ((file, _), *_) = find_files([path])
    words: dict[str, NDArray[np.float32]] = {}
    with _opened(file) as stream:
        head = stream.readline(_LONGEST)
        header = _HEADER.fullmatch(head)
        size = int(header[2]) if header else len(head.split()) - 1
        if not 1 <= size <= _LONGEST // 4 or (header is None and _CONTROL.search(head)):
            raise DataError(
                f'"{file}" holds no word vectors: a line is a word and its numbers, with blanks between them.'
            )
        if header is None:
            pairs = _lines(file, chain([head], stream), size, 1, wanted)
        else:
            pairs = (_records if _is_binary(stream) else _counted)(file, stream, int(header[1]), size, wanted)
        for word, vector in pairs:
            words.setdefault(word, vector)
    return WordVectors(tuple(words), np.stack([*words.values()]) if words else np.empty((0, size), np.float32))


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            yield stream  # pyright: ignore[reportReturnType]
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f'"{file}" cannot be read: {getattr(error, "strerror", None) or error}.') from error


def _is_binary(stream: IO[bytes]) -> bool:
    """Whether what comes next is no text: control characters, or a first number in letters that no number has."""
    some = stream.peek(_SAMPLE)[:_SAMPLE]  # pyright: ignore[reportAttributeAccessIssue]
    first = some.partition(b" ")[2].split(None, 1)[:1]
    return _CONTROL.search(some) is not None or any(byte > 126 for byte in b"".join(first))


def _counted(
    file: Path, stream: IO[bytes], count: int, size: int, wanted: Collection[str] | None
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Lines behind a first one that says how many there are."""
    passed = 0

    def lines() -> Iterator[bytes]:
        nonlocal passed
        for line in stream:
            passed += bool(line.strip())
            yield line

    yield from _lines(file, lines(), size, 2, wanted)
    if passed != count:
        raise DataError(f'"{file}" says that it has {count:,} words, and has {passed:,}; is it cut off?')


def _lines(
    file: Path, lines: Iterator[bytes], size: int, first: int, wanted: Collection[str] | None
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Words of lines; a word may have blanks inside, as a few of GloVe's have."""
    for number, line in enumerate(lines, first):
        parts = line.strip(b" \t\r\n").rsplit(None, size)
        if not parts:
            continue
        if len(parts) != size + 1 or _is_number(parts[0].split()[-1], parts[0]):
            found = len(line.split()) - 1
            raise DataError(f'"{file}", line {number:,}: {found} numbers; the lines before have {size}.')
        word = parts[0].decode("utf-8", "replace")
        if wanted is None or word in wanted:
            yield word, _numbers(file, number, parts[1:])


def _is_number(last: bytes, word: bytes) -> bool:
    """Whether the last piece of a word of several is a number, so that the line has one too many."""
    if last == word:
        return False
    try:
        float(last)
    except ValueError:
        return False
    return True


def _numbers(file: Path, line: int, parts: Sequence[bytes]) -> NDArray[np.float32]:
    values = []
    for part in parts:
        try:
            values.append(float(part))
        except ValueError:
            shown = part[:40].decode("utf-8", "replace")
            raise DataError(f'"{file}", line {line:,}: {shown!r} is not a number.') from None
    return _finite(file, f"line {line:,}", np.array(values, np.float32))


def _records(
    file: Path, stream: IO[bytes], count: int, size: int, wanted: Collection[str] | None
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Words of the binary format."""
    for number in range(1, count + 1):
        letters = bytearray()
        while (letter := stream.read(1)) not in (b" ", b"") and len(letters) < _LONGEST:
            letters += letter
        data = stream.read(4 * size)
        if len(data) < 4 * size:
            raise DataError(f'"{file}" ends inside word {number:,} of {count:,}; it is cut off.')
        word = bytes(letters).lstrip(b"\n").decode("utf-8", "replace")
        if wanted is None or word in wanted:
            yield word, _finite(file, f"word {number:,}", np.frombuffer(data, "<f4").astype(np.float32))


def _finite(file: Path, where: str, vector: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(vector).all():
        raise DataError(f'"{file}", {where}: a number is not finite.')
    return vector
