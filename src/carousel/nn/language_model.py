"""The network of a neural language model: embedding, recurrent layers, a score for every token that may follow."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .recurrent import Recurrent

__all__ = ["LanguageModel"]


class LanguageModel(nn.Module):
    r"""P(x_{t+1} | x_1 … x_t) = softmax(V y_t + b), y = Recurrent(E x).

    Mikolov et al., "Recurrent neural network based language model", Interspeech 2010; Graves 2013.

    Args:
        vocabulary: number of tokens.
        recurrent: the layers; their input size is the embedding's.
        embedding_size: size of a token's learned vector; 0 feeds one-hot vectors of size `vocabulary`.
        dropout: probability of dropping a unit of y before the scores, while training; the same units in all steps of a
            call (Gal & Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks",
            2016), which takes fewer random numbers.
    """

    def __init__(self, vocabulary: int, recurrent: Recurrent, *, embedding_size: int, dropout: float = 0.0):
        super().__init__()
        self.vocabulary = vocabulary
        self.dropout = dropout
        self.embedding = nn.Embedding(vocabulary, embedding_size) if embedding_size else None
        self.recurrent = recurrent
        self.scores = nn.Linear(recurrent.output_size, vocabulary)

    def forward(self, tokens: Tensor, state: Any = None, *, reset: Tensor | None = None) -> tuple[Tensor, Any]:
        """Scores (time, batch, vocabulary) of the token that follows each of `tokens` (time, batch), and the state."""
        y, state = self.recurrent(self.embed(tokens), state, reset=reset)
        if self.training and self.dropout:
            y = y * F.dropout(torch.ones_like(y[:1]), self.dropout)
        return self.scores(y), state

    def embed(self, tokens: Tensor) -> Tensor:
        """The vector of each token, (…) to (…, size)."""
        if self.embedding is None:
            return F.one_hot(tokens, self.vocabulary).to(self.scores.weight.dtype)
        return self.embedding(tokens)
