"""Naming one of several classes, whatever the examples are: loss, scores, and what the report shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..errors import UsageError
from ..nn.losses import find_loss
from ..settings import Settings, TrainingSettings
from ..training.task import Evaluation, Metric
from .examples import Rows
from .scores import ACCURACY, BALANCED, accuracy, balanced_accuracy, confusion, confusion_panel, listed

__all__ = ["Classify", "answer_lines", "balance", "class_probabilities", "named", "oddities"]

MOST_WRONG = 30
SHOWN = 8
BINS = 10
"""Groups of answers of like probability, as many in each, of which calibration is judged."""


class Classify:
    r"""Classes by softmax and cross-entropy, -Σ_i w_{c_i} ln P(c_i | x_i) / Σ_i w_{c_i}, in nats per example; or by
    another loss of the scores, whose softmax is then no probability that can be relied on.

    Args:
        names: of the classes.
        labels: (examples,) the class of every example.
        train: the training examples.
        settings: with the loss, and whether weights w_c are inversely proportional to the classes' frequency there;
            all are 1 otherwise.
        unit: what an example is called: "sequence", "image", "row".

    Raises:
        UsageError: weights for a loss that has none.
    """

    targets = "classes"

    def __init__(
        self, names: Sequence[str], labels: NDArray[np.int64], train: Rows, settings: TrainingSettings, *, unit: str
    ):
        self.names, self.labels, self.unit = tuple(names), labels, unit
        self.criterion, balanced = settings.loss, settings.class_weights == "balanced"
        if balanced and self.criterion != "cross-entropy":
            raise UsageError(
                f"--class-weights balanced weighs cross-entropy; leave it out, or --loss {self.criterion}."
            )
        self.outputs = len(names)
        self.trained = np.bincount(labels[train], minlength=len(names))
        weights = self.trained.sum() / (np.maximum(self.trained, 1) * (self.trained > 0).sum())
        self.class_weights = torch.from_numpy(weights) if balanced else None

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Accuracy, over all and as the mean of the classes."""
        return {"accuracy": ACCURACY, "balanced_accuracy": BALANCED}

    @property
    def loss_in(self) -> str | None:
        """The unit of the loss, where it is not nats."""
        return None if self.criterion == "cross-entropy" else self.criterion.replace("-", " ")

    def loss(self, outputs: Tensor, rows: Rows) -> Tensor:
        """Mean cross-entropy, weighted if it is to be, or what else is asked for."""
        if self.criterion != "cross-entropy":
            return find_loss(self.criterion).function(outputs, torch.from_numpy(self.labels[rows]).to(outputs.device))
        weights = None if self.class_weights is None else self.class_weights.to(outputs)
        return F.cross_entropy(outputs, torch.from_numpy(self.labels[rows]).to(outputs.device), weights)

    def weights(self, rows: Rows) -> float:
        """The sum of their weights."""
        if self.class_weights is None:
            return float(len(rows))
        return float(self.class_weights[torch.from_numpy(self.labels[rows])].sum())

    def evaluation(self, outputs: Tensor, rows: Rows, loss: float) -> Evaluation:
        """Accuracy and balanced accuracy; kept by the latter if classes are weighted."""
        counts = confusion(self.labels[rows], outputs.argmax(1).numpy(), self.outputs)
        metrics = {"accuracy": accuracy(counts), "balanced_accuracy": balanced_accuracy(counts)}
        return Evaluation(loss, metrics, "accuracy" if self.class_weights is None else "balanced_accuracy")

    def panels(self, outputs: Tensor, rows: Rows, split: str, example: Callable[[int], Any]) -> list[dict[str, Any]]:
        """Confusion matrix, recall of the classes, calibration, the answers that were most wrong."""
        log, truth = outputs.log_softmax(1).numpy(), self.labels[rows]
        given = log.argmax(1)
        counts = confusion(truth, given, self.outputs)
        some = np.random.default_rng(0).permutation(len(rows))[:SHOWN].tolist()

        def row(at: int) -> list[Any]:
            share = float(np.exp(log[at, given[at]]))
            return [example(int(rows[at])), self.names[truth[at]], self.names[given[at]], share]

        wrong = np.flatnonzero(truth != given)
        wrong = wrong[np.argsort(log[wrong, truth[wrong]], kind="stable")]
        worst = {}
        for at in wrong.tolist():  # equal ones once
            worst.setdefault(str((example(int(rows[at])), truth[at])), at)
            if len(worst) == MOST_WRONG:
                break
        answers = {
            "panel": "table",
            "title": f"Some answers on the {split} part",
            "columns": [self.unit, "label", "answer", "probability"],
            "rows": [row(at) for at in some],
        }
        most_wrong = {
            "panel": "table",
            "title": f"Most wrong on the {split} part",
            "note": "Where the label got the least probability: often a wrong label, or one of several that fit.",
            "columns": [self.unit, "label", "answer", "its probability", "that of the label"],
            "rows": [[*row(at), float(np.exp(log[at, truth[at]]))] for at in worst.values()],
        }
        return [
            confusion_panel(counts, self.names, f"Confusion on the {split} part"),
            self._classes_panel(counts, split),
            *_calibration_panel(np.exp(log.max(1)), truth == given, split),
            answers,
            *([most_wrong] if worst else []),
        ]

    def _classes_panel(self, counts: NDArray[np.int64], split: str) -> dict[str, Any]:
        order = np.argsort(-self.trained, kind="stable").tolist()
        rows = []
        for place in (place for place in order if counts[place].sum() or self.trained[place]):
            size, answered, right = int(counts[place].sum()), int(counts[:, place].sum()), int(counts[place, place])
            recall, precision = (right / n if n else None for n in (size, answered))
            rows.append([self.names[place], int(self.trained[place]), size, recall, precision])
        return {
            "panel": "table",
            "title": "Classes",
            "note": "Recall: the share of a class that is recognized. Precision: the share of such answers that are "
            "right.",
            "columns": ["class", "trained on", split, "recall", "precision"],
            "rows": rows,
        }


def _calibration_panel(said: NDArray[Any], right: NDArray[np.bool_], split: str) -> list[dict[str, Any]]:
    """Whether answers given with probability p are right in the share p of the cases (Guo et al. 2017)."""
    if len(said) < 5 * BINS:
        return []
    bins = np.array_split(np.argsort(said, kind="stable"), BINS)
    nominal, observed = ([float(values[some].mean()) for some in bins] for values in (said, right))
    away = sum(len(some) * abs(n - o) for some, n, o in zip(bins, nominal, observed, strict=True)) / len(said)
    return [
        {
            "panel": "calibration",
            "title": "Calibration of the probabilities",
            "note": f"Of answers with a probability of 80 %, 80 % should be right. On average over the {split} part "
            f"the two are {100 * away:.1f} points apart (expected calibration error).",
            "x": "probability of the answer",
            "y": "share of such answers that are right",
            "parts": [{"name": split, "nominal": nominal, "observed": observed}],
        }
    ]


def oddities(
    labels: NDArray[np.int64], names: Sequence[str], *, balanced: bool, single: str | None = None
) -> list[str]:
    """Sentences on what is odd about the classes of the training examples.

    Args:
        labels: of these.
        names: of the classes.
        balanced: whether classes are weighted.
        single: what an example is called, if classes of one are to be told of, too.
    """
    counts, notes = Counter(labels.tolist()), []
    missing: list[str] = [name for number, name in enumerate(names) if not counts[number]]
    if missing:
        notes.append(f"Not in the training part, so never answered: {listed(missing)}.")
    alone = [name for number, name in enumerate(names) if counts[number] == 1]
    if single and alone:
        notes.append(
            f"A single {single} to learn from: {listed(alone)}; of such a class nothing can be learned that holds "
            "for others."
        )
    (most, many), (least, few) = counts.most_common()[0], counts.most_common()[-1]
    if many >= 10 * few and not balanced:
        notes.append(
            f"The classes are of unlike size, from {few:,} ({names[least]}) to {many:,} ({names[most]}); "
            "--class-weights balanced gives them the same weight."
        )
    return notes


def balance(settings: Settings, losses: Mapping[float, float]) -> dict[str, Any]:
    """The repair of class imbalance: give all classes the same weight, if they have not."""
    return {"class_weights": "balanced"} if settings.training.class_weights == "none" else {}


def class_probabilities(names: Sequence[str], probabilities: NDArray[np.float64]) -> list[dict[str, Any]]:
    """For each row of (examples, classes) its `label`, `probability`, and `probabilities` by class."""
    return [
        {
            "label": names[row.argmax()],
            "probability": float(row.max()),
            "probabilities": dict(zip(names, row.tolist(), strict=True)),
        }
        for row in probabilities
    ]


def named(example: Any) -> str:
    """A cell of a table as text: of an image its name."""
    return str(example["text"] if isinstance(example, Mapping) else example)


def answer_lines(panels: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """The panel of some answers as a heading and lines for a terminal."""
    some = next((panel for panel in panels if panel["title"].startswith("Some answers")), None)
    if some is None:
        return None
    lines = [
        f"{named(example)[:60]}  {answer} {100 * share:.0f} %" + ("" if answer == label else f"  (it is {label})")
        for example, label, answer, share in some["rows"]
    ]
    return f"{some['title']}:", "\n".join(line.replace("\n", " ") for line in lines)
