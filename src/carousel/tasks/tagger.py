"""A trained network that names the tags of words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.conll import read_sentences
from ..data.ragged import Ragged, Vocabulary
from ..data.text_files import find_files
from ..data.tokenizers import SPLITS
from ..errors import DataError, UsageError
from .scores import judged

__all__ = ["EVALUATION_BATCH", "Tagger", "tensors"]

EVALUATION_BATCH = 64


def tensors(
    sentences: Sequence[Sequence[str]],
    words: Ragged,
    rows: NDArray[np.int64],
    characters: Vocabulary | None,
    device: torch.device,
) -> tuple[Tensor, ...]:
    """What a `SequenceTagger` takes: words, lengths, and the spelling of each different word once.

    Args:
        sentences: the words of these rows.
        words: of all sentences, as ids.
        rows: the sentences.
        characters: of the spelling; None for a network without.
        device: where they go.
    """
    ids, lengths = words.padded(rows), words.lengths[rows]
    found = [torch.from_numpy(ids).to(device), torch.from_numpy(lengths).to(device)]
    if characters is not None:
        number: dict[str, int] = {}
        which = np.zeros_like(ids)
        for place, sentence in enumerate(sentences):
            which[: len(sentence), place] = [number.setdefault(word, len(number)) for word in sentence]
        spelled = characters.encode_all(list(number))
        table = np.vstack([spelled.lengths, spelled.padded(np.arange(len(number)))])
        found += [torch.from_numpy(table).to(device), torch.from_numpy(which).to(device)]
    return tuple(found)


class Tagger:
    """A trained network that names tags.

    Args:
        network: in evaluation mode.
        vocabulary: words of its training.
        characters: of the spelling; None for a network without.
        names: of the tags.
        columns: of the words and of the tags in the files of training.
    """

    notes: Sequence[str] = ()
    takes_text: ClassVar[bool] = True

    def __init__(
        self,
        network: nn.Module,
        vocabulary: Vocabulary,
        characters: Vocabulary | None,
        names: Sequence[str],
        columns: tuple[str, str],
    ):
        self.network, self.vocabulary, self.characters = network, vocabulary, characters
        self.names, self.columns = tuple(names), columns

    @torch.no_grad()
    def predict(self, sentences: Sequence[str | Sequence[str]]) -> list[dict[str, Any]]:
        """For each sentence, a text or a list of words, its `words`, `tags`, and their `probabilities`.

        Raises:
            DataError: a sentence is empty.
        """
        if isinstance(sentences, str):
            raise UsageError("predict() got a text; give a list of sentences.")
        cut = [SPLITS["words"].findall(s.replace("\n", " ")) if isinstance(s, str) else list(s) for s in sentences]
        empty = next((place for place, words in enumerate(cut) if not words or not all(words)), None)
        if empty is not None:
            raise DataError(f"Sentence {empty + 1} of {len(cut)} is empty: there is nothing to name the tags of.")
        words = self.vocabulary.encode_all(cut)
        device = next(self.network.parameters()).device
        order, answers = np.argsort(words.lengths, kind="stable"), [{} for _ in cut]
        for begin in range(0, len(order), EVALUATION_BATCH):
            some = order[begin : begin + EVALUATION_BATCH]
            given = tensors([cut[row] for row in some.tolist()], words, some, self.characters, device)
            best = self.network(*given).double().softmax(2).max(2)
            for place, row in enumerate(some.tolist()):
                own = slice(len(cut[row]))
                tags = [self.names[tag] for tag in best.indices[own, place].tolist()]
                answers[row] = {"words": cut[row], "tags": tags, "probabilities": best.values[own, place].tolist()}
        return answers

    def read(
        self, path: str, encoding: str, *, text_column: str | None = None, label_column: str | None = None
    ) -> tuple[list[list[str]], list[list[str]] | None]:
        """The sentences of a file, and their tags where it has them.

        Raises:
            UsageError: there is no such file.
            DataError: it can't be read, or has no sentence.
        """
        ((file, _), *_) = find_files([path])
        word, tag = text_column or self.columns[0], label_column or self.columns[1]
        return read_sentences(file, encoding, word, tag)

    def line(self, answer: Mapping[str, Any]) -> str:
        """An answer for a person."""
        return " ".join(f"{word}/{tag}" for word, tag in zip(answer["words"], answer["tags"], strict=True))

    def rows(self, answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Answers as rows of a table, one for each word."""
        return [
            {"sentence": number, "word": word, "tag": tag, "probability": share}
            for number, answer in enumerate(answers, 1)
            for word, tag, share in zip(answer["words"], answer["tags"], answer["probabilities"], strict=True)
        ]

    def judged(self, answers: Sequence[Mapping[str, Any]], truth: Sequence[Sequence[str]]) -> list[str]:
        """How many words are right, and which tags the network does not know."""
        pairs = [
            (tag, label)
            for answer, labels in zip(answers, truth, strict=True)
            for tag, label in zip(answer["tags"], labels, strict=True)
        ]
        return judged(pairs, self.names, " words", "tags")
