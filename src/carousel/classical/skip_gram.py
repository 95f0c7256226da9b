r"""Skip-gram word vectors with negative sampling, a piece of text at a time, by matrix products and without autograd.

With the words of a piece as rows of V (input vectors) and U (output vectors), and B the band of contexts
(B_ij = 1 where 0 < |i - j| <= b_i, the window b_i drawn from 1 … window for each word, in one sentence),

.. math:: L = -\sum_{ij} B_{ij} \ln σ(v_i u_j) - k \sum_{ij} B_{ij}\, E_n \ln σ(-v_i u_n).

The expectation over noise words n, drawn in proportion to their count to the power 3/4, is taken over `NOISE` words for
the whole update, instead of k for each pair: the same on average, and a matrix product (Ji, Satish, Li & Dubey,
"Parallelizing word2vec in shared and distributed memory", 2016). At the borders of pieces contexts are lost.
Mikolov, Sutskever, Chen, Corrado & Dean, "Distributed representations of words and phrases", 2013.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["NOISE", "PIECE", "PIECES", "SkipGram"]

PIECE, PIECES = 64, 8
"""Words of a piece, and pieces of an update, at most."""
NOISE = 128
"""Noise words of an update."""
FARTHEST = 1.0
"""An update's longest step of a vector. Without it a text of few different words, which come many times in an update,
makes the vectors grow without bounds; in a usual text steps are far shorter."""
OUTSIDE = -1
"""The sentence of what is no word but fills a piece."""


class SkipGram:
    r"""Vectors `v` and `u` (words, size), and gradient descent on L.

    .. math:: \frac{∂L}{∂v_i} = \sum_j B_{ij} (σ(v_i u_j) - 1) u_j + k \sum_j B_{ij}\, E_n σ(v_i u_n) u_n

    and so for u. v starts uniform on ±1/(2 size), u at zero.

    Args:
        counts: (words,) how often each comes in the text.
        size: numbers of a vector.
        window: words on either side, at most.
        negative: noise words for each pair, k.
        sample: a word that makes up a share f of the text is kept with probability √(sample/f) + sample/f.
        seed: of all draws.

    Example:
        >>> model = SkipGram(torch.tensor([3.0, 2.0, 1.0]), size=4, window=2)
        >>> model.epoch(torch.tensor([0, 1, 0, 1, 2, 0]), torch.tensor([0, 0, 0, 1, 1, 1]), 0.025, 0.01)
        >>> model.v.shape
        torch.Size([3, 4])
    """

    def __init__(
        self, counts: Tensor, *, size: int, window: int, negative: int = 5, sample: float = 1e-3, seed: int = 0
    ):
        self.draw = torch.Generator().manual_seed(seed)
        self.window, self.negative = window, negative
        self.v = (torch.rand(len(counts), size, generator=self.draw) - 0.5) / size
        self.u = torch.zeros(len(counts), size)
        ratio = sample / (counts / counts.sum()).clamp_min(1e-12)
        self.kept = (ratio.sqrt() + ratio).clamp_max(1)
        self.noise = counts.double().pow(0.75).cumsum(0)
        self.pieces = max(1, min(PIECES, len(counts) // PIECE))  # few words would come too often in one update

    def epoch(self, ids: Tensor, sentences: Tensor, first: float, last: float) -> None:
        """Once over the words (n,) with the numbers of their sentences; the rate goes from `first` to `last`."""
        kept = torch.rand(len(ids), generator=self.draw) < self.kept[ids]
        short = -int(kept.sum()) % PIECE
        words = torch.cat([ids[kept], ids.new_zeros(short)]).view(-1, PIECE)
        where = torch.cat([sentences[kept], sentences.new_full((short,), OUTSIDE)]).view(-1, PIECE)
        updates = list(zip(words.split(self.pieces), where.split(self.pieces), strict=True))
        for done, number in enumerate(torch.randperm(len(updates), generator=self.draw).tolist()):
            some, its = updates[number]
            self.update(some, self.band(its), self.drawn(), first + (last - first) * done / len(updates))

    def band(self, sentences: Tensor) -> Tensor:
        """B (pieces, n, n) of pieces with these sentence numbers (pieces, n)."""
        pieces, n = sentences.shape
        reach = torch.randint(1, self.window + 1, (pieces, n, 1), generator=self.draw)
        away = (torch.arange(n)[:, None] - torch.arange(n)).abs()
        together = (sentences[:, :, None] == sentences[:, None, :]) & (sentences != OUTSIDE)[:, :, None]
        return ((away > 0) & (away <= reach) & together).float()

    def drawn(self) -> Tensor:
        """`NOISE` noise words."""
        places = torch.rand(NOISE, dtype=torch.float64, generator=self.draw) * self.noise[-1]
        return torch.searchsorted(self.noise, places).clamp_max(len(self.noise) - 1)

    def update(self, words: Tensor, band: Tensor, noise: Tensor, rate: float) -> None:
        """A step of gradient descent on L of these pieces (pieces, n)."""
        v, u, far = self.v[words], self.u[words], self.u[noise]
        near = torch.sigmoid(v @ u.mT).sub_(1).mul_(band)
        wrong = torch.sigmoid(v @ far.T).mul_(band.sum(-1, keepdim=True) * (self.negative / len(noise)))
        dv, du = near @ u + wrong @ far, near.mT @ v
        flat, dfar = words.flatten(), wrong.flatten(0, 1).T @ v.flatten(0, 1)
        _descend(self.v, flat, rate * dv.flatten(0, 1))
        _descend(self.u, torch.cat([flat, noise]), rate * torch.cat([du.flatten(0, 1), dfar]))


def _descend(table: Tensor, rows: Tensor, steps: Tensor) -> None:
    """Subtract the steps (n, size) from these rows; no row moves by more than `FARTHEST`."""
    which, place = rows.unique(return_inverse=True)
    sums = steps.new_zeros(len(which), steps.shape[1]).index_add_(0, place, steps)
    table.index_add_(0, which, sums * (FARTHEST / sums.norm(dim=1, keepdim=True).clamp_min(FARTHEST)), alpha=-1)
