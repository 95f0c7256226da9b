"""What tells hits from decoys: an LSTM that knows the sample, and a position weight matrix of each sample."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import carousel

ACIDS = "ACDEFGHIKLMNPQRSTVWY"
PSEUDOCOUNT = 1.0


class Peptides(nn.Module):
    r"""P(hit | x, s) = σ(w · [h→_9; h←_1] + b_s), both h of an LSTM over [E x_t; S s] at each of the nine places.

    Args:
        samples: how many there are.
        units: of each direction.
        acid: size of an amino acid's vector.
        sample: size of a sample's vector.
        dropout: of the input and of the last states, while training.
    """

    def __init__(self, samples: int, units: int, acid: int = 24, sample: int = 48, dropout: float = 0.3):
        super().__init__()
        self.acids, self.samples = nn.Embedding(len(ACIDS), acid), nn.Embedding(samples, sample)
        self.recurrent = carousel.nn.LSTM(acid + sample, units, bidirectional=True)
        self.score, self.bias = nn.Linear(2 * units, 1), nn.Embedding(samples, 1)
        self.dropout = dropout
        nn.init.zeros_(self.bias.weight)

    def forward(self, x: Tensor, sample: Tensor) -> Tensor:
        """(peptides,) scores of `x` (places, peptides) of `sample` (peptides,)."""
        given = torch.cat([self.acids(x), self.samples(sample).expand(len(x), -1, -1)], 2)
        y, _ = self.recurrent(F.dropout(given, self.dropout, self.training))
        forward, backward = y[-1].chunk(2, 1)[0], y[0].chunk(2, 1)[1]
        last = F.dropout(torch.cat([forward, backward], 1), self.dropout, self.training)
        return (self.score(last) + self.bias(sample)).squeeze(1)


def weight_matrices(x: Tensor, sample: Tensor, hit: Tensor, samples: int) -> Tensor:
    r"""(samples, places, acids) :math:`\log p_s(a \mid place) - \log q(a)`, counted on the hits of each sample.

    The counts have a pseudocount spread as the background q, the amino acids of all peptides.
    """
    background = torch.bincount(x.flatten(), minlength=len(ACIDS)).double()
    background /= background.sum()
    chosen = F.one_hot(x[:, hit], len(ACIDS)).double()  # (places, hits, acids)
    counts = torch.zeros(samples, len(x), len(ACIDS), dtype=torch.float64)
    counts.index_add_(0, sample[hit], chosen.transpose(0, 1))
    counts += PSEUDOCOUNT * background
    return (counts / counts.sum(2, keepdim=True)).log() - background.log()


def by_matrix(matrices: Tensor, x: Tensor, sample: Tensor) -> Tensor:
    """(peptides,) the sum of their amino acids' weights."""
    places = torch.arange(len(x)).unsqueeze(1)
    return matrices[sample, places, x].sum(0)


def auc(scores: Tensor, hit: Tensor) -> float:
    """Area under the ROC curve: the share of pairs of a hit and a decoy in the right order, equal ones half."""
    _, place, count = scores.double().unique(return_inverse=True, return_counts=True)
    rank = (count.cumsum(0) - (count - 1) / 2)[place]  # the mean rank of equal scores, from 1
    hits = int(hit.sum())
    return float((rank[hit].sum() - hits * (hits + 1) / 2) / (hits * (len(hit) - hits)))


def roc(scores: Tensor, hit: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of decoys and of hits that are let through, for every threshold."""
    order = hit[scores.argsort(descending=True)].double()
    return (1 - order).cumsum(0) / (1 - order).sum(), order.cumsum(0) / order.sum()


def batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """The numbers below `count` in a new order, `size` at a time; what does not fill a batch is left out."""
    yield from torch.randperm(count, generator=generator)[: count // size * size].view(-1, size)
