"""Which examples are trained on, which measure progress, and which are kept for the end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SPLIT_NAMES", "draw", "in_name", "split_of", "without_split"]

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("dev", "devel", "valid", "validation", "val"), "dev"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
"""What people call the parts."""


def split_of(word: str) -> str | None:
    """The part that a word names."""
    return SPLIT_NAMES.get(word.strip().lower())


def in_name(name: str) -> str | None:
    """The part that the name of a file or folder speaks of, as in `stsa.binary.train` or `en_ewt-ud-dev.conllu`."""
    found = {split for word in re.split(r"[^A-Za-z]+", name) if (split := split_of(word))}
    return found.pop() if len(found) == 1 else None


def without_split(name: str) -> str:
    """The name without the words that speak of a part."""
    pieces = re.split(r"([^A-Za-z0-9]+)", name)
    kept = [piece for piece in pieces if split_of(piece) is None]
    return re.sub(r"([^A-Za-z0-9])[^A-Za-z0-9]+", r"\1", "".join(kept)).strip("-_. ")


def draw(
    classes: NDArray[Any], groups: Sequence[Any], candidates: NDArray[np.bool_], share: float, seed: int
) -> NDArray[np.bool_]:
    """Which of the candidates to hold out: about `share` of them, of every class its share, equal ones together.

    Args:
        classes: (examples,) the class of each; where there are none, all zero.
        groups: (examples,) what is equal in what must not be on both sides, such as the text itself.
        candidates: (examples,) those among which to draw.
        share: from 0 to below 1.
        seed: of the draw.

    Returns:
        (examples,) true where held out. A class keeps at least one group.

    Example:
        >>> held = draw(np.repeat([0, 1], [80, 20]), range(100), np.ones(100, bool), 0.1, 0)
        >>> held[:80].sum(), held[80:].sum()
        (np.int64(8), np.int64(2))
    """
    held = np.zeros(len(classes), bool)
    places = np.flatnonzero(candidates)
    if share <= 0 or not len(places):
        return held
    index: dict[Any, int] = {}
    numbers = (index.setdefault(groups[place], len(index)) for place in places.tolist())
    group = np.fromiter(numbers, np.int64, len(places))
    own = np.asarray(classes)[places]
    together: list[set[int]] = [set() for _ in index]
    for number, label in zip(group.tolist(), own.tolist(), strict=True):
        together[number].add(label)
    kinds = {labels: number for number, labels in enumerate(sorted({tuple(sorted(labels)) for labels in together}))}
    kind = np.array([kinds[tuple(sorted(labels))] for labels in together])
    random = np.random.default_rng([seed, len(index)])
    order = np.lexsort((random.random(len(index)), np.bincount(group), kind))
    # every 1/share-th of the groups, which stand in the order of their classes and sizes
    passed = np.floor(np.arange(len(order) + 1) * share + random.random())
    chosen = np.zeros(len(index), bool)
    chosen[order] = np.diff(passed) > 0
    for label in np.setdiff1d(own, own[~chosen[group]]):
        chosen[group[own == label][0]] = False
    held[places[chosen[group]]] = True
    return held
