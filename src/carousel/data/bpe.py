r"""Byte-pair encoding on bytes: frequent neighbors become one token, so that text takes fewer steps than in characters.

The ids 0 … 255 are the bytes of UTF-8; every merge of two ids gives the next one. So any text has ids, and none is
unknown. Merges do not cross the borders of words, as GPT-2 draws them: a word has the space before it, and letters,
digits, other signs and white space are apart. The `tokenizers` library learns and applies the merges; it is imported
when it is needed.

Gage, "A new algorithm for data compression", C Users Journal 1994; Sennrich, Haddow & Birch, "Neural machine
translation of rare words with subword units", ACL 2016; on bytes: Radford et al., "Language models are unsupervised
multitask learners", 2019.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from carousel.errors import UsageError

__all__ = ["BYTES", "coder", "learn", "tokens_of", "whole_words"]

BYTES = 256
Merges = Sequence[tuple[int, int]]

_LONGEST = 1 << 20
_BORDER = re.compile(r".*\S(?=[ \n])", re.DOTALL)


def learn(texts: Iterable[str], size: int) -> tuple[tuple[int, int], ...]:
    """The merges of the most frequent pairs of a text, each of which comes at least twice.

    Args:
        texts: pieces of the text that end where words do, see `whole_words`.
        size: ids at most, the 256 bytes among them.

    Returns:
        Pairs of ids, in the order in which they are merged.

    Raises:
        UsageError: the `tokenizers` library is not installed.

    Example:
        >>> merges = learn(["a rose is a rose is a rose"], 260)
        >>> [tokens_of(merges)[a] + tokens_of(merges)[b] for a, b in merges]
        [b'os', b'ros', b' ros', b' rose']
    """
    library = _library([], {})
    trainer: Any = _imported().trainers.BpeTrainer  # its stub does not know its arguments
    library.train_from_iterator(
        map(_valid, texts),
        trainer(vocab_size=size, min_frequency=2, initial_alphabet=_SPELLED, show_progress=False),
    )
    id_of = {byte: number for number, byte in enumerate(_SPELLED)}
    merges = []
    for first, second in json.loads(library.to_str())["model"]["merges"]:
        id_of.setdefault(first + second, len(id_of))
        merges.append((id_of[first], id_of[second]))
    return tuple(merges)


def tokens_of(merges: Merges) -> list[bytes]:
    """The bytes of every id.

    Raises:
        ValueError: a merge is of ids that are not there yet.
    """
    tokens = {bytes([value]): value for value in range(BYTES)}
    listed = [*tokens]
    for first, second in merges:
        if not (0 <= first < len(listed) and 0 <= second < len(listed)):
            raise ValueError(f"the merge of {first} and {second} comes before these ids")
        token = listed[first] + listed[second]
        if token not in tokens:  # two pairs may spell the same
            tokens[token] = len(listed)
            listed.append(token)
    return listed


def coder(merges: Merges) -> Callable[[str], list[int]]:
    """The function that encodes by these merges."""
    tokens = tokens_of(merges)
    spelled = ["".join(_SPELLED[value] for value in token) for token in tokens]
    library = _library([(spelled[a], spelled[b]) for a, b in merges], {token: i for i, token in enumerate(spelled)})
    return lambda text: library.encode(_valid(text), add_special_tokens=False).ids


def whole_words(pieces: Iterable[str]) -> Iterator[str]:
    """The same text in pieces that end where a word does: before white space that follows something else.

    A run of more than a million characters without such a border is cut anywhere.
    """
    held = ""
    for piece in pieces:
        held += piece
        border = _BORDER.match(held)
        cut = border.end() if border else len(held) if len(held) > _LONGEST else 0
        if cut:
            yield held[:cut]
            held = held[cut:]
    if held:
        yield held


def _spelled() -> list[str]:
    """The visible character by which the library writes each byte, as in GPT-2."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [value for value in range(BYTES) if value not in visible]
    names = {value: chr(value) for value in visible} | {value: chr(BYTES + n) for n, value in enumerate(others)}
    return [names[value] for value in range(BYTES)]


_SPELLED = _spelled()


def _imported() -> Any:
    try:
        import tokenizers
    except ModuleNotFoundError:
        raise UsageError("Byte pairs need the package tokenizers: pip install 'carousel-nn[text]'.") from None
    return tokenizers


def _library(merges: list[tuple[str, str]], vocabulary: dict[str, int]) -> Any:
    package = _imported()
    library = package.Tokenizer(package.models.BPE(vocab=vocabulary, merges=merges))
    library.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return library


def _valid(text: str) -> str:
    """The text with U+FFFD for lone surrogates, which UTF-8 does not have."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
