"""What is to be predicted is given away: a feature is the label, or evaluated samples were trained on.

A feature that says the label as well as a measurement can is no fault; one that takes a single value for each class is
a copy. Nor is it one to evaluate the training data as such; a batch in which they are mixed with others is.

Pieces of a series may overlap. Split at random, most of what is evaluated stands in training rows, shifted. At the
boundary of a split in time a few pieces overlap too, and the training rows are the earlier ones there.
"""

from __future__ import annotations

import math
from collections import Counter

import torch
from torch import Tensor

from ..findings import Finding
from ..pairs import pairs
from ..record import Record
from ..samples import KEPT_ROWS, Fed, Pass

CODE = "data-leakage"
EXPLAINS = ("overfitting",)

LEAST_ROWS = 100
"""Different rows: a feature of two values that has nothing to do with two classes agrees with them on so many with a
probability of 2^-100; and toys and truth tables have fewer."""

LEAST_OF_A_CLASS = 5
"""Rows of a class, below which it is not asked for."""

RICH = 10
"""Different values of some other feature. Where all have few, as bits and one-hot codes, tasks are made by hand, and
one that asks for a bit of its input is no table with a column too many."""

MOST_CLASSES = 20
"""Different targets; with more they count as numbers."""

EXACT = 1e-6
"""Width of a class over the gap to the next one: rounding in 32 bits."""

NEARLY = 0.2
"""The same, for a copy with noise added: no measurement has its classes five of their ranges apart. Clusters drawn that
far apart for a toy have few features (`MANY`), or others that set a class apart, too, by more than its range."""

MANY = 5
"""Features that are not constant, for a nearly exact copy, and one that takes as many for an exact number (a regression
on a few powers of x may ask for a straight line)."""

STRAIGHT = 1 - 1e-9
"""Squared correlation with the target of a feature that is an affine copy of it, in 32 bits."""

LEVELS = 10
"""Values of a feature that is the target made coarse, at least: one of two values may be a measurement that decides
(whether there was a claim at all)."""

TOUCHING = 3.0
"""Mean gap between the targets of one level and the next, over that inside of levels. A cut through the target falls
into a gap of twice the mean size; a measurement that orders the targets without a fault leaves wide bands between."""

SHARE = 0.1
"""Evaluated rows that were trained on, at least: of all, or of those outside of batches that are training data as a
whole."""

ALL = 0.9
"""Of the training rows: an evaluation with so many of them, each once, is of all the data there are, as for a picture
(each of them twice: of the training data, and then of others that hold some of them)."""

OWN = 0.9
"""Different values of a feature over different rows: where it has a value of its own in nearly each, equal rows are
the same record, and do not come about by chance, however often they are repeated."""

HANDFUL = 10
"""Of these rows in mixed batches, at least."""

LEAST_EVALUATED = 50
"""Rows of an evaluation."""

BY_CHANCE = 2.0
"""Times as many common rows as one expects of two sets whose rows repeat as they do inside of one: of the evaluated
rows, or of the training rows (which repeat more where they are drawn with replacement), whichever repeats less; with
three standard errors added."""

LEAST_TIMES = 8
"""Of a piece of a series."""

VARIED = 0.5
"""Different numbers in a row, over its numbers: a few levels, or a padding, agree by chance."""

MOST = 0.5
"""Evaluated rows of which the second half, or more, is the begin of a training row: most of them. At the boundary of a
split there are as many as a piece is long, if it stands the wrong way round at all."""

MOST_TRAINED, WORK = 4000, 2**27
"""Recorded training rows; numbers that are gone through."""


def findings(record: Record) -> list[Finding]:
    """Where a column of the input is the target, or rows of an evaluation were trained on."""
    found = []
    record.samples.settle()
    if not any(fed.labelled for fed in record.samples.fed):
        found += _by_hand(record)
    for fed in record.samples.fed:
        for kind, rows in fed.labelled.items():
            said = _given_away(torch.cat([x for x, _ in rows]), torch.cat([y for _, y in rows])) if rows else None
            if said is not None:
                found.append(_copy(*said, f"the input of {fed.name}, against the targets of {kind}"))
        one = fed.judged
        if one is not None and _shared(record, fed, one):
            more = f" ({one.whole} further rows came in batches of training rows alone)" if one.whole else ""
            found.append(
                Finding(
                    CODE,
                    "warning",
                    f"the inputs of {fed.name} without gradients, as in an evaluation",
                    f"Of {len(one.rows)} rows evaluated before update {one.step}, {one.common} "
                    f"({one.common / len(one.rows):.0%}) are, number for number, among the {one.trained} different "
                    f"rows that were trained on before, mixed with others in the same batches{more}.",
                    "Split before anything is repeated or drawn, by disjoint indices, and drop repeated rows before "
                    "the split; the evaluation is better than it would be on new data.",
                    step=one.step,
                )
            )
        said = _overlap(record, fed) if not found else None
        if said is not None:
            found.append(
                Finding(
                    CODE,
                    "warning",
                    f"the inputs of {fed.name} without gradients, as in an evaluation",
                    said,
                    "Split before the series is cut into pieces: by person, by recording, or at one time with a gap as "
                    "long as a piece; the evaluation is better than it would be on new data.",
                )
            )
    return found


def _overlap(record: Record, fed: Fed) -> str | None:
    """In words, whether most of what is evaluated is, shifted, the begin of training rows."""
    if record.lab is None or fed.judged is None or not fed.sequences:
        return None
    x, hashes = torch.cat([x for x, _ in fed.sequences]), [h for _, of in fed.sequences for h in of]
    others, again = [h not in fed.trained for h in hashes], set(fed.judged.rows)
    if sum(others) < LEAST_EVALUATED or sum(h in again for h in hashes) < 0.9 * len(hashes):
        return None
    x = x[torch.tensor(others)]
    batches = [t.flatten(1) for tape in record.lab.tapes for t in record.lab.data_slots(tape).values()]
    rows = [t.cpu() for t in batches if t.shape[1] == fed.width and t.dtype == x.dtype]
    if not rows:
        return None
    trained = torch.cat(rows)[:MOST_TRAINED].reshape(-1, *x.shape[1:])
    times = [(x, trained), (x.transpose(1, 2), trained.transpose(1, 2))] if x.ndim == 3 else [(x, trained)]
    for one, other in times:
        shared = _shifted(one.reshape(len(one), one.shape[1], -1), other.reshape(len(other), one.shape[1], -1))
        if shared > MOST:
            return (
                f"Of {len(x)} rows evaluated, {shared:.0%} have a second half, or more, that is number for number the "
                f"begin of one of {len(trained)} recorded training rows: overlapping pieces of one series are on both "
                "sides of the split."
            )
    return None


def _shifted(x: Tensor, trained: Tensor) -> float:
    """Share of rows (row, time, feature) that hold the first half of a training row, later than at their begin."""
    length = x.shape[1]
    half = length // 2
    if length < LEAST_TIMES or half * half * x.shape[2] * len(x) > WORK:
        return 0.0
    whole = x.flatten(1).sort(1).values
    varied = (whole.diff(dim=1) > 0).sum(1) + 1 >= VARIED * whole.shape[1]
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**62), 2**62, (half * x.shape[2],), generator=generator) * 2 + 1

    def hashes(of: Tensor) -> Tensor:
        numbers = of.flatten(1).contiguous().view(torch.int16 if of.element_size() == 2 else torch.int32).long()
        return (numbers * factors.repeat_interleave(numbers.shape[1] // len(factors))).sum(1)

    begins, hit = hashes(trained[:, :half]), torch.zeros(len(x), dtype=torch.bool)
    for shift in range(1, length - half + 1):
        hit |= torch.isin(hashes(x[:, shift : shift + half]), begins)
    return float((hit & varied).double().mean())


def _copy(where: str, evidence: str, place: str) -> Finding:
    advice = (
        f"Take {where} out of the input (often the target is still a column of the table, or a feature was computed "
        "from it), and see what the network gets without."
    )
    return Finding(CODE, "error", f"{where} of {place}", evidence, advice)


def _by_hand(record: Record) -> list[Finding]:
    """With a loss that is written by hand: the rows of the tapes."""
    lab = record.lab
    if lab is None or any(x.ndim != 2 for tape in lab.tapes for x in lab.data_slots(tape).values()):
        return []
    data = pairs(lab)
    if data is None or data.x.shape[1] < 2 or any(fed.in_order for fed in record.samples.fed):
        return []
    said = _given_away(data.x[:KEPT_ROWS].double(), data.y[:KEPT_ROWS].double())
    return [] if said is None else [_copy(*said, "the input, against the targets")]


def _shared(record: Record, fed: Fed, one: Pass) -> bool:
    """Whether a pass mixes trained rows with others, which chance, and the data as a whole, do not explain."""
    n, both = len(one.rows), one.common + one.whole
    if not fed.per_row or fed.width < 2 or n < LEAST_EVALUATED or one.mixed < HANDFUL:
        return False
    if one.common >= ALL * one.trained or ALL * one.trained <= both <= 1.01 * one.trained:
        return False
    first = both < ALL * one.trained and both >= SHARE * (n + one.whole)  # of data in order, the first batches only
    if one.common < SHARE * n and not first:
        return False
    if not _records(fed):
        if fed.width == 2:  # points of a grid
            return False
        own = sum(count * (count - 1) // 2 for count in Counter(one.rows).values()), n * (n - 1) // 2
        rate = min(
            (twins + 3 * math.sqrt(twins + 1)) / pairs for twins, pairs in (own, (fed.twins, fed.pairs)) if pairs
        )
        if one.common < BY_CHANCE * rate * n * one.trained:
            return False
    known = sum(row in fed.trained or record.samples.others(fed, row) for row in one.rows)
    return known < 0.9 * n  # else the members of an ensemble, or folds, have had all of it between them


def _records(fed: Fed) -> bool:
    """Whether some feature has a value of its own in nearly every different row."""
    kept = max(fed.labelled.values(), key=len, default=[])
    if not kept:
        return False
    rows = torch.unique(torch.cat([x for x, _ in kept]), dim=0)
    return len(rows) >= LEAST_ROWS and any(len(torch.unique(column)) >= OWN * len(rows) for column in rows.T)


def _given_away(x: Tensor, y: Tensor) -> tuple[str, str] | None:
    """Which columns are the target, and what shows it."""
    rows = torch.cat([x, y[:, None]], 1)
    scale = rows.std(0)
    distinct = len(torch.unique((rows / scale.where(scale > 0, torch.ones(()))).mul(1e4).round(), dim=0))
    if distinct < LEAST_ROWS or not bool(rows.isfinite().all()):
        return None
    living = [j for j in range(x.shape[1]) if bool(x[:, j].ne(x[0, j]).any())]
    values, classes = torch.unique(y, return_inverse=True)
    if len(values) > MOST_CLASSES:
        return _copied_number(x, y, living)
    counts = torch.bincount(classes)
    kept = (counts >= LEAST_OF_A_CLASS).nonzero().flatten()
    if len(kept) < 2:
        return None
    lows = torch.stack([x[classes == k].amin(0) for k in kept])
    highs = torch.stack([x[classes == k].amax(0) for k in kept])
    said = _copied_class(lows, highs, living) or _one_hot(lows, highs)
    if said is None:
        return None
    columns, words = said
    if not any(len(torch.unique(x[:, j])) > RICH for j in living if j not in columns):
        return None
    where = f"column {columns[0]}" if len(columns) == 1 else f"columns {', '.join(map(str, columns[:12]))}"
    return where, f"In {len(x)} training rows ({distinct} different), {where} (counted from 0) {words}."


def _copied_class(lows: Tensor, highs: Tensor, living: list[int]) -> tuple[list[int], str] | None:
    """Columns that have one value for each class, or one column that very nearly has."""
    order = lows.argsort(0)
    between = lows.gather(0, order)[1:] - highs.gather(0, order)[:-1]
    gaps = between.amin(0)
    width = (highs - lows).amax(0) / gaps.where(gaps > 0, torch.full((), 1e-300))
    exact = [j for j in living if float(gaps[j]) > 0 and float(width[j]) <= EXACT]
    if exact:
        return exact, f"has one value in each of the {len(lows)} classes, and no two the same: it is the label"
    near = [j for j in living if float(gaps[j]) > 0 and float(width[j]) <= NEARLY]
    apart = between.amax(0) > (highs - lows).amax(0)
    if len(near) != 1 or len(living) < MANY or any(bool(apart[j]) for j in living if j not in near):
        return None
    return near, (
        f"keeps the {len(lows)} classes apart by gaps at least {1 / float(width[near[0]]):.0f} times as wide as a "
        "class, and no other column does: it is the label, hardly disturbed"
    )


def _one_hot(lows: Tensor, highs: Tensor) -> tuple[list[int], str] | None:
    """Columns that say of one class each whether it is it."""
    columns = []
    for k in range(len(lows)):
        others = torch.arange(len(lows)) != k
        same = (lows[k] == highs[k]) & (lows[others].amin(0) == highs[others].amax(0)) & (lows[k] != lows[others][0])
        columns += same.nonzero().flatten().tolist()[:1]
    if len(columns) < len(lows) - 1:
        return None
    return columns, f"each tell one of the {len(lows)} classes from all others by two values: they are the label"


def _copied_number(x: Tensor, y: Tensor, living: list[int]) -> tuple[str, str] | None:
    """One column that is the target, but for scale and offset."""
    if len(living) < MANY:
        return None
    a, b = x[:, living] - x[:, living].mean(0), y - y.mean()
    squared = (b @ a).square() / (a.square().sum(0) * (b @ b))
    hits = [j for j, r in zip(living, squared.tolist(), strict=True) if r > STRAIGHT]
    if not hits:
        return _coarse_number(x, y, living)
    if len(hits) != 1 or sum(r < 0.98 for r in squared.tolist()) < MANY - 1:
        return None
    where = f"column {hits[0]}"
    return where, (
        f"In {len(x)} training rows, {where} (counted from 0) is the target itself but for scale and offset: their "
        f"squared correlation is 1 to nine places."
    )


def _coarse_number(x: Tensor, y: Tensor, living: list[int]) -> tuple[str, str] | None:
    """One column that is the target in steps."""
    rows = torch.unique(torch.cat([y[:, None], x], 1), dim=0)
    hits = [j for j in living if _steps(rows[:, 0], rows[:, 1 + j])]
    if len(hits) != 1:
        return None
    where, levels = f"column {hits[0]}", len(torch.unique(x[:, hits[0]]))
    return where, (
        f"In {len(x)} training rows, {where} (counted from 0) has {levels} values, which order the targets without a "
        "single fault, and with no gap between the targets of one value and the next: it is the target made coarse."
    )


def _steps(y: Tensor, column: Tensor) -> bool:
    """Of sorted targets: whether each value of the column is an interval of them, in order, touching the next one."""
    change, gaps = column.diff(), y.diff()
    between = (change != 0) & (gaps > 0)
    levels = len(torch.unique(column))
    if levels < LEVELS or 3 * levels > len(y) or int((change != 0).sum()) != levels - 1:
        return False
    if not (bool((change >= 0).all()) or bool((change <= 0).all())) or int(between.sum()) < levels - 1:
        return False
    inside = gaps[~between & (gaps > 0)]
    return len(inside) > levels and float(gaps[between].mean()) <= TOUCHING * float(inside.mean())
