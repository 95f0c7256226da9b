"""Skip-gram: each update is the gradient of the loss as written; what fills a piece up has no part in it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from carousel.classical.skip_gram import NOISE, OUTSIDE, PIECE, SkipGram


def loss(v: Tensor, u: Tensor, words: Tensor, band: Tensor, noise: Tensor, negative: int) -> Tensor:
    """L, pair by pair."""
    total = v.new_zeros(())
    for piece, its in zip(words, band, strict=True):
        for i, j in its.nonzero().tolist():
            total = total - F.logsigmoid(v[piece[i]] @ u[piece[j]])
            total = total - negative * F.logsigmoid(-u[noise] @ v[piece[i]]).mean()
    return total


def test_an_update_is_the_gradient() -> None:
    model = SkipGram(torch.ones(20), size=5, window=3, negative=4, seed=1)
    model.v, model.u = (torch.randn(20, 5, dtype=torch.float64, generator=model.draw) for _ in range(2))
    words = torch.randint(20, (2, 9), generator=model.draw)
    band, noise = model.band(torch.arange(18).view(2, 9) // 5).double(), model.drawn()[:7]
    v, u = model.v.clone().requires_grad_(), model.u.clone().requires_grad_()
    loss(v, u, words, band, noise, 4).backward()
    before = model.v.clone(), model.u.clone()
    model.update(words, band, noise, 1e-3)
    for old, new, leaf in zip(before, (model.v, model.u), (v, u), strict=True):
        torch.testing.assert_close((old - new) / 1e-3, leaf.grad)


def test_the_band_ends_with_window_sentence_and_text() -> None:
    model = SkipGram(torch.ones(3), size=2, window=1)
    band = model.band(torch.tensor([[0, 0, 1, 1, 1, OUTSIDE, OUTSIDE]]))[0]
    assert band.nonzero().tolist() == [[0, 1], [1, 0], [2, 3], [3, 2], [3, 4], [4, 3]]
    reach = SkipGram(torch.ones(3), size=2, window=4).band(torch.zeros(50, 9, dtype=torch.int64)).sum((1, 2))
    assert len(reach.unique()) > 1  # windows are drawn


def test_noise_follows_the_counts_to_the_power_of_three_quarters() -> None:
    model = SkipGram(torch.tensor([81.0, 16.0, 1.0]), size=2, window=1)
    drawn = torch.cat([model.drawn() for _ in range(200)])
    shares = torch.bincount(drawn, minlength=3) / len(drawn)
    expected = torch.tensor([27.0, 8.0, 1.0]) / 36
    assert len(drawn) == 200 * NOISE
    torch.testing.assert_close(shares, expected, atol=4 * (0.25 / len(drawn)) ** 0.5, rtol=0)


def test_frequent_words_are_left_out_more_often() -> None:
    model = SkipGram(torch.tensor([990.0, 9.0, 1.0]), size=2, window=1, sample=0.01)
    torch.testing.assert_close(model.kept, torch.tensor([(0.01 / 0.99) ** 0.5 + 0.01 / 0.99, 1.0, 1.0]))


def test_texts_of_any_length_are_read_to_the_end_and_stay_finite() -> None:
    for length in (1, PIECE - 1, PIECE, 3 * PIECE + 1):
        model = SkipGram(torch.ones(3), size=4, window=2, sample=1.0)
        start = model.v.clone()
        ids = torch.arange(length) % 3
        for _ in range(20):
            model.epoch(ids, torch.zeros(length, dtype=torch.int64), 0.025, 0.025)
        assert model.v.norm(dim=1).max() < 20
        assert torch.equal(model.v, start) == (length == 1)  # a word alone has no neighbors
