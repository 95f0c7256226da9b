"""Tagged sequences: name the tag of every word of a sentence."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..cells.loading import CellSource
from ..data.conll import TaggedSentences, is_tagged, read_tagged
from ..data.ragged import Ragged, Vocabulary
from ..errors import DataError
from ..nn import SequenceTagger, Spelling
from ..settings import Settings
from ..training.feeds import ExampleFeed
from ..training.task import Evaluation, Shown
from .examples import divided
from .kind import LAYERED, FromFiles, Kind, Sources, Stored, blamed, document, make_recurrent, recurrent_layer
from .repairs import COMMON, Repair
from .scores import ACCURACY, F1, accuracy, confusion, confusion_panel, f1
from .tagger import EVALUATION_BATCH, Tagger, tensors
from .vectors import Given, begin_with

__all__ = ["TAGGED", "TaggedData", "TaggedTask"]

SENTENCES_SHOWN = 20
CHARACTER_SIZE = 24
"""Size of the learned vector of a character."""

ABSENT = -100
"""Target beyond a sentence's end, and of a tag that was not in training."""


@dataclass(frozen=True)
class TaggedData(FromFiles):
    """Tagged sentences, encoded and split.

    Attributes:
        read: as they were found.
        vocabulary: words of the training part.
        characters: of these words.
        names: of the tags.
        words: of all sentences, as ids.
        tags: of all words, in their order, as numbers; `ABSENT` for one that was not in training.
        parts: which sentences are of each split.
        found: settings that were inferred.
        notes: sentences that the user should read.
        given: word vectors from a file, or None.
    """

    read: TaggedSentences
    vocabulary: Vocabulary
    characters: Vocabulary
    names: tuple[str, ...]
    words: Ragged
    tags: NDArray[np.int64]
    parts: Mapping[str, NDArray[np.int64]]
    found: Mapping[str, Any]
    notes: list[str]
    given: Given | None

    @classmethod
    def load(cls, sources: Sources, settings: Settings) -> TaggedData:
        """Read, split, choose the vocabulary and encode.

        Raises:
            DataError: the data can't be used.
        """
        data, own = settings.data, settings.tagged
        read = read_tagged(sources, encoding=data.encoding, word=own.word_column, tag=own.tag_column)
        together = [" ".join(sentence) for sentence in read.words]
        parts = divided(read.splits, settings, classes=np.zeros(len(together), np.int64), equal=together)
        trained = parts["train"].tolist()
        names = tuple(sorted({tag for place in trained for tag in read.tags[place]}))
        if len(names) < 2:
            raise DataError(
                f"The training part has {len(trained):,} sentence(s) with {len(names)} tag(s); it needs at least two. "
                "Give more data, or a smaller --dev and --test."
            )
        words = [read.words[place] for place in trained]
        vocabulary = _vocabulary(words, data.min_count or 1, data.vocabulary_size)
        characters = Vocabulary.choose(("".join(sentence) for sentence in words), "char", min_count=2)
        number = {name: place for place, name in enumerate(names)}
        tags = np.array([number.get(tag, ABSENT) for sentence in read.tags for tag in sentence], np.int64)
        strange = sorted({tag for sentence in read.tags for tag in sentence} - set(names))
        notes = list(read.notes)
        if strange:
            notes.append(f"Not in the training part, so never answered: {', '.join(strange[:5])}.")
        found = {"word_column": read.word_column, "tag_column": read.tag_column}
        encoded = vocabulary.encode_all(read.words)
        given = Given.read(settings.network, vocabulary)
        if given is not None:
            notes, found = [*notes, given.note], {**found, **given.found}
        return cls(read, vocabulary, characters, names, encoded, tags, parts, found, notes, given)

    @cached_property
    def columns(self) -> Ragged:
        """The tags, sentence by sentence."""
        return Ragged(self.tags, self.words.starts)

    def about(self) -> str:
        """What was found, and the options that say otherwise."""
        return (
            f"tagged sequences: {len(self.read.words):,} sentences, {len(self.tags):,} words, {len(self.names)} tags, "
            f"{self.read.where} (--kind, --word-column, --tag-column say otherwise)"
        )

    def origin(self) -> dict[str, Any]:
        """Files and sizes."""
        return {
            "files": len(self.read.files),
            "tags": len(self.names),
            "sentences": {split: len(part) for split, part in self.parts.items()},
        }


class TaggedTask:
    """The task as the training loop sees it.

    Args:
        data: the sentences.
        settings: of the run; `training.batch` may be lowered to fit few sentences, see `batch`.
        cell: the recurrent cell.
    """

    unit: ClassVar[str] = "word"
    repairs: ClassVar[Mapping[str, Repair]] = COMMON
    remarks: Sequence[str] = ()
    unasked: ClassVar[Collection[str]] = ("class-imbalance",)
    """Tags are of unlike frequency by nature."""

    def __init__(self, data: TaggedData, settings: Settings, cell: CellSource):
        self.data, self.settings, self.cell = data, settings, cell
        assert settings.training.batch is not None
        self.batch = min(settings.training.batch, len(data.parts["train"]))

    @property
    def shown(self) -> Shown:
        """Accuracy over the words, and the mean F1 of the tags."""
        data = self.data
        facts = (
            f"{len(data.names)} tags.",
            f"A vocabulary of {data.vocabulary.size:,} words.",
            ", ".join(f"{len(part):,} sentences in the {split} part" for split, part in data.parts.items()) + ".",
        )
        commands = (
            ('predict {run} --text "A few words of your own ."', "name the tags of words"),
            ("predict {run} FILE --out answers.csv", "name the tags of every sentence of a file"),
        )
        return Shown(self.unit, "nats", len(data.names), "tag", facts, {"accuracy": ACCURACY, "f1": F1}, commands)

    def network(self) -> SequenceTagger:
        """A new network with random weights."""
        data = self.data
        made = build(self.settings, self.cell, data.vocabulary.size, data.characters.size, len(data.names))
        begin_with(made.embedding, None if data.given is None else data.given.start())
        return made

    def feed(self, part: int, parts: int) -> ExampleFeed:
        """The training sentences; those of similar length share a batch."""
        rows, training = self.data.parts["train"], self.settings.training
        return ExampleFeed(
            _Rows(self, rows), self.batch, seed=training.seed, unit="sentence",
            lengths=self.data.words.lengths[rows], part=part, parts=parts,
        )  # fmt: skip

    def inputs(self, rows: NDArray[np.int64], device: torch.device) -> tuple[Tensor, ...]:
        """What the network takes of these sentences."""
        words = self.data.read.words
        characters = self.data.characters if self.settings.tagged.spelling_size else None
        return tensors([words[row] for row in rows.tolist()], self.data.words, rows, characters, device)

    def targets(self, rows: NDArray[np.int64]) -> Tensor:
        """(time, rows) numbers of the tags."""
        return torch.from_numpy(self.data.columns.padded(rows, ABSENT))

    @torch.no_grad()
    def answers(self, network: nn.Module, split: str) -> tuple[NDArray[np.int64], list[NDArray[np.int64]], float]:
        """Sentences of a split, the tags that they are given, and the mean loss."""
        rows = self.data.parts[split]
        rows = rows[np.argsort(self.data.words.lengths[rows], kind="stable")]
        device = next(network.parameters()).device
        network.eval()
        found, total, counted = [], 0.0, 0
        for begin in range(0, len(rows), EVALUATION_BATCH):
            some = rows[begin : begin + EVALUATION_BATCH]
            scores, targets = network(*self.inputs(some, device)), self.targets(some)
            total += _cross_entropy(scores, targets.to(device), "sum").item()
            counted += int((targets != ABSENT).sum())
            best = scores.argmax(2).cpu().numpy()
            found += [best[:length, place] for place, length in enumerate(self.data.words.lengths[some].tolist())]
        return rows, found, total / max(1, counted)

    def evaluate(self, network: nn.Module, split: str) -> Evaluation | None:
        """Loss, accuracy and the mean F1 of the tags; None for an empty split."""
        if not len(self.data.parts[split]):
            return None
        rows, found, loss = self.answers(network, split)
        counts = self._counts(rows, found)
        return Evaluation(loss, {"accuracy": accuracy(counts), "f1": float(np.nanmean(f1(counts)))}, "accuracy")

    def _counts(self, rows: NDArray[np.int64], found: list[NDArray[np.int64]]) -> NDArray[np.int64]:
        truth, given = np.concatenate([self._tags(row) for row in rows.tolist()]), np.concatenate(found)
        known = truth != ABSENT
        return confusion(truth[known], given[known], len(self.data.names))

    def _tags(self, row: int) -> NDArray[np.int64]:
        return self.data.tags[self.data.words.starts[row] : self.data.words.starts[row + 1]]

    def sample(self, network: nn.Module, seed: int) -> None:
        """Nothing while it is trained."""

    def check(self) -> SequenceTagger:
        """A network that ran over one sentence."""
        network = blamed(self.cell, self.network)
        blamed(self.cell, lambda: network(*self.inputs(self.data.parts["train"][:1], torch.device("cpu"))))
        return network

    def documents(self) -> dict[str, Any]:
        """The vocabularies and the names of the tags."""
        vocabularies = {"words": self.data.vocabulary.to_dict(), "characters": self.data.characters.to_dict()}
        return {"vocabulary.json": vocabularies, "labels.json": list(self.data.names)}

    def layers(self, network: nn.Module) -> dict[str, Any]:
        """Embedding, spelling, recurrent layers, scores."""
        assert isinstance(network, SequenceTagger)
        vocabulary, embedding, spelling = network.vocabulary, network.embedding, network.spelling
        layers = [("one-hot", f"{vocabulary}")]
        if embedding is not None:
            layers = [("embedding", f"{vocabulary} × {embedding.embedding_dim}")]
        if spelling is not None:
            layers.append(("spelling", recurrent_layer(spelling.recurrent, self.cell)))
        width = network.recurrent.output_size
        layers.append(("recurrent", recurrent_layer(network.recurrent, self.cell)))
        layers.append(("scores", f"{width} → {len(self.data.names)}, softmax, at each word"))
        return {"vocabulary": vocabulary, "layers": layers}

    def describe(self, network: nn.Module) -> list[dict[str, Any]]:
        """Some sentences with their tags, F1 of the tags, confusion."""
        split = "test" if len(self.data.parts["test"]) else "dev"
        if not len(self.data.parts[split]):
            return []
        rows, found, _ = self.answers(network, split)
        counts, names = self._counts(rows, found), self.data.names
        sentences = []
        for place in np.random.default_rng(0).permutation(len(rows))[:SENTENCES_SHOWN].tolist():
            truth = [names[tag] if tag != ABSENT else "?" for tag in self._tags(rows[place].item()).tolist()]
            answers = [names[tag] for tag in found[place].tolist()]
            sentences.append(list(map(list, zip(self.data.read.words[rows[place]], truth, answers, strict=True))))
        note = "A wrong answer is struck through; below it stands the tag."
        shown = {"panel": "tags", "title": f"Sentences of the {split} part", "note": note, "sentences": sentences}
        return [
            shown,
            _tags_panel(counts, names, split),
            confusion_panel(counts, names, f"Confusion on the {split} part"),
        ]


@dataclass(frozen=True)
class _Rows:
    """Some sentences of a task's data, as a feed reads them."""

    task: TaggedTask
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def units(self, chosen: NDArray[np.int64]) -> int:
        return int((self.task.targets(self.rows[chosen]) != ABSENT).sum())

    def weights(self, chosen: NDArray[np.int64]) -> float:
        return float(self.units(chosen))

    def loss(self, network: Callable[..., Any], chosen: NDArray[np.int64], device: torch.device) -> Tensor:
        rows = self.rows[chosen]
        return _cross_entropy(network(*self.task.inputs(rows, device)), self.task.targets(rows).to(device), "mean")


def _cross_entropy(scores: Tensor, targets: Tensor, reduction: str) -> Tensor:
    return F.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=ABSENT, reduction=reduction)


def build(settings: Settings, cell: CellSource, vocabulary: int, characters: int, tags: int) -> SequenceTagger:
    """The network that the settings describe.

    Raises:
        CellError: the cell does not take the sizes or options it is given.
    """
    network, size, spelling = settings.network, settings.tagged.spelling_size, None
    assert network.embedding_size is not None
    if size:
        small = settings.resolved(hidden_size=size, layers=1, directions=2, skip=False).network
        spelling = Spelling(characters, CHARACTER_SIZE, make_recurrent(small, cell, CHARACTER_SIZE))
    width = network.embedding_size or vocabulary
    width += 0 if spelling is None else spelling.recurrent.output_size
    return SequenceTagger(
        vocabulary, make_recurrent(network, cell, width), tags,
        embedding_size=network.embedding_size, spelling=spelling, dropout=network.dropout or 0.0,
    )  # fmt: skip


def _vocabulary(sentences: list[list[str]], least: int, most: int | None) -> Vocabulary:
    """Of words that were cut already."""
    spaced = (" ".join(word.replace(" ", "\u00a0") for word in sentence) for sentence in sentences)
    return Vocabulary.choose(spaced, "word", split="spaces", min_count=least, most=most)


def _tags_panel(counts: NDArray[np.int64], names: tuple[str, ...], split: str) -> dict[str, Any]:
    rows, of_tags = [], f1(counts)
    for place in np.argsort(-counts.sum(1), kind="stable").tolist():
        size, answered, right = int(counts[place].sum()), int(counts[:, place].sum()), int(counts[place, place])
        if size or answered:
            recall, precision = (right / number if number else None for number in (size, answered))
            rows.append([names[place], size, precision, recall, float(of_tags[place])])
    columns = ["tag", f"words in {split}", "precision", "recall", "F1"]
    return {"panel": "table", "title": "Tags", "columns": columns, "rows": rows}


def _network(stored: Stored, settings: Settings, cell: CellSource) -> SequenceTagger:
    words, characters = _stored(stored)
    return build(settings, cell, words.size, characters.size, len(document(stored, "labels.json")))


def _example(stored: Stored, settings: Settings) -> tuple[Tensor, ...]:
    one, none = torch.ones(1, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.int64)
    spelled = torch.tensor([[1], [0]])  # a word of one character
    return (none, one, spelled, none) if settings.tagged.spelling_size else (none, one)


def _stored(stored: Stored) -> tuple[Vocabulary, Vocabulary]:
    found = document(stored, "vocabulary.json")
    return Vocabulary.from_dict(found["words"]), Vocabulary.from_dict(found["characters"])


def _tagger(stored: Stored, settings: Settings, network: nn.Module) -> Tagger:
    words, characters = _stored(stored)
    own = settings.tagged
    spelled = characters if own.spelling_size else None
    columns = (own.word_column or "1", own.tag_column or "2")
    return Tagger(network, words, spelled, document(stored, "labels.json"), columns)


def _shows(tagger: Tagger, stored: Stored) -> tuple[str, str] | None:
    panels = (stored("evaluation.json") or {}).get("panels", [])
    some = next((panel for panel in panels if panel["panel"] == "tags"), None)
    if some is None:
        return None
    lines = [
        " ".join(f"{word}/{answer}" + ("" if answer == tag else f"({tag})") for word, tag, answer in sentence[:20])
        for sentence in some["sentences"][:4]
    ]
    return f"{some['title']}, with the right tag in brackets where the answer is another:", "\n".join(lines)


TAGGED = Kind(
    name="tagged",
    about="tagged sequences",
    recognizes=is_tagged,
    read=TaggedData.load,
    task=TaggedTask,
    network=_network,
    user=_tagger,
    example=_example,
    verb="predict",
    defaults={
        "min_count": 2,
        "cell": "lstm",
        "hidden_size": 128,
        "directions": 2,
        "embedding_size": 100,
        "dropout": 0.5,
        "batch": 16,
        "learning_rate": 4e-3,
    },
    epochs=10,
    without=(
        "window",
        "backward",
        "level",
        "words",
        "split_column",
        "label_column",
        "target",
        "time_column",
        "group_column",
        "class_weights",
        "loss",
        *LAYERED,
    ),
    shows=_shows,
)
