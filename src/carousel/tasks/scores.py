"""Counts of right and wrong choices among classes, and what the report shows of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..training.task import Metric

__all__ = [
    "ACCURACY",
    "BALANCED",
    "F1",
    "accuracy",
    "balanced_accuracy",
    "confusion",
    "confusion_panel",
    "f1",
    "judged",
    "listed",
]

ACCURACY = Metric("Accuracy", "Share of the answers that are right.", percent=True)
BALANCED = Metric(
    "Balanced accuracy",
    "Mean over the classes of the share of each that is recognized: guessing one class gains nothing.",
    percent=True,
)
F1 = Metric("Mean F1", "Harmonic mean of precision and recall, averaged over the tags.", percent=True)

MOST_SHOWN = 30
"""Classes in a confusion matrix; the others are summed up."""


def confusion(truth: NDArray[Any], answers: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """(classes, classes) how often each true class (row) got each answer (column)."""
    return np.bincount(truth * classes + answers, minlength=classes * classes).reshape(classes, classes)


def accuracy(counts: NDArray[np.int64]) -> float:
    """Share of right answers."""
    return float(counts.trace() / max(1, counts.sum()))


def balanced_accuracy(counts: NDArray[np.int64]) -> float:
    """Mean recall of the classes that there are."""
    there = counts.sum(1) > 0
    return float((counts.diagonal()[there] / counts.sum(1)[there]).mean()) if there.any() else 0.0


def f1(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(classes,) harmonic mean of precision and recall; NaN for what neither is nor was answered."""
    total = counts.sum(0) + counts.sum(1)
    return np.divide(2.0 * counts.diagonal(), total, out=np.full(len(counts), np.nan), where=total > 0)


def confusion_panel(counts: NDArray[np.int64], names: Sequence[str], title: str) -> dict[str, Any]:
    """The panel `confusion` of the report: the most frequent classes, what is left summed up."""
    order = np.argsort(-counts.sum(1), kind="stable")
    shown = [place for place in order[:MOST_SHOWN].tolist() if counts[place].sum() or counts[:, place].sum()]
    labels, table = [names[place] for place in shown], counts[np.ix_(shown, shown)]
    rest = np.setdiff1d(np.arange(len(names)), shown)
    note = "Rows are the truth, columns the answers."
    if counts[rest].sum() or counts[:, rest].sum():
        corner = counts[np.ix_(rest, rest)].sum()
        table = np.block(
            [[table, counts[np.ix_(shown, rest)].sum(1)[:, None]], [counts[rest][:, shown].sum(0), corner]]
        )
        labels.append(f"{len(rest)} others")
    return {"panel": "confusion", "title": title, "note": note, "labels": labels, "counts": table.tolist()}


def judged(pairs: Sequence[tuple[str, str]], names: Sequence[str], words: str, labels: str) -> list[str]:
    """Sentences on how many answers are right, and on the true labels that the network does not know.

    Args:
        pairs: answer and truth.
        names: the labels that it knows.
        words: what is counted, such as " words"; may be empty.
        labels: what a label is called.
    """
    known = [(answer, label) for answer, label in pairs if label in names]
    strange = sorted({label for _, label in pairs if label not in names})
    right = sum(answer == label for answer, label in known)
    said = [f"Right: {right:,} of {len(known):,}{words}, {100 * right / len(known):.1f} %."] if known else []
    if strange:
        many = len(pairs) - len(known)
        said.append(f"Not counted: {many:,} with {labels} that were not in training: {listed(strange)}.")
    return said


def listed(names: Sequence[str], most: int = 5) -> str:
    """Some names, quoted, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
