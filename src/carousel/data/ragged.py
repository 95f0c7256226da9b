"""Many short sequences of tokens in one array, and the vocabulary that they are encoded with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .tokenizers import SPLITS, UNKNOWN

__all__ = ["Ragged", "Vocabulary"]


@dataclass(frozen=True, eq=False)
class Ragged:
    """Sequences behind one another: sequence i is `flat[starts[i] : starts[i + 1]]`.

    Example:
        >>> some = Ragged.of([[1, 2, 3], [4]])
        >>> some.padded(np.array([1, 0])).tolist()
        [[4, 1], [0, 2], [0, 3]]
    """

    flat: NDArray[Any]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, sequences: Iterable[Sequence[int]]) -> Ragged:
        """From lists of ids."""
        arrays = [np.asarray(sequence, np.int32) for sequence in sequences]
        lengths = np.array([len(array) for array in arrays], np.int64)
        flat = np.concatenate(arrays) if arrays else np.empty(0, np.int32)
        return cls(flat, np.concatenate([[0], lengths.cumsum()]).astype(np.int64))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """(sequences,) how long each is."""
        return np.diff(self.starts)

    def places(self, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        """(time, chosen) positions in `flat`, -1 beyond a sequence's end; at least one step."""
        lengths = self.lengths[chosen]
        steps = np.arange(max(1, int(lengths.max(initial=0))))[:, None]
        return np.where(steps < lengths, self.starts[chosen] + steps, -1)

    def padded(self, chosen: NDArray[np.int64], fill: int = 0) -> NDArray[np.int64]:
        """(time, chosen) these sequences side by side, `fill` beyond their ends."""
        places = self.places(chosen)
        return np.where(places < 0, fill, self.flat[places] if len(self.flat) else fill).astype(np.int64)


@dataclass(frozen=True)
class Vocabulary:
    """Symbols to ids and back; the first id stands for every symbol that has none of its own.

    Args:
        symbols: characters or words, `<unk>` first.
        level: "char" or "word".
        split: how words are cut, see `carousel.data.tokenizers`.

    Example:
        >>> vocabulary = Vocabulary.choose(["abba", "cab"], "char", min_count=2)
        >>> vocabulary.symbols, vocabulary.encode("bax").tolist()
        (('<unk>', 'a', 'b'), [2, 1, 0])
    """

    symbols: tuple[str, ...]
    level: str
    split: str = "words"

    @classmethod
    def choose(
        cls, texts: Iterable[str], level: str, *, split: str = "words", min_count: int = 1, most: int | None = None
    ) -> Vocabulary:
        """The symbols that come `min_count` times or more, at most `most` ids, the most frequent first."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text if level == "char" else SPLITS[split].findall(text))
        counts.pop(UNKNOWN, None)
        kept = [symbol for symbol, count in counts.most_common() if count >= min_count]
        return cls((UNKNOWN, *kept[: None if most is None else most - 1]), level, split)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Vocabulary:
        """What `to_dict` described.

        Raises:
            DataError: it is no description of a vocabulary.
        """
        match data:
            case {"level": "char" | "word" as level, "symbols": [*symbols], "split": str(split)} if split in SPLITS:
                return cls(tuple(map(str, symbols)), level, split)
        raise DataError("This is no vocabulary of sequences. The file that it comes from is damaged.")

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"level": self.level, "split": self.split, "symbols": list(self.symbols)}

    @property
    def size(self) -> int:
        """Number of ids."""
        return len(self.symbols)

    @property
    def unit(self) -> str:
        """What a symbol is."""
        return "word" if self.level == "word" else "character"

    def cut(self, text: str) -> Sequence[str]:
        """The symbols of a text."""
        return text if self.level == "char" else SPLITS[self.split].findall(text)

    def encode(self, text: str | Sequence[str]) -> NDArray[np.int32]:
        """The ids of a text, or of symbols that were cut already."""
        symbols = self.cut(text) if isinstance(text, str) else text
        return np.fromiter((self._index.get(symbol, 0) for symbol in symbols), np.int32, len(symbols))

    def encode_all(self, texts: Iterable[str | Sequence[str]]) -> Ragged:
        """Many of them."""
        return Ragged.of(map(self.encode, texts))  # pyright: ignore[reportArgumentType]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {symbol: place for place, symbol in enumerate(self.symbols)}
