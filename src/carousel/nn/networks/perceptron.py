"""The oldest networks: a layer of weighted sums, and one hidden layer of threshold units before it.

Rosenblatt, "The perceptron: a probabilistic model for information storage and organization in the brain", 1958. Its own
learning rule needs no gradient; here the same function is trained by one.
"""

from __future__ import annotations

__all__ = ["perceptron", "threshold"]


def perceptron(input_shape: tuple[int, ...], outputs: int) -> str:
    """A score w·x + b for each output; the answer is the largest, or for one output whether it is positive."""
    return "dense"


def threshold(input_shape: tuple[int, ...], outputs: int, hidden_size: int = 64, layers: int = 1) -> str:
    """Hidden units that say whether x lies on one side of a plane; trained with the straight-through estimator.

    Args:
        input_shape: of one example.
        outputs: number of scores.
        hidden_size: units in each hidden layer.
        layers: hidden layers.
    """
    return f"dense {hidden_size}, threshold, " * layers + "dense"
