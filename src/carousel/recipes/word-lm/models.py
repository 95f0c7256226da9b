r"""Two language models of words that share one way to score them.

The scores are those of the embedding itself (tied, Press & Wolf 2017), normalized in two steps by frequency: the head
holds the frequent words and one entry for each group of rarer ones, and a group's own softmax is computed for its words
only (Goodman 2001; Grave et al., "Efficient softmax approximation for GPUs", 2017). It is an exact distribution,

.. math:: P(w) = P(w \mid \text{head}) \quad\text{or}\quad P(\text{group of } w)\; P(w \mid \text{group}),

and takes a sixth of the products of one softmax over all words.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Words(nn.Module):
    """Vectors of the words, sorted by frequency, and the scores against them.

    Args:
        count: words.
        size: of a vector.
        cuts: ids at which the groups of rarer words begin.
    """

    def __init__(self, count: int, size: int, cuts: tuple[int, ...]):
        super().__init__()
        self.borders = [*(cut for cut in cuts if cut < count), count]
        self.vectors, self.bias = nn.Parameter(torch.empty(count, size)), nn.Parameter(torch.zeros(count))
        self.groups = nn.Parameter(torch.empty(len(self.borders) - 1, size))
        self.group_bias = nn.Parameter(torch.zeros(len(self.borders) - 1))
        for weight in (self.vectors, self.groups):
            nn.init.uniform_(weight, -0.1, 0.1)

    def nats(self, guess: Tensor, target: Tensor) -> Tensor:
        """The sum of -ln P(target) for guesses (n, size) at the vectors of the targets (n,)."""
        head = self.borders[0]
        group = torch.bucketize(target, torch.tensor(self.borders), right=True)
        weight, bias = torch.cat([self.vectors[:head], self.groups]), torch.cat([self.bias[:head], self.group_bias])
        scores = F.linear(guess, weight, bias)
        total = F.cross_entropy(scores, torch.where(group == 0, target, head - 1 + group), reduction="sum")
        for number, (first, last) in enumerate(zip(self.borders[:-1], self.borders[1:], strict=True), 1):
            mine = (group == number).nonzero().squeeze(1)
            scores = F.linear(guess[mine], self.vectors[first:last], self.bias[first:last])
            total = total + F.cross_entropy(scores, target[mine] - first, reduction="sum")
        return total


class NPLM(nn.Module):
    r"""The neural probabilistic language model: guess = U tanh(d + H x) + D x, x = (C w_{t-1}, …, C w_{t-n+1}).

    One projection C is shared by all delays; D is the direct connection. Bengio, Ducharme, Vincent & Jauvin 2003,
    whose output matrix is here U or D followed by the tied vectors.
    """

    def __init__(self, words: int, order: int, size: int, units: int, dropout: float, cuts: tuple[int, ...]):
        super().__init__()
        self.words, self.past, self.drop = Words(words, size, cuts), order - 1, nn.Dropout(dropout)
        self.hidden, self.out = nn.Linear(self.past * size, units), nn.Linear(units, size)
        self.direct = nn.Linear(self.past * size, size, bias=False)
        nn.init.zeros_(self.direct.weight)

    def nats(self, ids: Tensor, places: Tensor) -> Tensor:
        """The sum of -ln P of the words at `places`, each given the ones before it."""
        context = ids[places[:, None] - torch.arange(1, self.past + 1)]
        x = self.drop(F.embedding(context, self.words.vectors).flatten(1))
        return self.words.nats(self.drop(self.out(self.drop(torch.tanh(self.hidden(x)))) + self.direct(x)), ids[places])


class RecurrentLM(nn.Module):
    """guess = U h_t, h = a recurrent layer over the words' vectors."""

    def __init__(self, words: int, layer: Any, size: int, units: int, dropout: float, cuts: tuple[int, ...]):
        super().__init__()
        self.words, self.drop = Words(words, size, cuts), dropout
        self.recurrent, self.out = layer(size, units), nn.Linear(units, size)

    def nats(self, inputs: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The sum of -ln P of (time, batch) targets, and the state."""
        x = F.dropout(F.embedding(inputs, self.words.vectors), self.drop, self.training)
        y, state = self.recurrent(x, state)
        guess = self.out(F.dropout(y, self.drop, self.training))
        guess = F.dropout(guess, self.drop / 2, self.training)
        return self.words.nats(guess.flatten(0, 1), targets.flatten()), state
