"""Batches of independent examples: every one once an epoch, in an order that depends on nothing that is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from carousel.errors import UsageError
from carousel.training import ExampleFeed


class Numbers:
    """Example i is the number i, its loss is weight · i, its weight 1 or 3."""

    def __init__(self, count: int):
        self.values = torch.arange(count, dtype=torch.float64)
        self.of = torch.where(self.values % 2 == 0, 1.0, 3.0)

    def __len__(self) -> int:
        return len(self.values)

    def units(self, chosen: np.ndarray) -> int:
        return len(chosen)

    def weights(self, chosen: np.ndarray) -> float:
        return float(self.of[chosen].sum())

    def loss(self, network: Callable[..., Any], chosen: np.ndarray, device: torch.device) -> torch.Tensor:
        return (self.of[chosen] * network(self.values[chosen])).sum() / self.weights(chosen)


CPU = torch.device("cpu")


@pytest.mark.parametrize("bucketed", [True, False])
def test_every_example_once_an_epoch(bucketed: bool) -> None:
    lengths = np.random.default_rng(0).integers(1, 50, 103) if bucketed else None
    feed = ExampleFeed(Numbers(103), 10, seed=1, unit="thing", lengths=lengths)
    assert (feed.length, feed.about) == (10, "10 things")
    orders = [feed.order(epoch) for epoch in range(3)]
    for order in orders:
        assert order.shape == (10, 10)
        assert len(np.unique(order)) == 100
    assert not np.array_equal(orders[0], orders[1])
    again = ExampleFeed(Numbers(103), 10, seed=1, unit="thing", lengths=lengths)
    assert np.array_equal(again.order(2), orders[2])  # without the epochs before
    assert not np.array_equal(ExampleFeed(Numbers(103), 10, seed=2, unit="", lengths=lengths).order(0), orders[0])


def test_examples_of_a_batch_have_similar_lengths() -> None:
    lengths = np.random.default_rng(0).integers(1, 1000, 4000)
    feed = ExampleFeed(Numbers(4000), 16, seed=0, unit="thing", lengths=lengths)
    spread = np.ptp(lengths[feed.order(0)], axis=1)
    assert np.median(spread) < 40  # 800 sorted into 50 batches: about 20 each; unsorted it would be near 900
    assert abs(np.corrcoef(lengths[feed.order(0)].mean(1), np.arange(feed.length))[0, 1]) < 0.2


def test_shares_of_processes_add_up() -> None:
    whole = ExampleFeed(Numbers(50), 8, seed=3, unit="thing")
    shares = [ExampleFeed(Numbers(50), 8, seed=3, unit="thing", part=part, parts=4) for part in range(4)]
    for number in (0, 5, 6, 20):
        expected, count = whole.loss(lambda x: x**2, number, CPU)
        found = [share.loss(lambda x: x**2, number, CPU) for share in shares]
        torch.testing.assert_close(torch.stack([loss for loss, _ in found]).mean(), expected)
        assert sum(units for _, units in found) == count == 8


def test_few_examples_and_odd_shares() -> None:
    assert ExampleFeed(Numbers(3), 8, seed=0, unit="thing").order(0).shape == (1, 3)
    with pytest.raises(UsageError, match="--batch 9 can't be shared evenly by 2 processes"):
        ExampleFeed(Numbers(50), 9, seed=0, unit="thing", parts=2)
