"""Weights that start with all units of a layer the same: they get the same gradient and stay the same unit for ever.

Weights of zero are another matter: as the last layer, or as the end of a residual block, they are chosen on purpose,
and the layer before breaks the symmetry.
"""

from __future__ import annotations

from ..findings import Finding
from ..record import Record

CODE = "bad-init"
EXPLAINS = ("saturated-activations", "underfitting")

UNITS = 4


def findings(record: Record) -> list[Finding]:
    """Where the rows of a weight were equal at the first update."""
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
            "Initialize with random numbers, as PyTorch does by itself: nn.init.kaiming_normal_ for ReLU, "
            "nn.init.xavier_uniform_ for tanh and sigmoid; constants are for biases.",
        )
    ]
