"""Word vectors from a file as the start of a network's embedding.

Words that the file lacks begin with random vectors that spread as much as the file's, as in Kim, "Convolutional neural
networks for sentence classification", EMNLP 2014.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data.ragged import Vocabulary
from ..data.word_vectors import WordVectors, read_vectors
from ..errors import DataError, UsageError
from ..settings import NetworkSettings

__all__ = ["Given", "begin_with"]


@dataclass(frozen=True)
class Given:
    """The vectors of a file for the words of a vocabulary.

    Args:
        path: the file.
        vectors: of the words that are in it.
        vocabulary: all words.
    """

    path: Path
    vectors: WordVectors
    vocabulary: Vocabulary

    @classmethod
    def read(cls, settings: NetworkSettings, vocabulary: Vocabulary) -> Given | None:
        """What the settings ask for; None for nothing.

        Raises:
            UsageError: there is no such file, or the data are no words.
            DataError: it can't be read, or has none of the words.
        """
        if settings.vectors is None:
            return None
        if vocabulary.level != "word":
            raise UsageError(f"--vectors are of words, and the data are read as {vocabulary.unit}s; give --level word.")
        found = read_vectors(settings.vectors, set(vocabulary.symbols))
        if not any(word in found for word in vocabulary.symbols[1:]):  # the first is <unk>, which files may have, too
            raise DataError(
                f"{settings.vectors} has none of the {vocabulary.size - 1:,} words of the data; is it of another "
                "language, or has it other upper and lower case?"
            )
        return cls(Path(settings.vectors).absolute(), found, vocabulary)

    @property
    def note(self) -> str:
        """How many words have a vector."""
        known, words = sum(word in self.vectors for word in self.vocabulary.symbols[1:]), self.vocabulary.size - 1
        rest = "." if known == words else "; the others begin with random ones."
        return (
            f"{known:,} of the {words:,} words have a vector of {self.vectors.size} numbers in {self.path.name}{rest}"
        )

    @property
    def found(self) -> dict[str, Any]:
        """The settings that follow."""
        return {"vectors": str(self.path), "embedding_size": self.vectors.size}

    def start(self) -> Tensor:
        """(vocabulary, size): the file's vectors; for other words uniform draws with their mean square."""
        known = torch.from_numpy(self.vectors.matrix)
        limit = (3 * known.square().mean()).sqrt().item()
        start = torch.empty(self.vocabulary.size, self.vectors.size).uniform_(-limit, limit)
        here = [place for place, word in enumerate(self.vocabulary.symbols) if word in self.vectors]
        start[here] = torch.stack([torch.from_numpy(self.vectors[self.vocabulary.symbols[place]]) for place in here])
        return start


def begin_with(embedding: nn.Embedding | None, start: Tensor | None) -> None:
    """Put vectors into an embedding, where there are some."""
    if start is not None:
        assert embedding is not None
        with torch.no_grad():
            embedding.weight.copy_(start)
