"""The radial basis function network: Gaussian bumps at learned centers, and a weighted sum of them.

Broomhead & Lowe, "Multivariable functional interpolation and adaptive networks", Complex Systems 2 (1988); Moody &
Darken, Neural Computation 1 (1989). Known to be missing: centers by k-means; `Gaussians.place` draws them from the
data.
"""

from __future__ import annotations

__all__ = ["rbf"]


def rbf(input_shape: tuple[int, ...], outputs: int, hidden_size: int = 64) -> str:
    """One hidden layer of Gaussians; before training put them on examples: `network.rbf1.place(x)`.

    Args:
        input_shape: of one example; it is flattened.
        outputs: number of scores.
        hidden_size: how many Gaussians.
    """
    return f"rbf {hidden_size}, dense"
