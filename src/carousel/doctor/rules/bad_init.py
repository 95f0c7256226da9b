"""Weights that start with all units of a layer the same: they get the same gradient and stay the same unit for ever.

Weights of zero are another matter: as the last layer, or as the end of a residual block, they are chosen on purpose,
and the layer before breaks the symmetry. Where the layers around are zero too, no gradient arrives. Weights that are
far too large let the outputs grow from layer to layer.
"""

from __future__ import annotations

from ..findings import Finding
from ..record import Record

CODE = "bad-init"
EXPLAINS = ("saturated-activations", "exploding-gradient-depth", "lr-too-high", "dead-relu", "underfitting")

UNITS = 4
LEAST = 5
"""Updates looked at."""

TIMES_HE = 3.0
"""Standard deviation of weights over sqrt(2 / inputs): the outputs of a layer are then three times its inputs."""

GROWTH = 30.0
"""Of the outputs, from the first activation to the last."""

RANDOM = (
    "Initialize with random numbers, as PyTorch does by itself: nn.init.kaiming_normal_ for ReLU, "
    "nn.init.xavier_uniform_ for tanh and sigmoid; constants are for biases."
)


def findings(record: Record) -> list[Finding]:
    """Where all units were the same at the first update, where weights of zero stay, or where weights are huge."""
    return _alike(record) or _zero(record) or _huge(record)


def _alike(record: Record) -> list[Finding]:
    alike = [layer for layer in record.layers.values() if layer.alike and layer.units >= UNITS]
    if not alike:
        return []
    return [
        Finding(
            CODE,
            "error",
            ", ".join(layer.name for layer in alike[:3]),
            f"At the first update the weights of all {alike[0].units} units of {alike[0].name} were the same: such "
            "units get the same gradient, and remain one unit.",
            RANDOM,
        )
    ]


def _zero(record: Record) -> list[Finding]:
    stuck = [
        layer
        for layer in record.layers.values()
        if layer.units >= UNITS and len(layer.sizes) >= LEAST and all(g == w == 0 for _, g, w in layer.sizes)
    ]
    if not stuck:
        return []
    return [
        Finding(
            CODE,
            "error",
            ", ".join(layer.name for layer in stuck[:3]),
            f"The weights of {stuck[0].name} began at zero, and so did the layers around it: no gradient has reached "
            f"it in {len(stuck[0].sizes)} updates looked at, and it is zero still.",
            RANDOM,
        )
    ]


def _huge(record: Record) -> list[Finding]:
    """Far above He's, and the outputs grow from layer to layer by it."""
    large = [layer for layer in record.layers.values() if layer.scale is not None and layer.scale > TIMES_HE]
    sizes = [seen.sizes[0][1] for seen in record.activations.values() if seen.sizes and seen.kind == "relu"]
    if 2 * len(large) < len(record.layers) or len(large) < 2 or len(sizes) < 2 or sizes[-1] < GROWTH * sizes[0]:
        return []
    layer = max(large, key=lambda layer: layer.scale or 0.0)
    return [
        Finding(
            CODE,
            "error",
            ", ".join(layer.name for layer in large[:3]),
            f"The weights of {layer.name} began {layer.scale:.3g} times as large as He's initialization, and those of "
            f"{len(large)} of {len(record.layers)} layers more than {TIMES_HE:g} times: before the first update the "
            f"outputs grew from {sizes[0]:.2g} to {sizes[-1]:.2g} through {len(sizes)} activations.",
            "Initialize with a standard deviation of sqrt(2 / inputs) for ReLU (nn.init.kaiming_normal_), or leave it "
            "to PyTorch.",
        )
    ]
