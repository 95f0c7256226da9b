"""Which examples are trained on, which measure progress, and which are kept for the end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError

__all__ = [
    "SPLIT_NAMES",
    "about_folds",
    "by_group",
    "by_time",
    "draw",
    "folds",
    "in_name",
    "on_both_sides",
    "split_of",
    "strata",
    "without_split",
]

STRATA = 10
"""Equal shares into which a target that is a number is cut, to have small and large ones on both sides."""

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
    classes: NDArray[Any], groups: Sequence[Any] | NDArray[Any], candidates: NDArray[np.bool_], share: float, seed: int
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
    group = _numbered(_chosen(groups, places))
    own = np.asarray(classes)[places]
    kind = _kinds(group, own)
    random = np.random.default_rng([seed, len(kind)])
    order = np.lexsort((random.random(len(kind)), np.bincount(group), kind))
    # every 1/share-th of the groups, which stand in the order of their classes and sizes
    passed = np.floor(np.arange(len(order) + 1) * share + random.random())
    chosen = np.zeros(len(kind), bool)
    chosen[order] = np.diff(passed) > 0
    for label in np.setdiff1d(own, own[~chosen[group]]):
        chosen[group[own == label][0]] = False
    held[places[chosen[group]]] = True
    return held


def strata(targets: NDArray[np.floating], bins: int = STRATA) -> NDArray[np.int64]:
    """Numbers as classes for a stratified draw: of equal size, from the smallest to the largest.

    Args:
        targets: (examples,) numbers.
        bins: how many; fewer where there are fewer than two examples for each.

    Returns:
        (examples,) from 0; equal targets may lie on both sides of a border.

    Example:
        >>> strata(np.array([5.0, 1.0, 9.0, 2.0]), 2)
        array([1, 0, 1, 0])
    """
    bins = max(1, min(bins, len(targets) // 2))
    found = np.empty(len(targets), np.int64)
    found[np.argsort(targets, kind="stable")] = np.arange(len(targets)) * bins // max(1, len(targets))
    return found


def by_group(
    labels: NDArray[Any] | None,
    groups: Sequence[Any] | NDArray[Any],
    candidates: NDArray[np.bool_],
    share: float,
    seed: int,
) -> NDArray[np.bool_]:
    """Which of the candidates to hold out: whole groups, that together come near `share` of the rows and the classes.

    Groups are taken in the order of their sizes, the largest first, and go where they keep the sum over both sides and
    all classes of (share of the class)² / (share of the side) smallest; see `folds`.

    Args:
        labels: (examples,) classes as integers or text, or targets as floats, see `strata`; None to look at sizes only.
        groups: (examples,) what lies on one side as a whole, such as the patient.
        candidates: (examples,) those among which to draw.
        share: from 0 to below 1; where it is above 0, at least one group is held out and one is not.
        seed: of the draw.

    Returns:
        (examples,) true where held out.

    Raises:
        DataError: all candidates are of one group.

    Example:
        >>> held = by_group(None, list("aaabbbccc"), np.ones(9, bool), 0.33, 0)
        >>> held.sum()
        np.int64(3)
    """
    held = np.zeros(len(candidates), bool)
    places = np.flatnonzero(candidates)
    if share <= 0 or not len(places):
        return held
    units = _numbered(_chosen(groups, places))
    if units.max() == 0:
        raise DataError(
            f"All {len(places):,} rows are of the group {groups[int(places[0])]!r}, so none can be held out; name "
            "another column of groups, or split at random."
        )
    classes = _classes(None if labels is None else np.asarray(labels)[places], len(places))
    side = _spread(classes, units, np.array([share, 1 - share]), np.random.default_rng([seed, len(places)]))
    for empty, other in ((0, 1), (1, 0)):
        if not (side == empty).any():
            sizes = np.bincount(units)
            side[units == int(np.flatnonzero(sizes == sizes.min())[0])] = empty
            assert (side == other).any()
    held[places[side == 0]] = True
    return held


def by_time(times: NDArray[Any], candidates: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """Which of the candidates to hold out: the last ones; those of the same time stay on one side.

    Args:
        times: (examples,) dates, times or numbers, in any order.
        candidates: (examples,) those among which to choose.
        share: from 0 to below 1.

    Returns:
        (examples,) true where held out: about `share`, and where that is above 0 at least the last time and never the
        first.

    Raises:
        DataError: all candidates have the same time.

    Example:
        >>> by_time(np.array([3, 1, 2, 4]), np.ones(4, bool), 0.5)
        array([ True, False, False,  True])
    """
    held = np.zeros(len(candidates), bool)
    places = np.flatnonzero(candidates)
    if share <= 0 or not len(places):
        return held
    own = np.asarray(times)[places]
    ordered = np.sort(own)
    if ordered[0] == ordered[-1]:
        raise DataError(
            f"All {len(places):,} rows have the time {ordered[0]}, so there are no last ones to hold out; name another "
            "time column, or split at random."
        )
    begins = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    begin = begins[np.argmin(np.abs(begins - len(ordered) * (1 - share)))]
    held[places[own >= ordered[begin]]] = True
    return held


def folds(
    labels: NDArray[Any] | None,
    n: int,
    seed: int,
    *,
    groups: Sequence[Any] | NDArray[Any] | None = None,
    equal: Sequence[Any] | NDArray[Any] | None = None,
    rows: int | None = None,
) -> NDArray[np.int64]:
    """The fold of each row, for cross-validation: folds of equal size in which every class has its share.

    Single rows are dealt out in the order of their classes, or of their targets; of a class with m rows every fold
    has ⌊m/n⌋ or ⌈m/n⌉. Groups are dealt out first, the largest before the others, each to the fold f where

        Σ_c (m_fc / m_c)² + (m_f / m)²

    grows least (m_fc: rows of class c in fold f).

    Args:
        labels: (rows,) classes as integers or text, or targets as floats; None to look at sizes only.
        n: number of folds, at least 2.
        seed: of the draw.
        groups: (rows,) what lies in one fold as a whole, such as the patient.
        equal: (rows,) what is the same in rows that must not lie in two folds, such as the whole row; not looked at
            where there are groups.
        rows: how many there are, where there are no labels.

    Returns:
        (rows,) from 0 to n - 1.

    Raises:
        UsageError: fewer than two folds.
        DataError: there are fewer rows, groups or different rows than folds.

    Example:
        >>> numbers = folds(np.repeat(["yes", "no"], [10, 90]), 5, 0)
        >>> np.bincount(numbers), np.bincount(numbers[:10])
        (array([20, 20, 20, 20, 20]), array([2, 2, 2, 2, 2]))
    """
    together = groups if groups is not None else equal
    sized = labels if labels is not None else together
    count = len(sized) if sized is not None else rows or 0
    if n < 2:
        raise UsageError(f"Cross-validation needs two folds or more; {n} was given.")
    units = np.arange(count) if together is None else _numbered(together)
    different = int(units.max()) + 1 if count else 0
    if different < n:
        what = "rows" if together is None else "groups" if groups is not None else "different rows"
        raise DataError(
            f"There are {different:,} {what} and {n} folds, and every fold needs one; ask for fewer folds or give more "
            "data."
        )
    random = np.random.default_rng([seed, n, count])
    classes = _classes(labels, count)
    sizes = np.bincount(units)
    single = sizes[units] == 1
    found = np.empty(count, np.int64)
    if together is not None:
        if groups is not None:
            single[:] = False
        several = np.flatnonzero(~single)
        if len(several):
            found[several] = _spread(classes[several], _numbered(units[several]), np.full(n, 1 / n), random)
    alone = np.flatnonzero(single)
    numeric = labels is not None and np.asarray(labels).dtype.kind == "f"
    order = np.lexsort((random.random(len(alone)), np.asarray(labels)[alone] if numeric else classes[alone]))
    begin = int(random.integers(n))
    if numeric:  # of every n neighbors one for each fold, in an order of their own: no fold gets the smallest each time
        turns = np.argsort(random.random((-(-len(alone) // n), n)), axis=1).ravel()[: len(alone)]
    else:
        turns = (np.arange(len(alone)) + begin) % n
    found[alone[order]] = turns
    return found


def about_folds(labels: NDArray[Any], numbers: NDArray[np.int64], what: str = "class") -> list[str]:
    """What is odd about folds of classes: those that some folds have no row of, in sentences for the user."""
    n = int(numbers.max(initial=0)) + 1
    names, classes = np.unique(labels, return_inverse=True)
    table = np.zeros((len(names), n), np.int64)
    np.add.at(table, (classes, numbers), 1)
    lacking = np.flatnonzero((table == 0).any(1))
    if not len(lacking):
        return []
    shown = [f"{names[place]} ({table[place].sum():,} rows)" for place in lacking[:5].tolist()]
    more = f" and {len(lacking) - 5:,} more" if len(lacking) > 5 else ""
    return [f"Not in every one of the {n} folds: {what} {', '.join(shown)}{more}; its scores differ widely there."]


def on_both_sides(parts: Mapping[str, NDArray[np.int64]], equal: NDArray[np.int64], unit: str) -> list[str]:
    """What was held out though it equals something in the training part, as whole groups and times may bring about.

    Args:
        parts: the numbers of the examples of each split.
        equal: (examples,) the same for equal ones.
        unit: what an example is.

    Returns:
        Sentences for the user.

    Example:
        >>> parts = {"train": np.array([0, 1]), "dev": np.array([3]), "test": np.array([2])}
        >>> on_both_sides(parts, np.array([7, 8, 7, 9]), "row")
        ['Leakage: 1 of 1 rows of the test part is in the training part too: scores there look better than they are.']
    """
    notes = []
    for split in ("dev", "test"):
        own = equal[parts[split]]
        leaked = int(np.isin(own, equal[parts["train"]]).sum())
        if leaked:
            notes.append(
                f"Leakage: {leaked:,} of {len(own):,} {unit}s of the {split} part {'is' if leaked == 1 else 'are'} in "
                "the training part too: scores there look better than they are."
            )
    return notes


def _chosen(values: Sequence[Any] | NDArray[Any], places: NDArray[np.int64]) -> Sequence[Any] | NDArray[Any]:
    return values[places] if isinstance(values, np.ndarray) else [values[place] for place in places.tolist()]


def _kinds(group: NDArray[np.int64], labels: NDArray[Any]) -> NDArray[np.int64]:
    """(groups,) the same number for groups with the same set of labels, in the order of these sets."""
    names, label = np.unique(labels, return_inverse=True)
    groups, own = np.divmod(np.unique(group * len(names) + label), len(names))
    sizes = np.bincount(groups)
    sets = {(only,) for only in np.unique(own[sizes[groups] == 1]).tolist()}
    mixed: dict[int, tuple[int, ...]] = {}
    for number, some in zip(groups[sizes[groups] > 1].tolist(), own[sizes[groups] > 1].tolist(), strict=True):
        mixed[number] = (*mixed.get(number, ()), some)
    place = {labels: number for number, labels in enumerate(sorted(sets | set(mixed.values())))}
    alone = np.array([place.get((only,), -1) for only in range(len(names))])
    found = alone[own[np.searchsorted(groups, np.arange(len(sizes)))]]
    for number, several in mixed.items():
        found[number] = place[several]
    return found


def _numbered(values: Sequence[Any] | NDArray[Any]) -> NDArray[np.int64]:
    """The same number for what is equal, from 0 in the order in which it first comes."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu":
        _, first, found = np.unique(values, return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[found]
    index: dict[Any, int] = {}
    return np.fromiter((index.setdefault(value, len(index)) for value in values), np.int64, len(values))


def _classes(labels: NDArray[Any] | None, rows: int) -> NDArray[np.int64]:
    """Numbers of classes."""
    if labels is None:
        return np.zeros(rows, np.int64)
    labels = np.asarray(labels)
    return strata(labels) if labels.dtype.kind == "f" else np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _spread(
    classes: NDArray[np.int64], units: NDArray[np.int64], shares: NDArray[np.float64], random: np.random.Generator
) -> NDArray[np.int64]:
    """Parts of these shares for whole units, the largest first, each where the squares of `folds` grow least."""
    rows = np.argsort(units, kind="stable")
    ends = np.cumsum(np.bincount(units))
    members = np.split(rows, ends[:-1])
    weight = 1 / np.maximum(np.bincount(classes), 1).astype(np.float64) ** 2
    counts = np.zeros((len(shares), len(weight)))
    sizes = np.zeros(len(shares))
    parts = np.empty(len(classes), np.int64)
    for unit in sorted(random.permutation(len(members)).tolist(), key=lambda unit: -len(members[unit])):
        own, size = classes[members[unit]], len(members[unit])
        kinds, many = np.unique(own, return_counts=True)
        growth = (weight[kinds] * many * (2 * counts[:, kinds] + many)).sum(1)
        growth += size * (2 * sizes + size) / len(classes) ** 2
        part = int(np.argmin(growth / shares))
        counts[part, kinds] += many
        sizes[part] += size
        parts[members[unit]] = part
    return parts
