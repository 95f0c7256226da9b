"""Ids that are given out while a text streams by, so that a corpus is read once; the tokenizer comes out at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import bpe
from .tokenizers import (
    CODE_POINTS,
    SPLITS,
    UNKNOWN,
    BpeTokenizer,
    ByteTokenizer,
    CharTokenizer,
    WordTokenizer,
    code_points,
    utf8,
)

__all__ = ["BpeBuilder", "Builder", "ByteBuilder", "CharBuilder", "WordBuilder"]

LONGEST_WORD = 1 << 20
"""Characters of a piece without a blank from which on it is cut anyway."""


class Builder(ABC):
    """Gives out ids while a text streams by."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of ids given out so far."""

    @property
    def distinct(self) -> int:
        """Number of distinct symbols seen so far."""
        return self.size

    @abstractmethod
    def feed(self, text: str, final: bool = False) -> NDArray[Any]:
        """The ids of the next piece of a document; `final` says that the document ends with it."""


class CharBuilder(Builder):
    """Characters get ids in order of first appearance."""

    def __init__(self) -> None:
        self._table = np.full(CODE_POINTS, -1, np.int32)
        self._points = np.empty(0, "<u4")

    @property
    def size(self) -> int:
        return len(self._points)

    def feed(self, text: str, final: bool = False) -> NDArray[np.int32]:
        points = code_points(text)
        ids = self._table[points]
        if ids.size and ids.min() < 0:
            new, first = np.unique(points[ids < 0], return_index=True)
            self._points = np.concatenate([self._points, new[np.argsort(first)]])
            self._table[self._points] = np.arange(self.size)
            ids = self._table[points]
        return ids

    def tokenizer(self) -> CharTokenizer:
        return CharTokenizer(self._points.tobytes().decode("utf-32-le", "surrogatepass"))


class ByteBuilder(Builder):
    """Bytes are their own ids."""

    def __init__(self) -> None:
        self._seen = np.zeros(256, bool)

    @property
    def size(self) -> int:
        return len(self._seen)

    @property
    def distinct(self) -> int:
        return int(self._seen.sum())

    def feed(self, text: str, final: bool = False) -> NDArray[np.uint8]:
        ids = utf8(text)
        self._seen[ids] = True
        return ids

    def tokenizer(self) -> ByteTokenizer:
        return ByteTokenizer()


class BpeBuilder(Builder):
    """The ids that the merges give; what could go on in the next piece is held back."""

    def __init__(self, tokenizer: BpeTokenizer) -> None:
        self._tokenizer = tokenizer
        self._held = ""
        self._seen = np.zeros(tokenizer.size, bool)

    @classmethod
    def learn(cls, documents: Iterable[Iterable[str]], vocabulary_size: int) -> BpeBuilder:
        """With the merges of these documents, each of them in pieces."""
        merges = bpe.learn((text for pieces in documents for text in bpe.whole_words(pieces)), vocabulary_size)
        return cls(BpeTokenizer(merges))

    @property
    def size(self) -> int:
        return self._tokenizer.size

    @property
    def distinct(self) -> int:
        """Number of distinct ids seen so far; one where all of them are of the same byte."""
        seen = [self._tokenizer.tokens[token] for token in np.flatnonzero(self._seen)]
        return min(len(seen), 1) if len(set(b"".join(seen))) < 2 else len(seen)

    def feed(self, text: str, final: bool = False) -> NDArray[np.int64]:
        *whole, last = [*bpe.whole_words([self._held + text])] or [""]
        self._held = "" if final else last
        ids = self._tokenizer.encode("".join(whole) + (last if final else ""))
        self._seen[ids] = True
        return ids

    def tokenizer(self) -> BpeTokenizer:
        return self._tokenizer


class WordBuilder(Builder):
    """Words get provisional ids in order of first appearance; `choose` then makes the vocabulary from their counts.

    A word is never cut between two pieces, unless more than a million characters come without a space or newline.
    """

    def __init__(self, split: str = "words") -> None:
        self._split = split
        self._held = ""
        self._index: defaultdict[str, int] = defaultdict()
        self._index.default_factory = self._index.__len__

    @property
    def size(self) -> int:
        return len(self._index)

    def feed(self, text: str, final: bool = False) -> NDArray[np.uint32]:
        text = self._held + text
        cut = max(text.rfind(" "), text.rfind("\n")) + 1
        if final or (not cut and len(text) > LONGEST_WORD):
            cut = len(text)
        self._held = text[cut:]
        words = SPLITS[self._split].findall(text[:cut])
        return np.fromiter(map(self._index.__getitem__, words), np.uint32, len(words))

    def choose(
        self, counts: NDArray[np.int64], vocabulary_size: int | None, min_count: int
    ) -> tuple[WordTokenizer, NDArray[np.uint32]]:
        """The vocabulary: `<unk>` with id 0, then the most frequent words, ties by first appearance.

        Args:
            counts: how often each provisional id counts, shape `(size,)`; what never counts is left out.
            vocabulary_size: most ids the vocabulary may have, `<unk>` among them; None for no limit.
            min_count: words that count less often are left out.

        Returns:
            The tokenizer, and the table from provisional to final ids.
        """
        words = list(self._index)
        ranked = np.argsort(-counts, kind="stable")
        kept = [i for i in ranked[counts[ranked] >= max(min_count, 1)].tolist() if words[i] != UNKNOWN]
        kept = kept[: None if vocabulary_size is None else vocabulary_size - 1]
        table = np.zeros(self.size, np.uint32)
        table[kept] = np.arange(1, len(kept) + 1)
        return WordTokenizer((UNKNOWN, *(words[i] for i in kept)), self._split), table
