"""Labelled sequences: read all of a sequence, then name its label."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..cells.loading import CellSource
from ..data.labelled import LabelledSequences, layout_of, read_labelled
from ..data.ragged import Ragged, Vocabulary
from ..data.splits import draw
from ..data.tables import in_order
from ..errors import DataError, UsageError
from ..nn import SequenceClassifier
from ..settings import Settings
from ..training.feeds import ExampleFeed
from ..training.task import Evaluation, Shown
from .classifier import EVALUATION_BATCH, Classifier, scores_of
from .kind import Kind, Sources, Stored, blamed, document, make_recurrent, recurrent_layer
from .repairs import COMMON, Repair
from .scores import ACCURACY, BALANCED, accuracy, balanced_accuracy, confusion, confusion_panel, listed

__all__ = ["LABELLED", "LabelledData", "LabelledTask"]

MOST_WRONG = 30
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class LabelledData:
    """Labelled sequences, encoded and split.

    Attributes:
        read: as they were found.
        vocabulary: of the training part.
        names: of the classes.
        sequences: all of them, as ids.
        labels: (sequences,) number of the class.
        parts: which sequences are of each split.
        found: settings that were inferred.
        notes: sentences that the user should read.
    """

    read: LabelledSequences
    vocabulary: Vocabulary
    names: tuple[str, ...]
    sequences: Ragged
    labels: NDArray[np.int64]
    parts: Mapping[str, NDArray[np.int64]]
    found: Mapping[str, Any]
    notes: list[str]

    @classmethod
    def load(cls, sources: Sources, settings: Settings) -> LabelledData:
        """Read, split, choose the vocabulary and encode.

        Raises:
            UsageError: the level means nothing here.
            DataError: the data can't be used.
        """
        data, own = settings.data, settings.labelled
        if data.level in ("byte", "bpe"):
            raise UsageError(
                f"--level {data.level} means nothing for labelled sequences; give char or word, or leave it out."
            )
        read = read_labelled(
            sources, encoding=data.encoding, text=own.text_column, label=own.label_column, split=data.split_column
        )
        level = data.level or _level(read.texts)
        names = tuple(sorted(set(read.labels), key=in_order))
        number = {name: place for place, name in enumerate(names)}
        labels = np.fromiter((number[label] for label in read.labels), np.int64, len(read.labels))
        parts = _split(read, labels, settings)
        vocabulary = Vocabulary.choose(
            (read.texts[place] for place in parts["train"]), level,
            split=data.words, min_count=data.min_count or 1, most=data.vocabulary_size,
        )  # fmt: skip
        if vocabulary.size < 2:
            raise DataError(f"No {vocabulary.unit} comes {data.min_count} times or more; give a smaller --min-count.")
        columns = {name: column for name, column in read.columns.items() if column is not None}
        notes = [*read.notes, *_notes(labels[parts["train"]], names, own.class_weights == "balanced")]
        sequences = vocabulary.encode_all(read.texts)
        return cls(read, vocabulary, names, sequences, labels, parts, {"level": level, **columns}, notes)

    @property
    def name(self) -> str:
        """Of the files."""
        return self.read.name

    @property
    def digest(self) -> str:
        """Of their content."""
        return self.read.digest

    def about(self) -> str:
        """What was found, and the options that say otherwise."""
        table = ", --text-column, --label-column" if self.read.layout == "table" else ""
        return (
            f"labelled sequences: {len(self.names)} classes, {len(self.labels):,} sequences of "
            f"{self.vocabulary.unit}s, {self.read.where} (--kind, --level{table} say otherwise)"
        )

    def origin(self) -> dict[str, Any]:
        """Files, layout and sizes."""
        return {
            "files": len(self.read.files),
            "layout": self.read.layout,
            "classes": len(self.names),
            "sequences": {split: len(part) for split, part in self.parts.items()},
        }


def _balance(settings: Settings, losses: Mapping[float, float]) -> dict[str, Any]:
    """Give all classes the same weight, if they have not."""
    return {"class_weights": "balanced"} if settings.labelled.class_weights == "none" else {}


class LabelledTask:
    """The task as the training loop sees it.

    Args:
        data: the sequences.
        settings: of the run; `training.batch` may be lowered to fit few sequences, see `batch`.
        cell: the recurrent cell.
    """

    unit: ClassVar[str] = "sequence"
    repairs: ClassVar[Mapping[str, Repair]] = {**COMMON, "class-imbalance": _balance}
    unasked: ClassVar[Collection[str]] = ()

    def __init__(self, data: LabelledData, settings: Settings, cell: CellSource):
        self.data, self.settings, self.cell = data, settings, cell
        assert settings.training.batch is not None
        self.batch = min(settings.training.batch, len(data.parts["train"]))
        counts = np.bincount(data.labels[data.parts["train"]], minlength=len(data.names))
        balanced = settings.labelled.class_weights == "balanced"
        weights = counts.sum() / (np.maximum(counts, 1) * (counts > 0).sum())
        self.class_weights = torch.from_numpy(weights) if balanced else None

    @property
    def shown(self) -> Shown:
        """Accuracy, over all and as the mean of the classes."""
        data, vocabulary = self.data, self.data.vocabulary
        facts = (
            f"{len(data.names)} classes.",
            f"A vocabulary of {vocabulary.size:,} {vocabulary.unit}s.",
            ", ".join(f"{len(part):,} sequences in the {split} part" for split, part in data.parts.items()) + ".",
        )
        metrics = {"accuracy": ACCURACY, "balanced_accuracy": BALANCED}
        text = shlex.quote(min((data.read.texts[place] for place in data.parts["train"][:50]), key=len)[:60])
        commands = (
            (f"predict {{run}} --text {text}", "name the label of a text"),
            ("predict {run} FILE --out answers.csv", "name the label of every line of a file, or row of a table"),
        )
        return Shown(self.unit, "nats", len(data.names), "class", facts, metrics, commands)

    def network(self) -> SequenceClassifier:
        """A new network with random weights."""
        return build(self.settings, self.cell, self.data.vocabulary.size, len(self.data.names))

    def feed(self, part: int, parts: int) -> ExampleFeed:
        """The training sequences; those of similar length share a batch."""
        rows, training = self.data.parts["train"], self.settings.training
        return ExampleFeed(
            _Rows(self, rows), self.batch, seed=training.seed, unit=self.unit,
            lengths=self.data.sequences.lengths[rows], part=part, parts=parts,
        )  # fmt: skip

    def weights_of(self, rows: NDArray[np.int64]) -> float:
        """The sum of their weights."""
        if self.class_weights is None:
            return float(len(rows))
        return float(self.class_weights[torch.from_numpy(self.data.labels[rows])].sum())

    def scores(self, network: Callable[..., Any], rows: NDArray[np.int64], device: torch.device) -> Tensor:
        """(rows, classes)."""
        return scores_of(network, self.data.sequences, rows, device)

    def loss(self, scores: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """Mean cross-entropy in nats per sequence, weighted if it is to be."""
        weights = None if self.class_weights is None else self.class_weights.to(scores)
        return F.cross_entropy(scores, torch.from_numpy(self.data.labels[rows]).to(scores.device), weights)

    @torch.no_grad()
    def answers(self, network: nn.Module, split: str) -> tuple[NDArray[np.int64], Tensor, float]:
        """Rows of a split, the logarithms of their classes' probabilities, and the mean loss."""
        rows = self.data.parts[split]
        rows = rows[np.argsort(self.data.sequences.lengths[rows], kind="stable")]
        device = next(network.parameters()).device
        network.eval()
        found, total = [], 0.0
        for begin in range(0, len(rows), EVALUATION_BATCH):
            some = rows[begin : begin + EVALUATION_BATCH]
            scores = self.scores(network, some, device)
            total += self.loss(scores, some).item() * self.weights_of(some)
            found.append(scores.float().log_softmax(1).cpu())
        return rows, torch.cat(found), total / self.weights_of(rows)

    def evaluate(self, network: nn.Module, split: str) -> Evaluation | None:
        """Loss, accuracy and balanced accuracy; kept by the latter if classes are weighted; None for an empty split."""
        if not len(self.data.parts[split]):
            return None
        rows, found, loss = self.answers(network, split)
        counts = confusion(self.data.labels[rows], found.argmax(1).numpy(), len(self.data.names))
        metrics = {"accuracy": accuracy(counts), "balanced_accuracy": balanced_accuracy(counts)}
        return Evaluation(loss, metrics, "accuracy" if self.class_weights is None else "balanced_accuracy")

    def sample(self, network: nn.Module, seed: int) -> None:
        """Nothing while it is trained."""

    def check(self) -> SequenceClassifier:
        """A network that ran for two steps."""
        network = blamed(self.cell, self.network)
        blamed(self.cell, lambda: network(torch.zeros(2, 1, dtype=torch.int64), torch.tensor([2])))
        return network

    def documents(self) -> dict[str, Any]:
        """The vocabulary and the names of the classes."""
        return {"vocabulary.json": self.data.vocabulary.to_dict(), "labels.json": list(self.data.names)}

    def layers(self, network: nn.Module) -> dict[str, Any]:
        """Embedding, recurrent layers, pooling, scores."""
        assert isinstance(network, SequenceClassifier)
        vocabulary, embedding, width = network.vocabulary, network.embedding, network.recurrent.output_size
        first = ("one-hot", f"{vocabulary}")
        if embedding is not None:
            first = ("embedding", f"{vocabulary} × {embedding.embedding_dim}")
        pooling = {"last": "states at the ends", "mean": "mean over the steps", "max": "largest value over the steps"}
        layers = [
            first,
            ("recurrent", recurrent_layer(network.recurrent, self.cell)),
            ("pooling", pooling[network.pooling]),
            ("scores", f"{width} → {len(self.data.names)}, softmax"),
        ]
        return {"vocabulary": vocabulary, "layers": layers}

    def describe(self, network: nn.Module) -> list[dict[str, Any]]:
        """Confusion matrix, recall of the classes, the answers that were most wrong."""
        split = "test" if len(self.data.parts["test"]) else "dev"
        if not len(self.data.parts[split]):
            return []
        rows, found, _ = self.answers(network, split)
        found, names = found.numpy(), self.data.names
        truth, given = self.data.labels[rows], found.argmax(1)
        counts = confusion(truth, given, len(names))
        trained = np.bincount(self.data.labels[self.data.parts["train"]], minlength=len(names))
        return [
            confusion_panel(counts, names, f"Confusion on the {split} part"),
            _classes_panel(counts, trained, names, split),
            self._answers_panel(rows, found, truth, given, split),
            *self._wrong_panel(rows, found, truth, given, split),
        ]

    def _answers_panel(
        self, rows: NDArray[Any], found: NDArray[Any], truth: NDArray[Any], given: NDArray[Any], split: str
    ) -> dict[str, Any]:
        few = np.random.default_rng(0).permutation(len(rows))[:8]
        return {
            "panel": "table",
            "title": f"Some answers on the {split} part",
            "columns": ["sequence", "label", "answer", "probability"],
            "rows": [self._row(place, rows, found, truth, given) for place in few.tolist()],
        }

    def _wrong_panel(
        self, rows: NDArray[Any], found: NDArray[Any], truth: NDArray[Any], given: NDArray[Any], split: str
    ) -> list[dict[str, Any]]:
        wrong = np.flatnonzero(truth != given).tolist()
        once = {(self.data.read.texts[rows[place]], int(truth[place])): place for place in wrong}
        wrong = sorted(once.values(), key=lambda place: found[place, truth[place]])[:MOST_WRONG]
        if not wrong:
            return []
        panel = {
            "panel": "table",
            "title": f"Most wrong on the {split} part",
            "note": "Where the label got the least probability: often a wrong label, or a sequence that fits several.",
            "columns": ["sequence", "label", "answer", "its probability", "that of the label"],
            "rows": [
                [*self._row(place, rows, found, truth, given), float(np.exp(found[place, truth[place]]))]
                for place in wrong
            ],
        }
        return [panel]

    def _row(
        self, place: int, rows: NDArray[Any], found: NDArray[Any], truth: NDArray[Any], given: NDArray[Any]
    ) -> list[Any]:
        names, answer = self.data.names, given[place]
        text = self.data.read.texts[rows[place]]
        return [text[:300], names[truth[place]], names[answer], float(np.exp(found[place, answer]))]


@dataclass(frozen=True)
class _Rows:
    """Some rows of a task's data, as a feed reads them."""

    task: LabelledTask
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def units(self, chosen: NDArray[np.int64]) -> int:
        return len(chosen)

    def weights(self, chosen: NDArray[np.int64]) -> float:
        return self.task.weights_of(self.rows[chosen])

    def loss(self, network: Callable[..., Any], chosen: NDArray[np.int64], device: torch.device) -> Tensor:
        rows = self.rows[chosen]
        return self.task.loss(self.task.scores(network, rows, device), rows)


def build(settings: Settings, cell: CellSource, vocabulary: int, classes: int) -> SequenceClassifier:
    """The network that the settings describe.

    Raises:
        CellError: the cell does not take the sizes or options it is given.
    """
    network = settings.network
    assert network.embedding_size is not None
    return SequenceClassifier(
        vocabulary, make_recurrent(network, cell, network.embedding_size or vocabulary), classes,
        embedding_size=network.embedding_size, pooling=settings.labelled.pooling, dropout=network.dropout or 0.0,
    )  # fmt: skip


def stored_vocabulary(stored: Stored) -> Vocabulary:
    """The vocabulary of a run."""
    return Vocabulary.from_dict(document(stored, "vocabulary.json"))


def _level(texts: Sequence[str]) -> str:
    """Words where sequences have several, characters otherwise."""
    few = texts[:: max(1, len(texts) // 2000)]
    return "word" if np.median([len(text.split()) for text in few]) >= 4 else "char"


def _split(read: LabelledSequences, labels: NDArray[np.int64], settings: Settings) -> dict[str, NDArray[np.int64]]:
    """Rows of the three parts: as files or a column say, else drawn, equal sequences on the same side.

    Raises:
        DataError: there is nothing to train on.
    """
    data, said = settings.data, np.array([split or "train" for split in read.splits])
    for split, share in (("test", data.test), ("dev", data.dev)):
        if not (said == split).any():
            rest = said == "train"
            share = share / (1 - data.test) if split == "dev" and (said == "test").any() else share
            said[draw(labels, read.texts, rest, share, settings.training.seed)] = split
    parts = {split: np.flatnonzero(said == split) for split in SPLITS}
    if len(np.unique(labels[parts["train"]])) < 2:
        raise DataError(
            f"The training part has {len(parts['train']):,} sequences of one class; it needs at least two classes. "
            "Give more data, or a smaller --dev and --test."
        )
    return parts


def _notes(labels: NDArray[np.int64], names: Sequence[str], balanced: bool) -> list[str]:
    """What is odd about the classes."""
    counts, notes = Counter(labels.tolist()), []
    missing: list[str] = [name for number, name in enumerate(names) if not counts[number]]
    if missing:
        notes.append(f"Not in the training part, so never answered: {listed(missing)}.")
    single = [name for number, name in enumerate(names) if counts[number] == 1]
    if single:
        notes.append(
            f"A single sequence to learn from: {listed(single)}; of such a class nothing can be learned that holds "
            "for others."
        )
    (most, many), (least, few) = counts.most_common()[0], counts.most_common()[-1]
    if many >= 10 * few and not balanced:
        notes.append(
            f"The classes are of unlike size, from {few:,} ({names[least]}) to {many:,} ({names[most]}); "
            "--class-weights balanced gives them the same weight."
        )
    return notes


def _classes_panel(
    counts: NDArray[np.int64], trained: NDArray[np.int64], names: Sequence[str], split: str
) -> dict[str, Any]:
    there = [place for place in np.argsort(-trained, kind="stable").tolist() if counts[place].sum() or trained[place]]
    rows = []
    for place in there:
        size, answered, right = int(counts[place].sum()), int(counts[:, place].sum()), int(counts[place, place])
        recall, precision = (right / n if n else None for n in (size, answered))
        rows.append([names[place], int(trained[place]), size, recall, precision])
    return {
        "panel": "table",
        "title": "Classes",
        "note": "Recall: the share of a class that is recognized. Precision: the share of such answers that are right.",
        "columns": ["class", "trained on", split, "recall", "precision"],
        "rows": rows,
    }


def _shows(classifier: Classifier, stored: Stored) -> tuple[str, str] | None:
    panels = (stored("evaluation.json") or {}).get("panels", [])
    some = next((panel for panel in panels if panel["title"].startswith("Some answers")), None)
    if some is None:
        return None
    lines = [
        f"{text[:60]}  {answer} {100 * share:.0f} %" + ("" if answer == label else f"  (it is {label})")
        for text, label, answer, share in some["rows"]
    ]
    return f"{some['title']}:", "\n".join(line.replace("\n", " ") for line in lines)


def _classifier(stored: Stored, settings: Settings, network: nn.Module) -> Classifier:
    columns = {"text_column": settings.labelled.text_column, "label_column": settings.labelled.label_column}
    return Classifier(network, stored_vocabulary(stored), document(stored, "labels.json"), columns)


LABELLED = Kind(
    name="labelled",
    about="labelled sequences",
    recognizes=layout_of,
    read=LabelledData.load,
    task=LabelledTask,
    network=lambda stored, settings, cell: build(
        settings, cell, stored_vocabulary(stored).size, len(document(stored, "labels.json"))
    ),
    user=_classifier,
    verb="predict",
    defaults={
        "min_count": 2,
        "cell": "lstm",
        "hidden_size": 128,
        "directions": 2,
        "embedding_size": 64,
        "dropout": 0.5,
        "batch": 32,
        "learning_rate": 2e-3,
    },
    epochs=12,
    without=("window", "backward"),
    shows=_shows,
)
