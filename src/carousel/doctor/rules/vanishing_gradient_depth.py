"""The gradient shrinks on its way from the loss to the first layers, so that these do not learn.

Compared are the gradients of the weights of the first third of the layers with those of the last, each relative to its
weights: a step of gradient descent changes a weight in proportion to that.
"""

from __future__ import annotations

from ..findings import Finding
from ..record import Record

CODE = "vanishing-gradient-depth"
EXPLAINS = ("too-deep-plain", "underfitting")

LAYERS = 4
FIRST = 20
RATIO = 1e-3
"""At the start. Initialization that keeps the variance has about 1, sigmoid loses a factor of 4 a layer; chosen."""

LASTING = 1e-2
"""At the end: a network that has found its way out is healthy."""


def findings(record: Record) -> list[Finding]:
    """Where the first layers get next to nothing, at the start and at the end."""
    layers = record.layers_in_order()
    if len(layers) < LAYERS or record.steps < FIRST:
        return []
    start = record.depth_ratio(0, FIRST)
    end = record.depth_ratio(record.steps * 3 // 4, record.steps)
    if start is None or end is None or start > RATIO or end > LASTING:
        return []
    return [
        Finding(
            CODE,
            "error",
            layers[0].name,
            f"Relative to its weights, the gradient of the first layers is {start:.1g} times that of the last one "
            f"({layers[-1].name}) in the first {FIRST} updates, and {end:.1g} times at the end.",
            "Use ReLU with He initialization, or tanh with Xavier, in place of sigmoid; normalize (nn.BatchNorm1d, "
            "nn.LayerNorm) or add skip connections.",
        )
    ]
