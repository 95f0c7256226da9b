"""What tells hits from decoys: a position weight matrix of each sample, and an LSTM that is told it; the data."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import carousel

ACIDS = "ACDEFGHIKLMNPQRSTVWY"
SHARE, DRAW = 0.1, 2026


class Matrices:
    r"""A position weight matrix for each sample: :math:`w_s(t, a) = \log p_s(a \mid t) - \log q(a \mid t)`.

    p is counted on the hits of the sample and drawn towards r, as if `pseudocount` hits more were spread as r is.

    Args:
        x: (places, peptides) amino acids.
        sample: (peptides,).
        hit: (peptides,) whether it is one.
        samples: how many there are.
        plain: q and r are the amino acids of all peptides, at all places alike; else q are those of the decoys and r
            those of the hits of all samples, at each place.
        pseudocount: 1, or 64 if not plain, if not given; the latter chosen on the dev part.
    """

    def __init__(
        self, x: Tensor, sample: Tensor, hit: Tensor, samples: int, *, plain: bool = False, pseudocount: float = 0.0
    ):
        shares = F.one_hot(x, len(ACIDS)).double()  # (places, peptides, acids)
        self.pseudocount = pseudocount or (1.0 if plain else 64.0)
        self.q = shares.mean((0, 1)).expand(len(x), -1) if plain else shares[:, ~hit].mean(1)
        self.r = self.q if plain else shares[:, hit].mean(1)
        self.hits = torch.bincount(sample[hit], minlength=samples).double()
        self.counts = torch.zeros(samples, *self.q.shape, dtype=torch.float64)
        self.counts.index_add_(0, sample[hit], shares[:, hit].transpose(0, 1))

    def weights(self, x: Tensor, sample: Tensor, own: Tensor | None = None) -> Tensor:
        """(places, peptides) w of the amino acids; `own` are those peptides that were counted and shall not count."""
        less = torch.zeros(len(sample)) if own is None else own.double()
        places = torch.arange(len(x)).unsqueeze(1)
        counts = self.counts[sample, places, x] - less + self.pseudocount * self.r[places, x]
        return (counts / (self.hits[sample] - less + self.pseudocount) / self.q[places, x]).log().float()


class Peptides(nn.Module):
    r"""P(hit | x, s) = σ((v + U e_s) · [h→_9; h←_1] + b_s + Σ_t k_t w_s(t, x_t)).

    h are the states of an LSTM over [E x_t; w_s(t, x_t)]. The sample has a vector e_s, by which it weighs what the LSTM
    found. Without matrices w is left out.

    Args:
        samples: how many there are.
        units: of each direction.
        told: whether it is given the matrices' weights.
        rank: size of a sample's vector.
        masked: probability that an amino acid's vector is hidden, while training.
        dropout: of the last states, while training.
    """

    def __init__(
        self, samples: int, units: int, *, told: bool, rank: int = 24, masked: float = 0.1, dropout: float = 0.5
    ):
        super().__init__()
        self.masked, self.dropout, self.told = masked, dropout, told
        self.acids, self.samples = nn.Embedding(len(ACIDS), 24), nn.Embedding(samples, rank)
        self.recurrent = carousel.nn.LSTM(24 + told, units, bidirectional=True)
        self.score, self.own = nn.Linear(2 * units, 1), nn.Linear(rank, 2 * units, bias=False)
        self.bias, self.places = nn.Embedding(samples, 1), nn.Parameter(torch.full((9,), 0.3))
        nn.init.normal_(self.samples.weight, 0, 0.3)
        nn.init.zeros_(self.bias.weight)

    def forward(self, x: Tensor, sample: Tensor, weights: Tensor) -> Tensor:
        """(peptides,) scores of `x` (9, peptides) of `sample` (peptides,), with `weights` (9, peptides)."""
        given = self.acids(x)
        if self.training:
            given = given * (torch.rand(x.shape) >= self.masked).unsqueeze(2)
        if self.told:
            given = torch.cat([given, weights.unsqueeze(2)], 2)
        y, _ = self.recurrent(given)
        last = torch.cat([y[-1].chunk(2, 1)[0], y[0].chunk(2, 1)[1]], 1)
        last = F.dropout(last, self.dropout, self.training)
        found = self.score(last) + (self.own(self.samples(sample)) * last).sum(1, keepdim=True) + self.bias(sample)
        return found.squeeze(1) + (self.places @ weights if self.told else 0)


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


class Part(NamedTuple):
    """Peptides (9, peptides), sample of each, whether it is a hit; w of its amino acids (9, peptides)."""

    x: Tensor
    sample: Tensor
    hit: Tensor
    weights: Tensor


def read(file: Path, most: int | None = None) -> tuple[dict[str, Part], list[str]]:
    """The parts, equal peptides in the same one; and the samples; all of the first `most` rows."""
    with file.open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))[:most]
    samples, draw = sorted({row["sample_id"] for row in rows}), random.Random(DRAW)
    place = {name: number for number, name in enumerate(samples)}
    where = {peptide: draw.random() for peptide in sorted({row["peptide"] for row in rows})}
    found: dict[str, Part] = {}
    matrices = None
    for part, low, high in (("train", 2 * SHARE, 1.0), ("dev", SHARE, 2 * SHARE), ("test", 0.0, SHARE)):
        its = [row for row in rows if low <= where[row["peptide"]] < high]
        x = torch.tensor([[ACIDS.index(acid) for acid in row["peptide"]] for row in its]).T.contiguous()
        sample, hit = torch.tensor([place[r["sample_id"]] for r in its]), torch.tensor([r["hit"] == "1" for r in its])
        own = None
        if matrices is None:  # the training part comes first
            matrices, own = Matrices(x, sample, hit, len(samples)), hit
        found[part] = Part(x, sample, hit, matrices.weights(x, sample, own))
    return found, samples
