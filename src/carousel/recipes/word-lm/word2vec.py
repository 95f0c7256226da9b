r"""Skip-gram and CBOW with negative sampling, a piece of text at a time, by matrix products and without autograd.

With the words of a piece as rows of V (input vectors) and U (output vectors), and B the band of contexts
(B_ij = 1 where 0 < |i - j| <= b_i, the window b_i drawn from 1 … window for each word, in one sentence), both are

.. math:: L = -\sum_{ij} B_{ij} \ln σ(v_i u_j) - k \sum_{ij} B_{ij}\, E_n \ln σ(-v_i u_n) \qquad\text{(skip-gram)}

and, with the mean of a word's contexts c_i = Σ_j B_ij v_j / Σ_j B_ij,

.. math:: L = -\sum_i \ln σ(c_i u_i) - k \sum_i E_n \ln σ(-c_i u_n) \qquad\text{(CBOW)}.

The expectation over noise words n, drawn in proportion to their count to the power 3/4, is taken over `NOISE` words for
the whole update, instead of k for each pair: the same on average, and a matrix product (Ji et al. 2016).
Mikolov, Sutskever, Chen, Corrado & Dean, "Distributed representations of words and phrases", 2013.
"""

from __future__ import annotations

import torch
from torch import Tensor

PIECE, PIECES, NOISE, NEGATIVE = 64, 8, 128, 5


class Word2Vec:
    """Vectors `v` and `u` (words, size), and updates of them.

    Args:
        counts: (words,) how often each comes in the text.
        size: of a vector.
        window: words on either side, at most.
        skip_gram: or CBOW.
        sample: a word of a share f of the text is kept with probability sqrt(sample/f) + sample/f.
        seed: of all draws.
    """

    def __init__(self, counts: Tensor, *, size: int, window: int, skip_gram: bool, sample: float = 1e-3, seed: int = 0):
        self.draw = torch.Generator().manual_seed(seed)
        self.window, self.skip_gram = window, skip_gram
        self.v = (torch.rand(len(counts), size, generator=self.draw) - 0.5) / size
        self.u = torch.zeros(len(counts), size)
        ratio = sample / (counts / counts.sum()).clamp_min(1e-12)
        self.kept = (ratio.sqrt() + ratio).clamp_max(1)
        self.noise = counts.double().pow(0.75).cumsum(0)

    def epoch(self, ids: Tensor, sentences: Tensor, first: float, last: float) -> None:
        """Once over the words (n,) with the numbers of their sentences; the rate goes from `first` to `last`."""
        kept = torch.rand(len(ids), generator=self.draw) < self.kept[ids]
        ids, sentences = ids[kept], sentences[kept]
        step = PIECE * PIECES
        updates = len(ids) // step
        words, where = (x[: updates * step].view(updates, PIECES, PIECE) for x in (ids, sentences))
        for number in torch.randperm(updates, generator=self.draw).tolist():
            rate = first + (last - first) * number / updates
            self.update(words[number], self.band(where[number]), self.drawn(), rate)

    def band(self, sentences: Tensor) -> Tensor:
        """B (pieces, n, n) of pieces with these sentence numbers (pieces, n)."""
        pieces, n = sentences.shape
        reach = torch.randint(1, self.window + 1, (pieces, n, 1), generator=self.draw)
        away = (torch.arange(n)[:, None] - torch.arange(n)).abs()
        return ((away > 0) & (away <= reach) & (sentences[:, :, None] == sentences[:, None, :])).float()

    def drawn(self) -> Tensor:
        """`NOISE` noise words."""
        places = torch.rand(NOISE, dtype=torch.float64, generator=self.draw) * self.noise[-1]
        return torch.searchsorted(self.noise, places)

    def update(self, words: Tensor, band: Tensor, noise: Tensor, rate: float) -> None:
        """A step of gradient descent on L of these pieces (pieces, n)."""
        v, u, far = self.v[words], self.u[words], self.u[noise]
        pairs = band.sum(-1, keepdim=True)
        if self.skip_gram:
            near = torch.sigmoid(v @ u.mT).sub_(1).mul_(band)
            wrong = torch.sigmoid(v @ far.T).mul_(pairs * (NEGATIVE / NOISE))
            dv, du = near @ u + wrong @ far, near.mT @ v
            seen = v
        else:
            band = band / pairs.clamp_min(1)
            seen = band @ v
            there = (pairs > 0).float()
            near = torch.sigmoid((seen * u).sum(-1, keepdim=True)).sub_(1).mul_(there)
            wrong = torch.sigmoid(seen @ far.T).mul_(there * (NEGATIVE / NOISE))
            dv, du = band.mT @ (near * u + wrong @ far), near * seen
        flat = words.flatten()
        self.v.index_add_(0, flat, dv.flatten(0, 1), alpha=-rate)
        self.u.index_add_(0, flat, du.flatten(0, 1), alpha=-rate)
        self.u.index_add_(0, noise, wrong.flatten(0, 1).T @ seen.flatten(0, 1), alpha=-rate)


def loss(v: Tensor, u: Tensor, words: Tensor, band: Tensor, noise: Tensor, *, skip_gram: bool) -> Tensor:
    """L as it is written above, for autograd to check the steps with."""
    ln = torch.nn.functional.logsigmoid
    pairs = band.sum(-1, keepdim=True)
    seen = v[words] if skip_gram else band @ v[words] / pairs.clamp_min(1)
    far = ln(-seen @ u[noise].T).mean(-1, keepdim=True)
    if skip_gram:
        return -(band * ln(seen @ u[words].mT)).sum() - NEGATIVE * (pairs * far).sum()
    return -((pairs > 0) * (ln((seen * u[words]).sum(-1, keepdim=True)) + NEGATIVE * far)).sum()
