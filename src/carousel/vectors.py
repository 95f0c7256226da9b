"""`word_vectors`: vectors for the words of your own texts, by skip-gram."""

from __future__ import annotations

import warnings
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from .classical.skip_gram import SkipGram
from .data.text_files import find_text_files, read_whole
from .data.tokenizers import SPLITS
from .data.word_vectors import WordVectors
from .errors import DataError, UsageError

__all__ = ["word_vectors"]

FIRST, LAST = 0.025, 0.0001
"""The rate at the first and at the last word, as in word2vec."""


def word_vectors(
    texts: str | Path | Sequence[str | Path],
    *,
    size: int = 100,
    window: int = 5,
    epochs: int = 10,
    min_count: int = 5,
    negative: int = 5,
    words: str = "words",
    encoding: str = "utf-8",
    seed: int = 0,
    progress: Callable[[int, int], object] = lambda done, all_of_them: None,
) -> WordVectors:
    r"""Vectors of the words of your texts: words with similar neighbors get similar vectors.

    .. math:: P(w \text{ is near } v) = σ(u_w · v_v), \qquad \text{skip-gram with negative sampling}

    A line is a sentence: windows end with it. Equal texts, seeds and threads give equal vectors.

    Args:
        texts: a file, several, a pattern, a folder, or "python-stdlib".
        size: numbers of a vector.
        window: words on either side, at most.
        epochs: passes over the texts.
        min_count: words that come less often are left out.
        negative: noise words for each pair of neighbors.
        words: "words" cuts at word borders and punctuation, "spaces" at white space.
        encoding: of the files.
        seed: of all draws.
        progress: told after each pass how many are done, and of how many.

    Returns:
        `WordVectors`, the most frequent word first: `.nearest(word)`, `.save(path)`, `vectors[word]`.

    Raises:
        UsageError: there is no such file, or an option is impossible.
        DataError: a file can't be read, or has too few words.

    Example:
        >>> import carousel
        >>> vectors = carousel.word_vectors("corpus.txt", size=50)     # doctest: +SKIP
        >>> vectors.nearest("monday", 3)                               # doctest: +SKIP
        >>> vectors.save("vectors.txt")                                # doctest: +SKIP

    Source: Mikolov, Sutskever, Chen, Corrado & Dean, "Distributed representations of words and phrases", 2013.
    """
    whole = {"size": size, "window": window, "epochs": epochs, "min_count": min_count, "negative": negative}
    for name, value in whole.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UsageError(f"--{name.replace('_', '-')} is {value!r}; it must be a whole number of at least 1.")
    if words not in SPLITS:
        raise UsageError(f"--words is {words!r}; it is one of {', '.join(SPLITS)}.")
    names, counts, ids, sentences = _read(
        [texts] if isinstance(texts, str | Path) else list(texts), words, encoding, min_count
    )
    model = SkipGram(counts, size=size, window=window, negative=negative, seed=seed)
    for done in range(epochs):
        first, last = (FIRST + (LAST - FIRST) * share / epochs for share in (done, done + 1))
        model.epoch(ids, sentences, first, last)
        progress(done + 1, epochs)
    return WordVectors(names, model.v.numpy())


def _read(
    texts: Sequence[str | Path], words: str, encoding: str, min_count: int
) -> tuple[tuple[str, ...], torch.Tensor, torch.Tensor, torch.Tensor]:
    """The words that are kept, their counts, and of the whole text the words by number and their sentences."""
    places: dict[str, int] = {}
    text, lines, left_out = array("i"), array("i"), []
    for file, in_folder in find_text_files(texts).files.items():
        try:
            whole = read_whole(file, encoding)
        except DataError:
            if not in_folder:
                raise
            left_out.append(file)
            continue
        for line in whole.splitlines():
            found = SPLITS[words].findall(line)
            text.extend(places.setdefault(word, len(places)) for word in found)
            lines.append(len(found))
    if left_out:
        many = "1 file that is" if len(left_out) == 1 else f"{len(left_out):,} files that are"
        warnings.warn(f"Left out: {many} no text in {encoding} ({left_out[0]}).", stacklevel=3)
    ids = np.frombuffer(text, np.int32) if text else np.empty(0, np.int32)
    counts = np.bincount(ids, minlength=len(places))
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] >= min_count]
    if len(order) < 2:
        most = Counter({word: int(counts[place]) for word, place in places.items()}).most_common(1)
        seen = f"the most frequent, {most[0][0]!r}, comes {most[0][1]:,} times" if most else "there is none"
        raise DataError(
            f"Fewer than two words come {min_count} times or more ({seen}); give more text, or a smaller --min-count."
        )
    numbers = np.full(len(places), -1, np.int64)
    numbers[order] = np.arange(len(order))
    sentences = np.repeat(np.arange(len(lines)), np.frombuffer(lines, np.int32) if lines else [])
    kept = numbers[ids] >= 0
    names = [*places]
    return (
        tuple(names[place] for place in order.tolist()),
        torch.from_numpy(counts[order]).float(),
        torch.from_numpy(numbers[ids][kept]),
        torch.from_numpy(sentences[kept]),
    )
