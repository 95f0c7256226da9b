"""Language modeling: predict the next character, byte, word or byte pair of a text."""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..cells.loading import CellSource
from ..data.streams import IGNORED, Part, TokenStreams, split_by_position
from ..data.text import TextCorpus, describe, load_text
from ..data.tokenizers import BpeTokenizer, Tokenizer, tokenizer_from_dict
from ..errors import DataError, UsageError
from ..nn import LanguageModel
from ..settings import NetworkSettings, Settings
from ..training.feeds import StreamFeed
from ..training.task import Evaluation, Metric, Shown
from ..training.tbptt import TruncatedBPTT
from .kind import LAYERED, Kind, Sources, Stored, blamed, document, make_recurrent, recurrent_layer
from .repairs import COMMON, Repair
from .sampling import Sampler

__all__ = ["TEXT", "LanguageModelTask", "TextData", "build_network", "stored_tokenizer"]

EVALUATION_STREAMS = 16
EVALUATION_WINDOW = 256

PER_TEXT = {
    "nats_per_character": Metric(
        "Nats per character", "The same loss shared among the characters, as a network of characters states it."
    ),
    "bits_per_byte": Metric("Bits per byte", "The same loss over the text's bytes in UTF-8, whatever the tokens are."),
}
"""How the loss of byte pairs is compared with that of other tokens."""


def build_network(settings: NetworkSettings, cell: CellSource, vocabulary: int) -> LanguageModel:
    """The network that the settings describe.

    Raises:
        CellError: the cell does not take the sizes or options it is given.
    """
    assert settings.embedding_size is not None
    recurrent = make_recurrent(settings, cell, settings.embedding_size or vocabulary)
    dropout = settings.dropout or 0.0
    return LanguageModel(vocabulary, recurrent, embedding_size=settings.embedding_size, dropout=dropout)


@dataclass(frozen=True)
class TextData:
    """A text as a kind of data."""

    corpus: TextCorpus
    settings: Settings
    found: Mapping[str, Any]

    @classmethod
    def read(cls, sources: Sources, settings: Settings) -> TextData:
        """Read, encode and split."""
        data = settings.data
        # chosen by what is trained on, so that the dev and test parts do not leak into the vocabulary
        chosen = data.level in ("word", "bpe")
        share: dict[str, Any] = {"count_share": 1 - data.dev - data.test} if chosen else {}
        assert data.level is not None
        assert data.min_count is not None
        corpus = load_text(
            sources, level=data.level, encoding=data.encoding, vocabulary_size=data.vocabulary_size,
            min_count=data.min_count, split=data.words, **share,
        )  # fmt: skip
        return cls(corpus, settings, {})

    @property
    def name(self) -> str:
        """Of the file or folder."""
        return self.corpus.name

    @property
    def digest(self) -> str:
        """Of the content of the files."""
        return self.corpus.digest

    @property
    def notes(self) -> list[str]:
        """What was left out, and the like."""
        return self.corpus.notes

    def about(self) -> str:
        """The corpus in a line."""
        unit = self.corpus.tokenizer.unit
        return f"{describe(self.corpus)}: a language model of its {unit}s (--level says otherwise)"

    def origin(self) -> dict[str, Any]:
        """Files, beginning and sizes."""
        data = self.settings.data
        parts = split_by_position(len(self.corpus.tokens), dev=data.dev, test=data.test)
        return {
            "files": len(self.corpus.files),
            "begins": self.beginning(),
            "tokens": {split: part.tokens for split, part in parts.items()},
        }

    def beginning(self) -> str:
        """A few words of the text, as a prompt that the model surely knows."""
        return " ".join(self.corpus.tokenizer.decode(self.corpus.tokens[:40]).split()[:2])


class LanguageModelTask:
    """The task as the training loop sees it.

    Args:
        data: the text.
        settings: of the run; `training.batch` may be lowered to fit a small text, see `batch`.
        cell: the recurrent cell.

    Raises:
        DataError: the text is shorter than one window.
    """

    repairs: ClassVar[Mapping[str, Repair]] = COMMON
    remarks: Sequence[str] = ()
    unasked: ClassVar[Collection[str]] = ("class-imbalance", "data-leakage", "label-noise", "unshuffled-data")
    """Questions about samples; a text is one, and in order."""

    def __init__(self, data: TextData, settings: Settings, cell: CellSource):
        corpus = data.corpus
        self.data, self.settings, self.cell = data, settings, cell
        self.tokenizer, self.tokens, self.documents_at = corpus.tokenizer, corpus.tokens, corpus.documents
        self.unit = self.tokenizer.unit
        assert settings.training.window is not None
        assert settings.training.batch is not None
        self.parts = split_by_position(len(self.tokens), dev=settings.data.dev, test=settings.data.test)
        window, train = settings.training.window, self.parts["train"].tokens
        if train <= window:
            raise DataError(
                f"The text has {len(self.tokens):,} {self.unit}s, {train:,} of them for training; that is less than "
                f"one window of {window} and the {self.unit} after it. Give more text or a smaller --window."
            )
        self.batch = min(settings.training.batch, (train - 1) // window)
        """Parallel streams, lowered where the text would not fill them."""

    @property
    def shown(self) -> Shown:
        """Bits per character, byte or token, perplexity for words."""
        measure = "perplexity" if self.tokenizer.level == "word" else "bits"
        metrics = PER_TEXT if isinstance(self.tokenizer, BpeTokenizer) else {}
        commands = _commands(self.data.beginning())
        return Shown(self.unit, measure, self.tokenizer.size, self.unit, metrics=metrics, commands=commands)

    def network(self) -> LanguageModel:
        """A new network with random weights."""
        return build_network(self.settings.network, self.cell, self.tokenizer.size)

    def feed(self, part: int, parts: int) -> StreamFeed:
        """This process's share of the training streams."""
        training = self.settings.training
        assert training.window is not None
        if self.batch % parts:
            raise UsageError(f"--batch {self.batch} can't be shared evenly by {parts} processes; give a multiple.")
        share = self.batch // parts
        rows = range(part * share, (part + 1) * share)
        streams = TokenStreams(self.tokens, self.documents_at, self.parts["train"], self.batch, rows=rows)
        return StreamFeed(streams, TruncatedBPTT(training.window, training.backward), self.loss, self.unit)

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy in nats per token."""
        return F.cross_entropy(output.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)

    @torch.no_grad()
    def evaluate(self, network: nn.Module, split: str) -> Evaluation | None:
        """Mean loss over the whole split in nats per token, the state carried; None for an empty one."""
        part = self.parts[split]
        streams = TokenStreams(self.tokens, self.documents_at, part, EVALUATION_STREAMS, whole=True)
        if streams.length == 0:
            return None
        network.eval()
        device = next(network.parameters()).device
        total, state = 0.0, None
        for begin in range(0, streams.length, EVALUATION_WINDOW):
            window = streams.window(begin, min(begin + EVALUATION_WINDOW, streams.length))
            reset = None if window.reset is None else window.reset.to(device)
            output, state = network(window.inputs.to(device), state, reset=reset)
            targets = window.targets.to(device).flatten()
            total += F.cross_entropy(output.flatten(0, 1), targets, ignore_index=IGNORED, reduction="sum").item()
        return Evaluation(total / (part.tokens - 1), self._per_text(total, part))

    def _per_text(self, total: float, part: Part) -> dict[str, float]:
        """`PER_TEXT` of a part that costs `total` nats; its first token is not predicted."""
        if not isinstance(self.tokenizer, BpeTokenizer):
            return {}
        counts = np.bincount(self.tokens[part.start + 1 : part.stop], minlength=self.tokenizer.size)
        characters, size = (counts @ self.tokenizer.lengths).tolist()
        return {"nats_per_character": total / max(characters, 1), "bits_per_byte": total / math.log(2) / size}

    def sample(self, network: nn.Module, seed: int) -> dict[str, Any]:
        """A piece of text from the present network."""
        assert isinstance(network, LanguageModel)
        temperature, count = 0.8, {"word": 60, "bpe": 100}.get(self.tokenizer.level, 300)
        text = "".join(Sampler(network, self.tokenizer).stream(count, temperature=temperature, seed=seed))
        return {"text": text, "prompt": "", "temperature": temperature}

    def check(self) -> LanguageModel:
        """A network that ran for one step, so that a cell that breaks its contract is found before training begins."""
        network = blamed(self.cell, self.network)
        blamed(self.cell, lambda: network(torch.zeros(1, 2, dtype=torch.int64)))
        return network

    def documents(self) -> dict[str, Any]:
        """The tokenizer."""
        return {"tokenizer.json": self.tokenizer.to_dict()}

    def layers(self, network: nn.Module) -> dict[str, Any]:
        """Embedding, recurrent layers, scores."""
        assert isinstance(network, LanguageModel)
        recurrent, vocabulary, embedding = network.recurrent, network.vocabulary, network.embedding
        entry = ("one-hot", f"{vocabulary}")
        if embedding is not None:
            entry = ("embedding", f"{vocabulary} × {embedding.embedding_dim}")
        layers = [
            entry,
            ("recurrent", recurrent_layer(recurrent, self.cell)),
            ("scores", f"{recurrent.output_size} → {vocabulary}, softmax"),
        ]
        return {"vocabulary": vocabulary, "layers": layers}

    def describe(self, network: nn.Module) -> list[dict[str, Any]]:
        """Nothing beside the samples."""
        return []


def stored_tokenizer(stored: Stored) -> Tokenizer:
    """The tokenizer of a run.

    Raises:
        RunFolderError: there is none.
    """
    return tokenizer_from_dict(document(stored, "tokenizer.json"))


def _commands(beginning: str) -> tuple[tuple[str, str], ...]:
    prompt = shlex.quote(beginning)
    return (
        ("sample {run} --chars 500", "let the network write"),
        (f"sample {{run}} --prompt {prompt} --temperature 0.5", "go on from your own words, more carefully"),
    )


def _sampler(stored: Stored, settings: Settings, network: nn.Module) -> Sampler:
    assert isinstance(network, LanguageModel)
    return Sampler(network, stored_tokenizer(stored))


def _writes(sampler: Sampler, stored: Stored) -> tuple[str, str]:
    count = {"word": 120, "bpe": 170}.get(sampler.tokenizer.level, 500)
    return "It now writes:", "".join(sampler.stream(count, temperature=0.8, seed=0))


TEXT = Kind(
    name="text",
    about="a text",
    recognizes=lambda sources: "whatever can be read as text",
    read=TextData.read,
    task=LanguageModelTask,
    network=lambda stored, settings, cell: build_network(settings.network, cell, stored_tokenizer(stored).size),
    user=_sampler,
    example=lambda stored, settings: (torch.zeros(1, 1, dtype=torch.int64),),
    verb="sample",
    defaults={
        "level": "char",
        "min_count": 1,
        "cell": "lstm-coupled-layernorm",
        "hidden_size": 448,
        "directions": 1,
        "embedding_size": 64,
        "dropout": 0.2,
        "batch": 16,
        "window": 64,
        "learning_rate": 6e-3,
    },
    without=(
        "split_column",
        "split_seed",
        "fold",
        "dev_fold",
        "label_column",
        "target",
        "time_column",
        "group_column",
        "class_weights",
        "loss",
        "vectors",
        *LAYERED,
    ),
    shows=_writes,
)
