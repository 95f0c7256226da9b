"""Networks that read a whole sequence before they answer: one label for all of it, or a tag for each step."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .recurrent import Recurrent

__all__ = ["POOLINGS", "SequenceClassifier", "SequenceTagger", "Spelling", "pooled"]

POOLINGS = ("last", "mean", "max")


def pooled(output: Tensor, lengths: Tensor, recurrent: Recurrent, how: str) -> Tensor:
    """One vector for each sequence.

    Args:
        output: (time, batch, features) of `recurrent`, zero beyond the lengths.
        lengths: (batch,) at least 1.
        recurrent: the layers that made it.
        how: "last": the forward direction's output at the sequence's last step, the backward direction's at its first;
            "mean" over the steps; "max": each feature's largest value.

    Returns:
        (batch, features).
    """
    if how == "mean":
        return output.sum(0) / lengths.unsqueeze(1)
    inside = torch.arange(len(output), device=output.device).unsqueeze(1) < lengths
    if how == "max":
        return output.masked_fill(~inside.unsqueeze(2), -torch.inf).amax(0)
    ends = output.gather(0, (lengths - 1).view(1, -1, 1).expand(1, -1, output.shape[2]))[0]
    if recurrent.directions == 1:
        return ends
    widths = torch.tensor([cell.output_size for cell in recurrent.cells])
    backward = (torch.arange(len(widths)) % 2 == 1).repeat_interleave(widths)
    return torch.where(backward[-output.shape[2] :].to(output.device), output[0], ends)


class SequenceClassifier(nn.Module):
    r"""P(label | x_1 … x_T) = softmax(V pool(y_1 … y_T) + b), y = Recurrent(E x).

    Max pooling: Conneau et al., "Supervised learning of universal sentence representations", EMNLP 2017.

    Args:
        vocabulary: number of tokens.
        recurrent: the layers; their input size is the embedding's.
        classes: number of labels.
        embedding_size: size of a token's learned vector; 0 feeds one-hot vectors of size `vocabulary`.
        pooling: "last", "mean" or "max", see `pooled`.
        dropout: probability of dropping an element of the embedding and of the pooled vector, while training.
    """

    def __init__(
        self,
        vocabulary: int,
        recurrent: Recurrent,
        classes: int,
        *,
        embedding_size: int,
        pooling: str = "max",
        dropout: float = 0.0,
    ):
        super().__init__()
        self.vocabulary, self.pooling, self.dropout = vocabulary, pooling, dropout
        self.embedding = nn.Embedding(vocabulary, embedding_size) if embedding_size else None
        self.recurrent = recurrent
        self.scores = nn.Linear(recurrent.output_size, classes)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Scores (batch, classes) of sequences `tokens` (time, batch) of `lengths` (batch,), at least 1 each."""
        x = _embedded(self.embedding, tokens, self.vocabulary, self.scores.weight.dtype)
        y, _ = self.recurrent(F.dropout(x, self.dropout, self.training), lengths=lengths)
        return self.scores(F.dropout(pooled(y, lengths, self.recurrent, self.pooling), self.dropout, self.training))


class Spelling(nn.Module):
    """A vector for each word from its characters: the last states of a network in both directions.

    Ling et al., "Finding function in form: compositional character models for open vocabulary word representation",
    EMNLP 2015.

    Args:
        characters: how many there are.
        embedding_size: size of a character's learned vector.
        recurrent: the layers, in both directions.
    """

    def __init__(self, characters: int, embedding_size: int, recurrent: Recurrent):
        super().__init__()
        self.embedding, self.recurrent = nn.Embedding(characters, embedding_size), recurrent

    def forward(self, spelled: Tensor, lengths: Tensor) -> Tensor:
        """(words, features) for words spelled (characters, words) of `lengths` (words,)."""
        output, _ = self.recurrent(self.embedding(spelled), lengths=lengths)
        return pooled(output, lengths, self.recurrent, "last")


class SequenceTagger(nn.Module):
    r"""P(tag_t | x_1 … x_T) = softmax(V y_t + b), y = Recurrent([E x; spelling of x]), in both directions.

    Graves & Schmidhuber, "Framewise phoneme classification with bidirectional LSTM", Neural Networks 2005; with the
    spelling Plank et al., "Multilingual part-of-speech tagging with bidirectional LSTM models", ACL 2016.

    Args:
        vocabulary: number of words.
        recurrent: the layers; their input size is the embedding's and the spelling's.
        tags: number of tags.
        embedding_size: size of a word's learned vector; 0 feeds one-hot vectors of size `vocabulary`.
        spelling: reads the characters of the words; None does without.
        dropout: probability of dropping an element of the input and of the output of the layers, while training.
    """

    def __init__(
        self,
        vocabulary: int,
        recurrent: Recurrent,
        tags: int,
        *,
        embedding_size: int,
        spelling: Spelling | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.vocabulary, self.dropout = vocabulary, dropout
        self.embedding = nn.Embedding(vocabulary, embedding_size) if embedding_size else None
        self.spelling, self.recurrent = spelling, recurrent
        self.scores = nn.Linear(recurrent.output_size, tags)

    def forward(
        self, words: Tensor, lengths: Tensor, spelled: Tensor | None = None, which: Tensor | None = None
    ) -> Tensor:
        """Scores (time, batch, tags).

        Args:
            words: (time, batch) ids.
            lengths: (batch,) words of each sentence.
            spelled: (1 + characters, different words), the first row their lengths; needed with a spelling.
            which: (time, batch) column of `spelled` for each word.
        """
        x = _embedded(self.embedding, words, self.vocabulary, self.scores.weight.dtype)
        if self.spelling is not None:
            assert spelled is not None
            assert which is not None
            x = torch.cat([x, self.spelling(spelled[1:], spelled[0])[which]], dim=2)
        y, _ = self.recurrent(F.dropout(x, self.dropout, self.training), lengths=lengths)
        return self.scores(F.dropout(y, self.dropout, self.training))


def _embedded(embedding: nn.Embedding | None, tokens: Tensor, vocabulary: int, dtype: torch.dtype) -> Tensor:
    return F.one_hot(tokens, vocabulary).to(dtype) if embedding is None else embedding(tokens)
