r"""Text to ids and back, at the level of characters, UTF-8 bytes, byte pairs or words.

A tokenizer is immutable: `to_dict` gives plain JSON or YAML data, `tokenizer_from_dict` the equal tokenizer back.
`builders.py` gives out ids while a text streams by, so that a corpus is encoded in one pass.

Words are separated by one of two rules, `split`. White space always separates, and a newline is a token of its own.

- `"words"`: a token is `<unk>` and the like, a number such as `1,000.5` or `10:30`, a run of word characters with
  apostrophes and hyphens inside (`don't`, `well-known`), a run of dots or of dashes, or one other character.
- `"spaces"`: a token is whatever stands between white space; for text that is tokenized already, such as the PTB.
"""

from __future__ import annotations

import codecs
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carousel.data import bpe
from carousel.errors import DataError

__all__ = [
    "LEVELS",
    "SPLITS",
    "UNKNOWN",
    "BpeTokenizer",
    "ByteTokenizer",
    "CharTokenizer",
    "StreamDecoder",
    "Tokenizer",
    "WordTokenizer",
    "tokenizer_from_dict",
]

UNKNOWN = "<unk>"

# Vowel signs and accents that `\w` leaves out: without them words of Hindi, Thai, pointed Hebrew … fall apart.
_MARKS = (
    "\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u0711\u0730-\u074a\u0900-\u0903\u093a-\u094f\u0951-\u0957\u0962\u0963"
    "\u0981-\u0983\u09bc-\u09d7\u0a01-\u0a03\u0a3c-\u0a51\u0a70\u0a71\u0a81-\u0a83\u0abc-\u0acd\u0b01-\u0b03"
    "\u0b3c-\u0b57\u0b82\u0bbe-\u0bd7\u0c00-\u0c04\u0c3c-\u0c56\u0c81-\u0c83\u0cbc-\u0cd6\u0d00-\u0d03\u0d3b-\u0d57"
    "\u0dca-\u0df3\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u0f71-\u0f84\u0f90-\u0fbc"
    "\u102b-\u103e\u17b4-\u17d3\u200c\u200d\u20d0-\u20f0\ufe00-\ufe0f\ufe20-\ufe2f"
)
_WORD = rf"[\w{_MARKS}]"
SPLITS = {
    "words": re.compile(
        rf"\n|<[/|]?\w[\w|-]*>|\d+(?:[.,:]\d+)+|{_WORD}+(?:['’-]{_WORD}+)*|\.{{2,}}|-{{2,}}|\S",
    ),
    "spaces": re.compile(r"\n|\S+"),
}
_OPENING = frozenset("([{¿¡‘“«$£€（【「『")
_CLOSING = frozenset(",.;:!?)]}%’”»…、。，！？；：）】」』")

CODE_POINTS = 0x110000


class StreamDecoder(ABC):
    """Turns ids into text one at a time, so that a sample appears while it is drawn.

    The pieces, joined, are what `Tokenizer.decode` makes of all ids. To continue a prompt with the right spacing, feed
    the prompt's ids first.
    """

    @abstractmethod
    def feed(self, token: int) -> str:
        """The text that is certain now that this id has come; it may be empty."""

    def finish(self) -> str:
        """The text that was still held back."""
        return ""


class Tokenizer(ABC):
    """Maps text to ids `0 … size - 1` and back."""

    level: ClassVar[str]
    unit: ClassVar[str]

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of ids."""

    @abstractmethod
    def encode(self, text: str) -> NDArray[np.int64]:
        """The ids of a text, shape `(tokens,)`."""

    @abstractmethod
    def decode(self, ids: ArrayLike) -> str:
        """The text of a sequence of ids."""

    @abstractmethod
    def stream_decoder(self) -> StreamDecoder:
        """A decoder that takes one id at a time."""

    @abstractmethod
    def unknown(self, text: str) -> list[str]:
        """The distinct symbols of a text that have no id, in order of first appearance."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain data from which `tokenizer_from_dict` makes an equal tokenizer."""

    def _checked(self, ids: ArrayLike) -> NDArray[np.int64]:
        array = np.asarray(ids, dtype=np.int64).reshape(-1)
        wrong = array[(array < 0) | (array >= self.size)]
        if wrong.size:
            raise DataError(f"Id {wrong[0]} stands for no {self.unit}: this vocabulary has ids 0 to {self.size - 1}.")
        return array


@dataclass(frozen=True)
class CharTokenizer(Tokenizer):
    """One id per character.

    Args:
        symbols: the distinct characters; the id of a character is its place in this string.

    Raises:
        DataError: a character is given twice.

    Example:
        >>> tokenizer = CharTokenizer("abc")
        >>> tokenizer.encode("cab").tolist()
        [2, 0, 1]
        >>> tokenizer.decode([0, 0, 1])
        'aab'
    """

    level: ClassVar[str] = "char"
    unit: ClassVar[str] = "character"
    symbols: str

    def __post_init__(self) -> None:
        if len(set(self.symbols)) < len(self.symbols):
            raise DataError("A vocabulary of characters must hold each character once; this one repeats some.")

    @property
    def size(self) -> int:
        return len(self.symbols)

    def encode(self, text: str) -> NDArray[np.int64]:
        """The id of each character.

        Raises:
            DataError: the text has characters outside the vocabulary.
        """
        ids = self._table[code_points(text)]
        if ids.size and ids.min() < 0:
            strange = self.unknown(text)
            raise DataError(
                f"The text has {_count(len(strange), 'character')} outside the vocabulary: {_listed(strange)}. "
                f"Possible are these {self.size:,}: {_shortened(self.symbols)!r}."
            )
        return ids.astype(np.int64)

    def decode(self, ids: ArrayLike) -> str:
        return code_points(self.symbols)[self._checked(ids)].tobytes().decode("utf-32-le", "surrogatepass")

    def stream_decoder(self) -> StreamDecoder:
        return _CharStream(self)

    def unknown(self, text: str) -> list[str]:
        return [symbol for symbol in dict.fromkeys(text) if self._table[ord(symbol)] < 0]

    def to_dict(self) -> dict[str, Any]:
        return {"level": self.level, "symbols": self.symbols}

    @cached_property
    def _table(self) -> NDArray[np.int32]:
        table = np.full(CODE_POINTS, -1, np.int32)
        table[code_points(self.symbols)] = np.arange(self.size)
        return table


@dataclass(frozen=True)
class ByteTokenizer(Tokenizer):
    """One id per byte of the text in UTF-8: 256 ids, whatever the text.

    Example:
        >>> ByteTokenizer().encode("é").tolist()
        [195, 169]
        >>> ByteTokenizer().decode([195, 169, 195])
        'é�'
    """

    level: ClassVar[str] = "byte"
    unit: ClassVar[str] = "byte"

    @property
    def size(self) -> int:
        return 256

    def encode(self, text: str) -> NDArray[np.int64]:
        return utf8(text).astype(np.int64)

    def decode(self, ids: ArrayLike) -> str:
        """The text of the bytes; where they are not valid UTF-8, it shows U+FFFD."""
        return self._checked(ids).astype(np.uint8).tobytes().decode("utf-8", "replace")

    def stream_decoder(self) -> StreamDecoder:
        return _ByteStream(self)

    def unknown(self, text: str) -> list[str]:
        return []

    def to_dict(self) -> dict[str, Any]:
        return {"level": self.level}


@dataclass(frozen=True)
class BpeTokenizer(Tokenizer):
    """One id per sequence of bytes that was merged because it is frequent; see `carousel.data.bpe`.

    Args:
        merges: pairs of ids, in the order in which they are merged; the first 256 ids are the bytes.

    Raises:
        DataError: a merge is of ids that are not there yet.

    Example:
        >>> tokenizer = BpeTokenizer(((114, 111), (256, 115), (257, 101)))
        >>> tokenizer.encode("a rosé rose").tolist()
        [97, 32, 257, 195, 169, 32, 258]
        >>> tokenizer.decode([257, 195, 169])
        'rosé'
    """

    level: ClassVar[str] = "bpe"
    unit: ClassVar[str] = "token"
    merges: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        try:
            _ = self.tokens
        except ValueError as error:
            raise DataError(f"These are no merges of byte pairs: {error}.") from None

    @property
    def size(self) -> int:
        return len(self.tokens)

    @cached_property
    def tokens(self) -> list[bytes]:
        """The bytes of every id."""
        return bpe.tokens_of(self.merges)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """`(size, 2)`: how many characters begin in the bytes of each id, and how many bytes it has."""
        continuing = range(0x80, 0xC0)
        return np.array([(sum(byte not in continuing for byte in token), len(token)) for token in self.tokens])

    def encode(self, text: str) -> NDArray[np.int64]:
        return np.array(self._coder(text), np.int64)

    def decode(self, ids: ArrayLike) -> str:
        """The text of the ids; bytes that are not valid UTF-8 show U+FFFD, an unfinished last character is left out."""
        stream = self.stream_decoder()
        return "".join(map(stream.feed, self._checked(ids).tolist()))

    def stream_decoder(self) -> StreamDecoder:
        return _BpeStream(self)

    def unknown(self, text: str) -> list[str]:
        return []

    def to_dict(self) -> dict[str, Any]:
        return {"level": self.level, "merges": [list(pair) for pair in self.merges]}

    @cached_property
    def _coder(self) -> Any:
        return bpe.coder(self.merges)


@dataclass(frozen=True)
class WordTokenizer(Tokenizer):
    r"""One id per word, punctuation mark or newline; a word outside the vocabulary becomes `<unk>`.

    Decoding is for reading: with `split="words"` it sets punctuation as usual, with `"spaces"` one space between
    words. Either way `encode(decode(encode(text)))` equals `encode(text)`.

    Args:
        words: the distinct words, `<unk>` among them; the id of a word is its place.
        split: `"words"` or `"spaces"`, as described at the top of this module.

    Raises:
        DataError: a word is given twice, `<unk>` is missing, or `split` is something else.

    Example:
        >>> tokenizer = WordTokenizer(("<unk>", "Stop", ",", "don't", "!", "\n"))
        >>> tokenizer.encode("Stop, please don't!\n").tolist()
        [1, 2, 0, 3, 4, 5]
        >>> tokenizer.decode([1, 2, 0, 3, 4, 5])
        "Stop, <unk> don't!\n"
    """

    level: ClassVar[str] = "word"
    unit: ClassVar[str] = "word"
    words: tuple[str, ...]
    split: str = "words"

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise DataError(f"Words can be split by {' or '.join(SPLITS)}, not by {self.split!r}.")
        if UNKNOWN not in self._index or len(self._index) < len(self.words) or "" in self._index:
            raise DataError(f"A vocabulary of words must hold {UNKNOWN} and each word once, and no empty word.")

    @property
    def size(self) -> int:
        return len(self.words)

    def encode(self, text: str) -> NDArray[np.int64]:
        words = SPLITS[self.split].findall(text)
        unknown = self._index[UNKNOWN]
        return np.fromiter((self._index.get(word, unknown) for word in words), np.int64, len(words))

    def decode(self, ids: ArrayLike) -> str:
        stream = self.stream_decoder()
        return "".join(map(stream.feed, self._checked(ids).tolist()))

    def stream_decoder(self) -> StreamDecoder:
        return _WordStream(self)

    def unknown(self, text: str) -> list[str]:
        return [word for word in dict.fromkeys(SPLITS[self.split].findall(text)) if word not in self._index]

    def to_dict(self) -> dict[str, Any]:
        return {"level": self.level, "split": self.split, "words": list(self.words)}

    @cached_property
    def _index(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words)}


LEVELS: dict[str, type[Tokenizer]] = {
    cls.level: cls for cls in (CharTokenizer, ByteTokenizer, WordTokenizer, BpeTokenizer)
}


def tokenizer_from_dict(data: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that `Tokenizer.to_dict` described.

    Raises:
        DataError: the data is no description of a tokenizer.

    Example:
        >>> tokenizer_from_dict({"level": "char", "symbols": "abc"})
        CharTokenizer(symbols='abc')
    """
    match data:
        case {"level": "char", "symbols": str(symbols)}:
            return CharTokenizer(symbols)
        case {"level": "byte"}:
            return ByteTokenizer()
        case {"level": "word", "words": [*words], "split": str(split)} if all(isinstance(word, str) for word in words):
            return WordTokenizer(tuple(words), split)
        case {"level": "bpe", "merges": [*merges]} if all(_is_pair(pair) for pair in merges):
            return BpeTokenizer(tuple((first, second) for first, second in merges))
    raise DataError(
        'This is no tokenizer: expected {"level": "char", "symbols": …}, {"level": "byte"}, {"level": "bpe", '
        '"merges": …} or {"level": "word", "words": …, "split": …}. The file that it comes from is damaged, or from '
        "another version."
    )


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(token, int) for token in pair)


class _CharStream(StreamDecoder):
    def __init__(self, tokenizer: CharTokenizer) -> None:
        self._tokenizer = tokenizer

    def feed(self, token: int) -> str:
        return self._tokenizer.decode([token])


class _ByteStream(StreamDecoder):
    def __init__(self, tokenizer: ByteTokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        return self._decoder.decode(bytes(self._tokenizer._checked(token).tolist()))

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


class _BpeStream(StreamDecoder):
    def __init__(self, tokenizer: BpeTokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        return self._decoder.decode(self._tokenizer.tokens[self._tokenizer._checked(token).item()])


class _WordStream(StreamDecoder):
    def __init__(self, tokenizer: WordTokenizer) -> None:
        self._tokenizer = tokenizer
        self._previous = "\n"
        self._sticks = True
        self._quotes: set[str] = set()

    def feed(self, token: int) -> str:
        word = self._tokenizer.words[self._tokenizer._checked(token).item()]
        opens, closes = self._role(word) if self._tokenizer.split == "words" else (False, False)
        gap = "" if self._sticks or closes or word == "\n" else " "
        self._previous = word
        self._sticks = opens or word == "\n"
        return gap + word

    def _role(self, word: str) -> tuple[bool, bool]:
        """Whether what follows sticks to this word, and whether it sticks to what came before."""
        if word == "\n":
            self._quotes.clear()
        if word in ('"', "'"):
            # An apostrophe after a word ends it (the dogs' tails); elsewhere quotes open and close in turn.
            opens = word not in self._quotes and (word == '"' or not self._previous[-1].isalnum())
            (self._quotes.add if opens else self._quotes.discard)(word)
            return opens, not opens
        merges = word[0] == self._previous[-1] == "."
        return word in _OPENING, word[0] in _CLOSING and not merges


def code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def utf8(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _listed(symbols: Sequence[str], most: int = 10) -> str:
    shown = ", ".join(map(repr, symbols[:most]))
    return shown if len(symbols) <= most else f"{shown} and {len(symbols) - most:,} more"


def _shortened(text: str, most: int = 120) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
