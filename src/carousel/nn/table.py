"""Numbers and categories of a row, side by side, for a network of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .networks import network

__all__ = ["TableNetwork"]

WIDEST = 50
"""Numbers, at most, of the learned vector of a category."""


class TableNetwork(nn.Module):
    r"""f(x) = Layers([x, E_1[c_1], …, E_k[c_k]]): each category c_i is a learned vector (Guo & Berkhahn 2016).

    Args:
        numbers: numeric inputs of a row.
        sizes: of each category how many values it has; its vector has (values + 1) // 2 numbers, at most 50.
        layers: a network's name or a line of layers, see `carousel.nn.network`.
        outputs: numbers that come out.
        options: of a named network.

    Example:
        >>> network = TableNetwork(3, [4], "dense 8, relu, dense", 2)
        >>> network(torch.zeros(5, 3), torch.zeros(5, 1, dtype=torch.int64)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self, numbers: int, sizes: Sequence[int], layers: str, outputs: int, options: Mapping[str, Any] | None = None
    ):
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(size, min((size + 1) // 2, WIDEST)) for size in sizes)
        width = numbers + sum(embedding.embedding_dim for embedding in self.embeddings)  # pyright: ignore
        self.width = width
        self.layers = network(layers, (width,), outputs, **(options or {}))

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """(batch, outputs) for (batch, numbers) and (batch, categories)."""
        vectors = [embedding(categories[:, place]) for place, embedding in enumerate(self.embeddings)]
        return self.layers(torch.cat([numbers, *vectors], 1))
