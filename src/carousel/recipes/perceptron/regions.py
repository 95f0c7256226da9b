"""Threshold units, put together by hand: a half-plane, a convex polygon, a region that is not convex."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["STAR", "Region", "circle", "star"]


def circle(corners: int, radius: float = 1.0, turned: float = 0.0) -> Tensor:
    """(corners, 2): a regular polygon, counterclockwise."""
    angle = 2 * math.pi * torch.arange(corners, dtype=torch.float64) / corners + math.pi / 2 + turned
    return radius * torch.stack([angle.cos(), angle.sin()], 1)


def _star() -> Tensor:
    """(10, 2): five tips and the corners between them, by turns."""
    inner = math.sin(math.pi / 10) / math.sin(3 * math.pi / 10)
    return torch.stack([circle(5), circle(5, inner, math.pi / 5)], 1).flatten(0, 1)


STAR = _star()


def star() -> list[Tensor]:
    """The star as six convex polygons: five tips and the pentagon between them."""
    tips = [STAR[[k - 1, k, k + 1]] if k < 9 else STAR[[k - 1, k, 0]] for k in range(0, 10, 2)]
    return [*tips, STAR[1::2]]


class Region:
    """Threshold units in layers: one for each edge, an "and" for each convex polygon, an "or" of all of these.

    Args:
        polygons: (corners, 2) each, convex, counterclockwise; two corners are a half-plane, left of the line.
    """

    def __init__(self, polygons: list[Tensor]):
        edges, self.owners = [], []
        for number, corners in enumerate(polygons):
            pairs = zip(corners, corners.roll(-1, 0), strict=True)
            edges += [(a, b) for a, b in pairs][: 1 if len(corners) == 2 else None]
            self.owners += [number] * (len(edges) - len(self.owners))
        start, end = (torch.stack([edge[which] for edge in edges]) for which in (0, 1))
        along = end - start
        self.weights = torch.stack([-along[:, 1], along[:, 0]], 1)  # to the left of each edge
        self.bias = -(self.weights * start).sum(1)
        self.members = torch.nn.functional.one_hot(torch.tensor(self.owners)).double()

    def __call__(self, x: Tensor) -> Tensor:
        """(points, 2) → (points,): 1 inside, 0 outside."""
        sides = (x @ self.weights.T + self.bias >= -1e-12).double()
        polygons = (sides @ self.members - self.members.sum(0) + 0.5 >= 0).double()
        return (polygons.sum(1) - 0.5 >= 0).double()

    @property
    def units(self) -> tuple[int, int, int]:
        """How many in each layer."""
        return len(self.weights), self.members.shape[1], 1
