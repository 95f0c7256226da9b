"""Labelled sequences: a recurrent network, or a convolutional one, reads all of a sequence, then names its label."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..cells.loading import CellSource
from ..data.labelled import LabelledSequences, layout_of, read_labelled
from ..data.ragged import Ragged, Vocabulary
from ..data.tables import in_order
from ..errors import DataError, UsageError
from ..nn import SequenceClassifier
from ..nn.networks import network as named_network
from ..nn.networks.sentence_cnn import VARIANTS, SentenceCNN
from ..settings import Settings
from ..training.task import Shown
from .classifier import Classifier, scores_of
from .classify import Classify, answer_lines, balance, oddities
from .examples import ExampleTask, Rows, divided
from .kind import RECURRENT, FromFiles, Kind, Sources, Stored, blamed, document, make_recurrent, recurrent_layer
from .repairs import COMMON, Repair
from .vectors import Given, begin_with

__all__ = ["LABELLED", "LabelledData", "LabelledTask"]


@dataclass(frozen=True)
class LabelledData(FromFiles):
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
        given: word vectors from a file, or None.
    """

    read: LabelledSequences
    vocabulary: Vocabulary
    names: tuple[str, ...]
    sequences: Ragged
    labels: NDArray[np.int64]
    parts: Mapping[str, NDArray[np.int64]]
    found: Mapping[str, Any]
    notes: list[str]
    given: Given | None

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
            sources, encoding=data.encoding, text=own.text_column, label=data.label_column, split=data.split_column
        )
        level = data.level or ("word" if settings.network.vectors else _level(read.texts))
        names = tuple(sorted(set(read.labels), key=in_order))
        number = {name: place for place, name in enumerate(names)}
        labels = np.fromiter((number[label] for label in read.labels), np.int64, len(read.labels))
        parts = divided(read.splits, settings, classes=labels, equal=read.texts)
        if len(np.unique(labels[parts["train"]])) < 2:
            raise DataError(
                f"The training part has {len(parts['train']):,} sequences of one class; it needs at least two classes. "
                "Give more data, or a smaller --dev and --test."
            )
        vocabulary = Vocabulary.choose(
            (read.texts[place] for place in parts["train"]), level,
            split=data.words, min_count=data.min_count or 1, most=data.vocabulary_size,
        )  # fmt: skip
        if vocabulary.size < 2:
            raise DataError(f"No {vocabulary.unit} comes {data.min_count} times or more; give a smaller --min-count.")
        balanced = settings.training.class_weights == "balanced"
        columns = {name: column for name, column in read.columns.items() if column is not None}
        notes = [*read.notes, *oddities(labels[parts["train"]], names, balanced=balanced, single="sequence")]
        sequences, found = vocabulary.encode_all(read.texts), {"level": level, **columns}
        given = Given.read(settings.network, vocabulary)
        if given is not None:
            notes, found = [*notes, given.note], {**found, **given.found}
        return cls(read, vocabulary, names, sequences, labels, parts, found, notes, given)

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


class LabelledTask(ExampleTask):
    """The task as the training loop sees it.

    Args:
        data: the sequences.
        settings: of the run; `training.batch` may be lowered to fit few sequences, see `batch`.
        cell: the recurrent cell; None for a convolutional network.
    """

    unit: ClassVar[str] = "sequence"
    repairs: ClassVar[Mapping[str, Repair]] = {**COMMON, "class-imbalance": balance}

    def __init__(self, data: LabelledData, settings: Settings, cell: CellSource | None):
        problem = Classify(data.names, data.labels, data.parts["train"], settings.training, unit=self.unit)
        super().__init__(data.parts, problem, settings, data.sequences.lengths)
        self.data, self.cell = data, cell

    @property
    def shown(self) -> Shown:
        """Accuracy, over all and as the mean of the classes."""
        data, vocabulary = self.data, self.data.vocabulary
        facts = (
            f"{len(data.names)} classes.",
            f"A vocabulary of {vocabulary.size:,} {vocabulary.unit}s.",
            ", ".join(f"{len(part):,} sequences in the {split} part" for split, part in data.parts.items()) + ".",
        )
        text = shlex.quote(min((data.read.texts[place] for place in data.parts["train"][:50]), key=len)[:60])
        commands = (
            (f"predict {{run}} --text {text}", "name the label of a text"),
            ("predict {run} FILE --out answers.csv", "name the label of every line of a file, or row of a table"),
        )
        return Shown(self.unit, "nats", len(data.names), "class", facts, self.problem.metrics, commands,
                     loss_in=self.problem.loss_in)  # fmt: skip

    def network(self) -> SequenceClassifier | SentenceCNN:
        """A new network with random weights."""
        data = self.data
        start = None if data.given is None else data.given.start()
        return build(self.settings, self.cell, data.vocabulary.size, len(data.names), start)

    def outputs(self, network: Callable[..., Any], rows: Rows, device: torch.device) -> Tensor:
        """(rows, classes) scores."""
        return scores_of(network, self.data.sequences, rows, device)

    def example(self, row: int) -> str:
        """The sequence, or its beginning."""
        return self.data.read.texts[row][:300]

    def check(self) -> SequenceClassifier | SentenceCNN:
        """A network that ran for two steps."""

        def ran() -> SequenceClassifier | SentenceCNN:
            network = self.network()
            network(torch.zeros(2, 1, dtype=torch.int64), torch.tensor([2]))
            return network

        if self.cell is not None:
            return blamed(self.cell, ran)
        with torch.no_grad():
            return ran()

    def documents(self) -> dict[str, Any]:
        """The vocabulary and the names of the classes."""
        return {"vocabulary.json": self.data.vocabulary.to_dict(), "labels.json": list(self.data.names)}

    def layers(self, network: nn.Module) -> dict[str, Any]:
        """Embedding, recurrent layers or windows, pooling, scores."""
        if isinstance(network, SentenceCNN):
            return _layers_of_cnn(network)
        assert isinstance(network, SequenceClassifier)
        assert self.cell is not None
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


def _layers_of_cnn(network: SentenceCNN) -> dict[str, Any]:
    tables = [module for module in network.embeddings if isinstance(module, nn.Embedding)]
    vocabulary, classes = tables[0].num_embeddings, network.scores.out_features
    layers = [("embedding", f"{vocabulary} × {table.embedding_dim}{'' if table.weight.requires_grad else ', kept'}")
              for table in tables]  # fmt: skip
    layers += [("windows", f"{maps.out_channels} maps of {width}")
               for maps, width in zip(network.convolutions, network.widths, strict=True)]  # fmt: skip
    layers += [
        ("pooling", "largest value over all places"),
        ("scores", f"{network.scores.in_features} → {classes}, softmax"),
    ]
    return {"vocabulary": vocabulary, "title": "sentence-cnn", "layers": layers}


def build(
    settings: Settings, cell: CellSource | None, vocabulary: int, classes: int, start: Tensor | None = None
) -> SequenceClassifier | SentenceCNN:
    """The network that the settings describe, its embedding from `start` (vocabulary, size) if that is given.

    Raises:
        CellError: the cell does not take the sizes or options it is given.
        UsageError: the convolutional network does not.
    """
    network = settings.network
    assert network.embedding_size is not None
    if cell is None:
        return _cnn(settings, vocabulary, classes, start)
    made = SequenceClassifier(
        vocabulary, make_recurrent(network, cell, network.embedding_size or vocabulary), classes,
        embedding_size=network.embedding_size, pooling=settings.labelled.pooling, dropout=network.dropout or 0.0,
    )  # fmt: skip
    begin_with(made.embedding, start)
    return made


ELSEWHERE = {
    "embedding_size": "is --embedding-size",
    "dropout": "is --dropout",
    "vocabulary": "follows the data",
    "vectors": "is --vectors FILE",
}
"""Options of the network by its name that labelled sequences have otherwise."""


def _cnn(settings: Settings, vocabulary: int, classes: int, start: Tensor | None) -> SentenceCNN:
    network = settings.network
    variant = network.network_options.get("variant", "non-static" if network.vectors else "random")
    if variant in VARIANTS and (variant == "random") == (network.vectors is not None):
        raise UsageError(
            f"--network-options variant {variant} takes "
            + ("no --vectors; leave one of them out." if variant == "random" else "word vectors; give --vectors FILE.")
        )
    if network.vectors is not None and start is None:  # of a stored run, whose weights come next
        start = torch.zeros(vocabulary, network.embedding_size or 1)
    for name in (name for name in network.network_options if name in ELSEWHERE):
        raise UsageError(f"--network-options {name}: for labelled sequences it {ELSEWHERE[name]}; leave it out.")
    if not network.embedding_size:
        raise UsageError("--embedding-size 0 feeds one-hot vectors, which sentence-cnn does not take; give 1 or more.")
    made = named_network(
        "sentence-cnn", (1,), classes, vocabulary=vocabulary, embedding_size=network.embedding_size,
        dropout=network.dropout or 0.0, vectors=start, **{**network.network_options, "variant": variant},
    )  # fmt: skip
    assert isinstance(made, SentenceCNN)
    made.batch_first = False
    return made


def stored_vocabulary(stored: Stored) -> Vocabulary:
    """The vocabulary of a run."""
    return Vocabulary.from_dict(document(stored, "vocabulary.json"))


def _level(texts: Sequence[str]) -> str:
    """Words where sequences have several, characters otherwise."""
    few = texts[:: max(1, len(texts) // 2000)]
    return "word" if np.median([len(text.split()) for text in few]) >= 4 else "char"


def _classifier(stored: Stored, settings: Settings, network: nn.Module) -> Classifier:
    columns = {"text_column": settings.labelled.text_column, "label_column": settings.data.label_column}
    return Classifier(network, stored_vocabulary(stored), document(stored, "labels.json"), columns)


_RECURRENT = Kind(
    name="labelled",
    about="labelled sequences",
    recognizes=layout_of,
    read=LabelledData.load,
    task=LabelledTask,
    network=lambda stored, settings, cell: build(
        settings, cell, stored_vocabulary(stored).size, len(document(stored, "labels.json"))
    ),
    user=_classifier,
    example=lambda stored, settings: (torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, dtype=torch.int64)),
    verb="predict",
    defaults={
        "network": "recurrent",
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
    without=("window", "backward", "target", "time_column", "group_column", "code_size", "init"),
    shows=lambda user, stored: answer_lines((stored("evaluation.json") or {}).get("panels", [])),
    unused=("network_options",),
)
_CONVOLUTIONAL = replace(
    _RECURRENT,
    recurrent=False,
    defaults={
        "network": "sentence-cnn",
        "min_count": 2,
        "embedding_size": 128,
        "dropout": 0.5,
        "batch": 32,
        "learning_rate": 2e-3,
    },
    unused=(*(name for name in RECURRENT if name not in ("embedding_size", "vectors")), "pooling"),
)
LABELLED = replace(_RECURRENT, variants={"sentence-cnn": _CONVOLUTIONAL})
