"""Labels that have nothing to do with their inputs: the training data are learned by heart, other data stay at chance.

Chance is what the answers would get if they were dealt to the samples at random (Cohen's kappa is 0 there, the
correlation of a regression likewise), whatever the shares of the classes. Overfitting on data that say something does
not come down to it, nor does an offset or a drift of a regression.

Where the run has learned little by heart, or few samples are evaluated, an experiment decides: a plain network learns
three quarters of the recorded batches by heart, and is at chance on the last, in turn. It says nothing by itself, for
there are tasks that such a network cannot solve; the run's own evaluations must be at chance, too.

Where no evaluation was seen, copies of rows with some noise added can tell: they stand closer to each other than any
rows else, and should have one label. If theirs agree as by chance, the copies and their labels were put in different
orders. The run must have learned the labels by heart, too, and the experiment as above.

Labels of which only a part is wrong are left out: what they do to the losses, data that are merely hard do too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
import torch.nn.functional as F

from ..answers import Agreement
from ..criteria import Labels
from ..findings import Finding
from ..lab import Lab
from ..pairs import pairs, plain_network
from ..record import Record

CODE = "label-noise"
EXPLAINS = ("overfitting",)

LEARNED = 0.2
"""What of the room above chance the network has learned of its training data in the last quarter: below it is hardly
learned by heart, and there is little to miss in other data."""

LITTLE = 0.1
"""The same, where the experiment decides: enough that the labels have been learned, and not just their shares."""

FOLDS = 4

SURE = 2.0
"""Standard errors by which an evaluation stays below what the run has learned, and the held-out rows of the experiment
below `CARRIED` of what was learned of the others: by chance each happens once in forty times, and hardly ever both."""

LEAST = 100
"""Evaluated samples."""

ERRORS = 3.0
"""Standard errors above chance that no evaluation may exceed: one of a thousand does so at random."""

TYPICAL = 1.5
"""Standard errors above chance that their median may not exceed: the evaluations are of the same samples, so that they
err together, and one set of fifteen is farther off at random."""

CARRIED = 1 / 3
"""The part of what is learned that would have shown in an evaluation, had it been carried over; else too few samples
were evaluated to tell."""

NO_BETTER = 0.985
"""Loss of the best evaluation over that of a constant answer. Data that say a little are better than that before they
are learned by heart; a network that has just begun to learn noise wavers around 1 by the spread of its scores over the
square root of the samples, which is below a percent."""

VARIED = 0.5
"""How varied the answers are, over the labels (1 where they have the same distribution): a network that says the same
of all other data has a fault of its own, as inputs of another scale."""

CHUNK = 100
"""Samples of successive batches whose commonest class counts as known (by chance alone it is more than its share):
where data come sorted by class, a network that says the class of the day looks good without having learned a label."""

NEAR, APART = 0.1, 0.3
"""Squared distances over the median one: copies are nearer than `NEAR`, and hardly any pair lies between the two, where
a continuum of rows has far more pairs than below `NEAR`. Chosen."""

LEAST_PAIRS, MOST_ROWS = 100, 1500
"""Of copies; of recorded rows that are compared."""

ADVICE = (
    "Look at some inputs beside their labels. Shuffle, filter and sort inputs and labels with the same indices (one "
    "permutation for both), and encode the labels of the training and of the other data by the same table."
)


@dataclass(frozen=True)
class Folds:
    """Kappa of the plain network on its own rows, and on the others with its standard error at chance; rows."""

    own: float
    other: float
    error: float
    rows: int

    @property
    def said(self) -> str:
        """In words."""
        return (
            f" A plain network that learned three quarters of {self.rows} recorded samples, in turn, got "
            f"{self.own:.0%} of the room above chance on these, and {max(0.0, self.other):.1%} on the others."
        )


@dataclass(frozen=True)
class Copies:
    """Pairs of nearly equal rows; kappa of their labels with its standard error at chance."""

    pairs: int
    rows: int
    kappa: float
    error: float


def findings(record: Record) -> list[Finding]:
    """Where nothing of what is learned by heart is true of other data."""
    found = []
    by_loss = record.answers.evaluations
    for kind, of in {**dict.fromkeys(record.criteria.labels, record.comparisons.evaluations), **by_loss}.items():
        evaluations = [one for one in of if one.samples >= LEAST and one.step]
        if not evaluations or evaluations[-1].step < record.steps * 3 / 4:
            continue
        if all(one.table is not None for one in evaluations):
            said = _classes(record, kind, evaluations)
        elif all(one.sums is not None for one in evaluations):
            said = _numbers(record, kind, evaluations)
        else:
            continue
        if said is not None:
            found.append(Finding(CODE, "error", f"the targets of {kind}", said, ADVICE))
    return found or _of_copies(record)


def _of_copies(record: Record) -> list[Finding]:
    """Where copies of a row have labels of their own each."""
    lab, labels = record.lab, record.criteria.labels.get("cross_entropy", record.criteria.labels.get("nll_loss"))
    known = None if labels is None else _learned(labels, record.steps * 3 // 4)
    if lab is None or known is None or known[0] < LEARNED:
        return []
    copies = lab.ask("copies", lambda in_time: copies_of_rows(lab, in_time))
    if copies is None or not abs(copies.kappa) < ERRORS * copies.error or ERRORS * copies.error > CARRIED:
        return []
    folds = lab.ask("folds", lambda in_time: _experiment(lab, in_time))
    if folds is None or folds.other + SURE * folds.error > CARRIED * folds.own:
        return []
    said = (
        f"Of {copies.rows} recorded rows {copies.pairs} pairs are nearly the same, as copies with noise added are; "
        f"their labels agree no more than those of any two rows (kappa {copies.kappa:.2f}). In the last quarter of the "
        f"run {known[1]:.0%} of the training labels were recognized, by heart.{folds.said}"
    )
    return [Finding(CODE, "error", "the labels of copies of a row", said, ADVICE)]


def _classes(record: Record, kind: str, evaluations: list[Agreement]) -> str | None:
    labels = record.criteria.labels.get(kind)
    known = None if labels is None else _learned(labels, record.steps * 3 // 4)
    if known is None:
        return None
    learned, accuracy = known
    each = [_kappa(one) for one in evaluations]
    scores = [(kappa, error) for made in each if made is not None for kappa, error, _ in (made,)]
    if len(scores) < len(each) or not _none_above(scores):
        return None
    enough = learned >= LEARNED and ERRORS * scores[-1][1] <= CARRIED * learned
    if not enough and scores[-1][0] + SURE * scores[-1][1] > learned:
        return None
    last = evaluations[-1].table
    assert last is not None
    label, guess = (last[i] / last[i].sum() for i in (0, 1))
    if 1 - float(guess.square().sum()) < VARIED * (1 - float(label.square().sum())):
        return None
    for one in evaluations:
        assert one.table is not None
        share = one.table[0] / one.table[0].sum()
        if one.loss is not None and one.loss < NO_BETTER * float(-torch.xlogy(share, share).sum()):
            return None
    folds = None
    if not enough:
        lab = record.lab
        folds = lab.ask("folds", lambda in_time: _experiment(lab, in_time)) if lab is not None else None
        if folds is None or folds.other + SURE * folds.error > CARRIED * folds.own:
            return None
    right = [float(one.table[2].sum() / one.table[0].sum()) for one in evaluations if one.table is not None]
    return (
        f"In the last quarter of the run {accuracy:.0%} of the training labels were recognized; of data evaluated "
        f"without gradients ({int(last[0].sum())} samples) {max(right):.0%} at best in {len(right)} evaluations, no "
        f"more than at random, where to say always the commonest class gives {float(label.max()):.0%}."
    ) + ("" if folds is None else folds.said)


def _numbers(record: Record, kind: str, evaluations: list[Agreement]) -> str | None:
    late = [sums for step, *sums in record.answers.batches.get(kind, []) if step >= record.steps * 3 // 4]
    if not late:
        return None
    answers, targets, both = map(sum, zip(*late, strict=True))
    if min(answers, targets) <= 0 or both <= 0:
        return None
    learned = both / math.sqrt(answers * targets)
    scores, losses = [], []
    for one in evaluations:
        assert one.sums is not None
        n, p, t, pp, tt, pt = (float(v) for v in one.sums)
        spread = max(pp - p * p / n, 0.0), max(tt - t * t / n, 0.0)
        if spread[1] <= 1e-9 * tt:
            return None
        if spread[0] > 1e-9 * pp:  # else the answers are constant: at chance
            scores.append(((pt - p * t / n) / math.sqrt(spread[0] * spread[1]), 1 / math.sqrt(one.samples)))
        losses.append((pp - 2 * pt + tt) / spread[1])
        varied = math.sqrt(spread[0] / spread[1])
    if not scores or learned * learned < LEARNED or varied < VARIED or min(losses) < NO_BETTER:
        return None
    if not _at_chance(learned, scores):
        return None
    return (
        f"In the last quarter of the run the answers to training data follow their targets (correlation "
        f"{learned:.2f}); on data evaluated without gradients ({evaluations[-1].samples} samples) the correlation was "
        f"{max(r for r, _ in scores):.2f} at best in {len(scores)} evaluations, and the squared error never below "
        f"{min(losses):.2f} times the variance of the targets, which a constant answer has."
    )


def _at_chance(learned: float, scores: list[tuple[float, float]]) -> bool:
    """Whether no evaluation is above chance, their median is near it, and what was learned would have shown."""
    return _none_above(scores) and ERRORS * scores[-1][1] <= CARRIED * learned


def _none_above(scores: list[tuple[float, float]]) -> bool:
    return (
        all(score < ERRORS * error for score, error in scores)
        and median(score / error for score, error in scores) < TYPICAL
    )


def _learned(labels: Labels, since: int) -> tuple[float, float] | None:
    """Of the training data: the part of the room above the commonest class of each chunk, and the accuracy."""
    _, seen, right = labels.counts(since)
    total, common, first, left = int(seen.sum()), 0, 0, 0
    for at, samples in enumerate(seen.sum(1).tolist(), 1):
        left += samples
        if left >= CHUNK:
            common, first, left = common + int(seen[first:at].sum(0).max()), at, 0
    counted = total - left
    if counted < LEAST or common >= counted:
        return None
    share = common / counted
    accuracy = int(right.sum()) / total
    learned = (accuracy - share) / (1 - share)
    return (learned, accuracy) if learned >= LITTLE else None


def _kappa(one: Agreement) -> tuple[float, float, float] | None:
    """Cohen's kappa, its standard error at chance, and the accuracy."""
    assert one.table is not None
    label, guess, both = (row.double() for row in one.table)
    n = float(label.sum())
    if n < LEAST or n - float(label.max()) < LEAST / 5:  # one class, or nearly
        return None
    chance = float(label @ guess) / (n * n)
    accuracy = float(both.sum()) / n
    if chance > 1 - 1e-9:
        return None
    return (accuracy - chance) / (1 - chance), math.sqrt(chance / (1 - chance) / n), accuracy


def copies_of_rows(lab: Lab, in_time: Callable[[], bool]) -> Copies | None:
    """Pairs of rows that are nearly the same; None where none are set apart from the others by their distance."""
    data = pairs(lab)
    if data is None or not lab.one_epoch or data.y.is_floating_point():
        return None
    x, y = data.x[:MOST_ROWS], data.y[:MOST_ROWS].long()
    x = (x - x.mean(0)) / x.std(0).clamp_min(1e-6)
    first, second = torch.triu_indices(len(x), len(x), 1)
    distances = torch.cdist(x, x)[first, second].square()
    distances /= distances.median().clamp_min(1e-12)
    near, between = distances < NEAR, (distances >= NEAR) & (distances < APART)
    count = int(near.sum())
    if count < LEAST_PAIRS or int(between.sum()) > count / 10:
        return None
    shares = torch.bincount(y).double() / len(y)
    chance = float(shares.square().sum())
    if chance > 1 - 1e-9:
        return None
    agree = float((y[first[near]] == y[second[near]]).double().mean())
    return Copies(count, len(x), (agree - chance) / (1 - chance), math.sqrt(chance / (1 - chance) / count))


def _experiment(lab: Lab, in_time: Callable[[], bool]) -> Folds | None:
    data = pairs(lab)
    if data is None or not lab.one_epoch or data.y.is_floating_point() or int(data.y.min()) < 0:
        return None
    y, classes = data.y.long(), int(data.y.max()) + 1
    tables = torch.zeros(2, 3, classes, dtype=torch.long)
    for fold in range(FOLDS):
        held = data.tape % FOLDS == fold
        net = plain_network(data.x[~held], y[~held], classes, F.cross_entropy, in_time)
        if net is None:
            return None
        with torch.no_grad():
            guess = net(data.x).argmax(1)
        for number, rows in enumerate((~held, held)):
            for row, values in enumerate((y[rows], guess[rows], y[rows][guess[rows] == y[rows]])):
                tables[number, row] += torch.bincount(values, minlength=classes)
    scores = [_kappa(Agreement(0, table=table)) for table in tables]
    if scores[0] is None or scores[1] is None:
        return None
    return Folds(scores[0][0], scores[1][0], scores[1][1], len(y))
