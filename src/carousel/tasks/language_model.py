"""Language modeling: predict the next character, byte or word of a text."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..cells.loading import CellSource, blame
from ..data.streams import IGNORED, TokenStreams, split_by_position
from ..errors import CarouselError, CellError, DataError, UsageError
from ..nn import LanguageModel, Recurrent
from ..settings import NetworkSettings, Settings
from .repairs import COMMON, Repair
from .sampling import Sampler

__all__ = ["LanguageModelTask", "build_network"]

EVALUATION_STREAMS = 16
EVALUATION_WINDOW = 256


def build_network(settings: NetworkSettings, cell: CellSource, vocabulary: int) -> LanguageModel:
    """The network that the settings describe.

    Raises:
        CellError: the cell does not take the sizes or options it is given.
    """
    options = {**cell.options, **settings.cell_options}
    width = settings.embedding_size or vocabulary
    try:
        recurrent = Recurrent(
            cell.cell_class, width, settings.hidden_size, settings.layers,
            dropout=settings.dropout, skip=settings.skip, **options,
        )  # fmt: skip
    except TypeError as error:
        raise CellError(
            f"{cell.name} can't be made with input_size={width}, hidden_size={settings.hidden_size}"
            + "".join(f", {k}={v!r}" for k, v in options.items())
            + f": {error}."
        ) from error
    return LanguageModel(vocabulary, recurrent, embedding_size=settings.embedding_size, dropout=settings.dropout)


class LanguageModelTask:
    """The task as the training loop sees it.

    Args:
        tokenizer: text <-> token ids.
        tokens: all token ids of the text, possibly memory-mapped.
        documents: positions where a document begins; the state is reset there.
        settings: of the run; `training.batch` may be lowered to fit a small text, see `batch`.
        cell: the recurrent cell.

    Raises:
        DataError: the text is shorter than one window.
    """

    repairs: ClassVar[Mapping[str, Repair]] = COMMON
    unasked: ClassVar[Collection[str]] = ("class-imbalance", "data-leakage", "label-noise", "unshuffled-data")
    """Questions about samples; a text is one, and in order."""

    def __init__(self, tokenizer: Any, tokens: np.ndarray, documents: np.ndarray, settings: Settings, cell: CellSource):
        self.tokenizer, self.tokens, self.documents = tokenizer, tokens, documents
        self.settings, self.cell, self.unit = settings, cell, tokenizer.unit
        self.parts = split_by_position(len(tokens), dev=settings.data.dev, test=settings.data.test)
        window, train = settings.training.window, self.parts["train"].tokens
        if train <= window:
            raise DataError(
                f"The text has {len(tokens):,} {tokenizer.unit}s, {train:,} of them for training; that is less than "
                f"one window of {window} and the {tokenizer.unit} after it. Give more text or a smaller --window."
            )
        self.batch = min(settings.training.batch, (train - 1) // window)
        """Parallel streams, lowered where the text would not fill them."""

    def network(self) -> LanguageModel:
        """A new network with random weights."""
        return build_network(self.settings.network, self.cell, self.tokenizer.size)

    def stream(self, part: int, parts: int) -> TokenStreams:
        """This process's share of the training streams."""
        if self.batch % parts:
            raise UsageError(f"--batch {self.batch} can't be shared evenly by {parts} processes; give a multiple.")
        share = self.batch // parts
        rows = range(part * share, (part + 1) * share)
        return TokenStreams(self.tokens, self.documents, self.parts["train"], self.batch, rows=rows)

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy in nats per token."""
        return F.cross_entropy(output.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)

    @torch.no_grad()
    def evaluate(self, network: nn.Module, split: str) -> float | None:
        """Mean loss over the whole split in nats per token, the state carried; None for an empty one."""
        part = self.parts[split]
        streams = TokenStreams(self.tokens, self.documents, part, EVALUATION_STREAMS, whole=True)
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
        return total / (part.tokens - 1)

    def sample(self, network: nn.Module, seed: int) -> dict[str, Any]:
        """A piece of text from the present network."""
        assert isinstance(network, LanguageModel)
        temperature, count = 0.8, 60 if self.tokenizer.level == "word" else 300
        text = "".join(Sampler(network, self.tokenizer).stream(count, temperature=temperature, seed=seed))
        return {"text": text, "prompt": "", "temperature": temperature}

    def check(self) -> LanguageModel:
        """A network that ran for one step, so that a cell that breaks its contract is found before training begins."""
        try:
            network = self.network()
            with torch.no_grad():
                network(torch.zeros(1, 2, dtype=torch.int64))
        except CarouselError:
            raise
        except Exception as error:
            if self.cell.path is None:
                raise
            raise CellError(f"{blame(self.cell.path, error)}. The cell {self.cell.name} does not run.") from error
        return network


def describe_network(network: LanguageModel, cell: CellSource) -> dict[str, Any]:
    """What the network is, in words and numbers, for `network.json` and the report."""
    recurrent, vocabulary = network.recurrent, network.vocabulary
    first = cell.cell_class.__name__
    layers = [("recurrent", f"{first}, {len(recurrent.cells)} layer(s) of {recurrent.cells[0].hidden_size}")]
    embedding = network.embedding
    entry = ("one-hot", f"{vocabulary}")
    if embedding is not None:
        entry = ("embedding", f"{vocabulary} × {embedding.embedding_dim}")
    layers = [entry, *layers, ("scores", f"{recurrent.output_size} → {vocabulary}, softmax")]
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "vocabulary": vocabulary,
        "layers": layers,
        "equations": textwrap.dedent(inspect.getsource(cell.cell_class.step)),
    }
