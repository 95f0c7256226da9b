"""Maxout networks: each hidden unit is the largest of k weighted sums, so that its non-linearity is learned.

Goodfellow, Warde-Farley, Mirza, Courville & Bengio, "Maxout networks", ICML 2013; always with dropout there. Its net
for MNIST (permutation invariant) has two hidden layers of 240 units with 5 pieces each.
"""

from __future__ import annotations

__all__ = ["maxout"]


def maxout(
    input_shape: tuple[int, ...],
    outputs: int,
    hidden_size: int = 240,
    layers: int = 2,
    pieces: int = 5,
    dropout: float = 0.5,
    input_dropout: float = 0.0,
) -> str:
    """Dense layers of maxout units.

    Args:
        input_shape: of one example; it is flattened.
        outputs: number of scores.
        hidden_size: units in each hidden layer; it has `pieces` times as many weighted sums.
        layers: hidden layers.
        pieces: k.
        dropout: probability of dropping a hidden unit, while training.
        input_dropout: the same of the inputs; the paper takes 0.2.
    """
    drop = f", dropout {dropout}" if dropout else ""
    first = f"dropout {input_dropout}, " if input_dropout else ""
    return first + f"dense {hidden_size * pieces}, maxout {pieces}{drop}, " * layers + "dense"
