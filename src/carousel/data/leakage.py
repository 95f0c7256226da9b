"""What makes the scores of a table look better than they are, or of little use: said before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .tables import in_order

__all__ = ["copies", "imbalance", "repeated", "telling"]

SAMPLE = 20_000
"""Rows that are looked at to see whether a column tells the target."""
LEAST = 50
"""Rows below which that may be chance."""
SURE = 0.99
"""Share of the mistakes without the column that it takes away."""
VARIANCE = 0.999
"""Share of the variance of the target that it explains."""
UNLIKE = 10
"""Times that the largest class is as large as the smallest."""


def copies(values: pl.Series, goal: pl.Series) -> bool:
    """Whether a column says the same as the target in every row."""
    if len(values) != len(goal) or values.null_count():
        return False
    if values.dtype == goal.dtype:
        return bool((values == goal).all())
    if goal.dtype == pl.String and values.dtype == pl.Float64:
        return bool((goal.cast(pl.Float64, strict=False) == values).fill_null(False).all())
    return False


def telling(frame: pl.DataFrame, target: str) -> list[str]:
    """Columns each of which alone determines the target, nearly or fully.

    Of classes a column is asked for the commonest class beside each of its values (at most n/10 of them, or as many
    equal shares); it tells the class if less than 1 % of the mistakes are left that always naming the largest class
    makes (Goodman and Kruskal's λ above 0.99). Of numbers, if it explains 99.9 % of their variance, as a straight
    line, by its ranks, or by its values.
    """
    frame = frame.gather_every(-(-frame.height // SAMPLE))
    rows, goal = frame.height, frame[target]
    if rows < LEAST:
        return []
    classes = _codes(goal, rows) if goal.dtype == pl.String else None
    numbers = _scaled(goal.to_numpy()) if classes is None else None
    found: list[str] = []
    for column in frame.drop(target).iter_columns():
        if classes is not None:
            tells = (codes := _codes(column, rows // 10)) is not None and _certainty(codes, classes) > SURE
        else:
            assert numbers is not None
            tells = _explained(column, numbers) > VARIANCE
        if tells:
            found.append(column.name)
    if not found:
        return []
    each = f"The column {found[0]!r} alone tells" if len(found) == 1 else f"Each of {', '.join(map(repr, found))} tells"
    it = "it is" if len(found) == 1 else "they are"
    return [
        f"{each} the target {target!r} almost without a mistake. If {it} known only together with the target, "
        f"the scores mean nothing: leave {'it' if len(found) == 1 else 'them'} out with --drop."
    ]


def imbalance(goal: pl.Series, target: str) -> list[str]:
    """Classes of unlike size, and those of one row."""
    counts = goal.value_counts(sort=True)
    names, sizes = counts[target].to_list(), counts["count"].to_list()
    notes = []
    single = sorted((name for name, size in zip(names, sizes, strict=True) if size == 1), key=in_order)
    if single:
        more = f" and {len(single) - 10:,} more" if len(single) > 10 else ""
        notes.append(
            f"A single row of {', '.join(map(repr, single[:10]))}{more}: of such a class nothing can be learned that "
            "holds for others, or be tested."
        )
    if sizes[0] >= UNLIKE * sizes[-1]:
        notes.append(
            f"The classes are of unlike size, from {sizes[-1]:,} rows ({names[-1]!r}) to {sizes[0]:,} ({names[0]!r}): "
            f"always answering {names[0]!r} is right in {100 * sizes[0] / sum(sizes):.3g} % of the rows."
        )
    return notes


def repeated(inputs: pl.DataFrame, splits: Sequence[str | None], place: Callable[[int], str]) -> list[str]:
    """Rows that repeat the inputs of another, above all those on the other side of a given split."""
    hashes = inputs.hash_rows(0)
    twice = inputs.height - hashes.n_unique()
    if not twice:
        return []
    parts = pl.Series([split or "train" for split in splits])
    notes = []
    for split in ("dev", "test"):
        leaked = ((parts == split) & hashes.is_in(hashes.filter(parts == "train").implode())).arg_true()
        if len(leaked):
            row = int(leaked[0])
            other = int(((hashes == hashes[row]) & (parts == "train")).arg_true()[0])
            notes.append(
                f"{len(leaked):,} of {int((parts == split).sum()):,} rows of the {split} part are in the training part "
                f"too, as {place(row)}, and {place(other)}: the scores there look better than they are."
            )
    if notes:
        return notes
    if 2 * twice > inputs.height:
        return [f"{twice:,} of {inputs.height:,} rows repeat another, so that equal rows may be trained on and tested."]
    one = twice == 1
    return [f"{twice:,} row{'' if one else 's'} repeat{'s' if one else ''} the inputs of another."]


def _scaled(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most 1, so that squares of any number are finite."""
    return numbers / (np.abs(numbers).max(initial=0) or 1.0)


def _codes(column: pl.Series, most: int) -> NDArray[np.int64] | None:
    """Numbers of the values of a column, or of at most `most` equal shares of many; None for too many words."""
    if column.n_unique() <= most or column.dtype == pl.String:
        codes = column.rank("dense").fill_null(0).to_numpy().astype(np.int64)
        return codes if codes.max() <= most else None
    ranks = column.cast(pl.Float64).rank("min").fill_null(0).to_numpy()
    return (ranks * min(most, 256) // (len(column) + 1)).astype(np.int64)


def _certainty(codes: NDArray[np.int64], classes: NDArray[np.int64]) -> float:
    """Goodman and Kruskal's λ: the share of mistakes that go away once the value of a column is known."""
    pairs, counts = np.unique(codes * (classes.max() + 1) + classes, return_counts=True)
    best = np.zeros(codes.max() + 1, np.int64)
    np.maximum.at(best, pairs // (classes.max() + 1), counts)
    mistakes = len(classes) - np.bincount(classes).max()
    return 1 - (len(classes) - best.sum()) / mistakes


def _explained(column: pl.Series, goal: NDArray[np.float64]) -> float:
    """The largest share of the variance that a line, a line of ranks, or the means of equal values explain."""
    shares = [0.0]
    codes = _codes(column, len(goal) // 10)
    if codes is not None:
        sizes = np.maximum(np.bincount(codes), 1)
        means = np.bincount(codes, goal) / sizes
        shares.append(1 - float(np.square(goal - means[codes]).mean() / goal.var()))
    if column.dtype == pl.Float64:
        known = column.is_not_null().to_numpy()
        x, y = _scaled(column.to_numpy()[known]), goal[known]
        if len(x) >= LEAST and np.ptp(x) > 0 and np.ptp(y) > 0:
            ranks = [pl.Series(values).rank().to_numpy() for values in (x, y)]
            shares += [float(np.corrcoef(a, b)[0, 1] ** 2) for a, b in ((x, y), ranks)]
    return max(shares)
