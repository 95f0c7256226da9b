"""What is held out: shares of classes, groups and equal rows on one side, the last rows, folds."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from carousel.data import splits
from carousel.data.splits import about_folds, by_group, by_time, folds, on_both_sides, strata
from carousel.errors import DataError, UsageError

EVERY = np.ones(1000, bool)


def on_one_side(groups: np.ndarray, sides: np.ndarray) -> bool:
    return all(len(np.unique(sides[groups == group])) == 1 for group in np.unique(groups))


def test_examples() -> None:
    assert doctest.testmod(splits).failed == 0


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_groups_lie_on_one_side_and_classes_keep_their_share(share: float) -> None:
    random = np.random.default_rng(0)
    groups = np.sort(random.integers(0, 80, 1000))
    labels = np.where(random.random(1000) < 0.2, "rare", "often")
    held = by_group(labels, groups.tolist(), EVERY, share, 0)
    assert on_one_side(groups, held)
    assert abs(held.mean() - share) < 0.02
    for label in ("rare", "often"):
        assert abs(held[labels == label].mean() - share) < 0.04
    assert np.array_equal(held, by_group(labels, groups.tolist(), EVERY, share, 0))
    assert not np.array_equal(held, by_group(labels, groups.tolist(), EVERY, share, 1))


def test_groups_of_odd_sizes_and_few() -> None:
    two = ["a"] * 900 + ["b"] * 100
    for share in (0.01, 0.1, 0.9):
        held = by_group(None, two, EVERY, share, 0)
        assert on_one_side(np.array(two), held)
        assert 0 < held.sum() < 1000
    assert by_group(None, two, EVERY, 0.1, 0).sum() == 100
    candidates = np.arange(1000) >= 850
    held = by_group(None, two, candidates, 0.3, 0)
    assert not held[:850].any()
    assert 0 < held.sum() < 150
    assert not by_group(None, two, EVERY, 0.0, 0).any()
    with pytest.raises(DataError, match=r"All 850 rows are of the group 'a'"):
        by_group(None, two, ~candidates, 0.1, 0)


def test_the_last_rows() -> None:
    random = np.random.default_rng(0)
    times = random.permutation(1000).astype("datetime64[D]")
    held = by_time(times, EVERY, 0.25)
    assert held.sum() == 250
    assert times[held].min() > times[~held].max()
    years = np.repeat([2001, 2002, 2003], [500, 400, 100])  # a border between equal times is none
    assert np.array_equal(by_time(years, EVERY, 0.2), years == 2003)
    assert np.array_equal(by_time(years, EVERY, 0.01), years == 2003)
    assert np.array_equal(by_time(years, EVERY, 0.99), years > 2001)
    assert np.array_equal(by_time(years, years < 2003, 0.2), years == 2002)
    assert not by_time(years, EVERY, 0).any()
    with pytest.raises(DataError, match="All 100 rows have the time 2003"):
        by_time(years, years == 2003, 0.2)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_folds_of_classes(n: int) -> None:
    labels = np.repeat(["a", "b", "c"], [601, 397, 2])
    found = folds(labels, n, 0)
    for label, size in (("a", 601), ("b", 397), ("c", 2)):
        counts = np.bincount(found[labels == label], minlength=n)
        assert set(counts) <= {size // n, -(-size // n)}
    assert np.ptp(np.bincount(found)) <= 1
    assert np.array_equal(found, folds(labels, n, 0))
    assert not np.array_equal(found, folds(labels, n, 1))
    said = about_folds(labels, found)
    assert said == ([] if n == 2 else [f"Not in every one of the {n} folds: class c (2 rows); its scores differ "
                                       "widely there."])  # fmt: skip


def test_folds_of_numbers_hold_small_and_large_ones() -> None:
    targets = np.random.default_rng(0).exponential(size=1003)
    found = folds(targets, 5, 0)
    assert np.ptp(np.bincount(found)) <= 1
    ranks = np.argsort(np.argsort(targets))
    blocks = ranks // 5
    for block in range(200):
        assert sorted(found[blocks == block]) == [0, 1, 2, 3, 4]
    means = np.array([ranks[(found == fold) & (blocks < 200)].mean() for fold in range(5)])
    assert np.ptp(means) < 5 * np.sqrt((5**2 - 1) / 12 / 200)  # places in a block are drawn, not always the same
    assert np.ptp(np.bincount(folds(None, 7, 0, rows=100))) <= 1


def test_folds_of_groups_and_equal_rows() -> None:
    random = np.random.default_rng(0)
    groups = np.minimum(random.geometric(0.05, 2000), 60)
    labels = random.integers(0, 3, 2000)
    found = folds(labels, 4, 0, groups=groups.tolist())
    assert on_one_side(groups, found)
    assert np.ptp(np.bincount(found)) < 40
    table = np.array([np.bincount(labels[found == fold]) for fold in range(4)])
    assert np.ptp(table, axis=0).max() < 40
    equal = np.where(np.arange(2000) < 100, np.arange(2000) // 4, np.arange(2000))
    found = folds(labels.astype(float), 4, 0, equal=equal)
    assert on_one_side(equal[:100], found[:100])
    assert np.ptp(np.bincount(found)) <= 5


def test_too_few_for_folds() -> None:
    with pytest.raises(UsageError, match="two folds or more; 1 was given"):
        folds(np.zeros(9, int), 1, 0)
    with pytest.raises(DataError, match="There are 3 groups and 5 folds"):
        folds(np.zeros(9, int), 5, 0, groups=list("aaabbbccc"))
    with pytest.raises(DataError, match="There are 4 rows and 5 folds"):
        folds(np.zeros(4, int), 5, 0)
    with pytest.raises(DataError, match="There are 2 different rows and 3 folds"):
        folds(np.zeros(4, int), 3, 0, equal=[1, 1, 2, 2])
    with pytest.raises(DataError, match="There are 0 rows"):
        folds(None, 2, 0)


def test_strata_are_of_equal_size() -> None:
    targets = np.random.default_rng(0).normal(size=101)
    found = strata(targets)
    assert np.ptp(np.bincount(found)) <= 1
    assert targets[found == 0].max() < targets[found == 9].min()
    assert strata(np.array([1.0])).tolist() == [0]
    assert strata(np.zeros(0)).tolist() == []


def test_groups_of_the_same_classes_are_of_one_kind() -> None:
    random = np.random.default_rng(0)
    for size in (1, 7, 60):
        group = random.integers(0, 12, size)
        group = np.unique(group, return_inverse=True)[1]
        labels = random.choice(["a", "b", "c"], size)
        sets = [tuple(sorted(set(labels[group == number]))) for number in range(group.max() + 1)]
        assert splits._kinds(group, labels).tolist() == [sorted(set(sets)).index(labels) for labels in sets]


def test_examples_held_out_that_are_trained_on_too() -> None:
    equal = np.array([0, 1, 2, 0, 1, 3, 2])
    parts = {"train": np.array([0, 1, 2]), "dev": np.array([3, 5]), "test": np.array([4, 6])}
    dev, test = on_both_sides(parts, equal, "image")
    assert "1 of 2 images of the dev part is" in dev
    assert "2 of 2 images of the test part are" in test
    assert not on_both_sides({**parts, "dev": np.array([5]), "test": np.array([], np.int64)}, equal, "image")
