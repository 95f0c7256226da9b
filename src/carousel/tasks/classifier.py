"""A trained network that names the labels of sequences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.labelled import read_unlabelled
from ..data.ragged import Ragged, Vocabulary
from ..data.tables import TABLE_SUFFIXES
from ..data.text_files import find_files
from ..errors import DataError, UsageError
from .classify import class_probabilities
from .examples import EVALUATION_BATCH
from .scores import judged

__all__ = ["Classifier", "scores_of"]


class Classifier:
    """A trained network that names labels.

    Args:
        network: in evaluation mode.
        vocabulary: of its training.
        names: of the classes.
        columns: in which a table of training had `text_column` and `label_column`.
    """

    notes: Sequence[str] = ()
    takes_text: ClassVar[bool] = True

    def __init__(
        self, network: nn.Module, vocabulary: Vocabulary, names: Sequence[str], columns: Mapping[str, str | None]
    ):
        self.network, self.vocabulary, self.names, self.columns = network, vocabulary, tuple(names), columns
        self.classes, self.target, self.reading = self.names, None, columns

    @torch.no_grad()
    def predict(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """For each text `text`, `label`, `probability`, and `probabilities` by label.

        Raises:
            DataError: a text is empty.
        """
        if isinstance(texts, str):
            raise UsageError("predict() got a text; give a list of texts.")
        sequences = self.vocabulary.encode_all(texts)
        empty = np.flatnonzero(sequences.lengths == 0)
        if len(empty):
            raise DataError(f"Sequence {empty[0] + 1} of {len(texts)} is empty: there is nothing to name the label of.")
        device = next(self.network.parameters()).device
        order, found = np.argsort(sequences.lengths, kind="stable"), np.empty((len(texts), len(self.names)))
        for begin in range(0, len(order), EVALUATION_BATCH):
            some = order[begin : begin + EVALUATION_BATCH]
            scores = scores_of(self.network, sequences, some, device)
            found[some] = scores.double().softmax(1).cpu().numpy()
        answers = class_probabilities(self.names, found)
        return [{"text": text, **answer} for text, answer in zip(texts, answers, strict=True)]

    def read(
        self, path: str, encoding: str, *, text_column: str | None = None, label_column: str | None = None
    ) -> tuple[list[str], list[str] | None]:
        """The sequences of a file, and their labels where it has them.

        Raises:
            UsageError: there is no such file.
            DataError: it can't be read, or a column is missing.
        """
        ((file, _), *_) = find_files([path])
        columns = self.columns if file.suffix.lower() in TABLE_SUFFIXES else {}
        text, label = text_column or columns.get("text_column"), label_column or columns.get("label_column")
        return read_unlabelled(file, encoding, text, label, must=label_column is not None)

    def line(self, answer: Mapping[str, Any]) -> str:
        """An answer for a person."""
        text = " ".join(answer["text"].split())
        return f"{text if len(text) <= 80 else text[:79] + '…'}  {answer['label']} {100 * answer['probability']:.1f} %"

    def rows(self, answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Answers as rows of a table."""
        return [{name: answer[name] for name in ("text", "label", "probability")} for answer in answers]

    def judged(self, answers: Sequence[Mapping[str, Any]], truth: Sequence[str]) -> list[str]:
        """How many are right, and which labels the network does not know."""
        pairs = [(answer["label"], label) for answer, label in zip(answers, truth, strict=True)]
        return judged(pairs, self.names, "", "labels")


def scores_of(network: Callable[..., Any], sequences: Ragged, rows: NDArray[np.int64], device: torch.device) -> Tensor:
    """(rows, classes) scores of these sequences."""
    tokens = torch.from_numpy(sequences.padded(rows)).to(device)
    return network(tokens, torch.from_numpy(sequences.lengths[rows]).to(device))
