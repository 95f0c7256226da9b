"""The signal grows from layer to layer, and the gradient as much on its way back: the first loss is huge, no step fits.

Typical of deep sums without scaling, where each block adds as much as there is, and of weights that are too large. The
gradient of a weight is the product of the signal in front of it and the gradient behind it, and so may be the same in
all layers, and huge in all; so the growth is measured on the signal.

The steps of a recurrent network written by hand are no layers: they use the same weights. The activations in them are
as many as the steps, in one module or outside of all.
"""

from __future__ import annotations

import math
from collections import Counter
from statistics import median

from ..findings import Finding
from ..record import MOST_CALLS, Record
from ..seen import ActivationSeen
from ..through_time import rounds

CODE = "exploding-gradient-depth"
EXPLAINS = ("bad-init", "too-deep-plain", "lr-too-high", "dead-relu", "saturated-activations", "non-finite")

LAYERS = 4
GROWTH = 1e3
"""Of the outputs, from the first activation to the last. Initialization that keeps the variance has about 1; chosen."""


def findings(record: Record) -> list[Finding]:
    """Where the outputs grow by orders of magnitude through depth, at the start."""
    sizes = [(seen, median(early)) for seen in _of_layers(record) if (early := _early(seen))]
    if len(sizes) < LAYERS or sizes[0][1] == 0 or sizes[-1][1] < GROWTH * sizes[0][1]:
        return []
    (first, small), (last, large) = sizes[0], sizes[-1]
    loss = f" The first loss was {record.losses[0][1]:.3g}." if record.losses else ""
    return [
        Finding(
            CODE,
            "error",
            record.place_of(last),
            f"Before the first update the outputs grew from {small:.2g} ({record.place_of(first)}) to {large:.2g} "
            f"({record.place_of(last)}) through {len(sizes)} activations, and gradients grow as much on the way back."
            f"{loss}",
            "Scale what each block adds (x + 0.1 * f(x), or start its last weights at zero), normalize in the blocks "
            "(nn.LayerNorm, nn.BatchNorm1d), and initialize with He or Xavier.",
        )
    ]


def _of_layers(record: Record) -> list[ActivationSeen]:
    """The activations, without those of the steps of a recurrence."""
    steps = max(map(rounds, record.lab.tapes[:1]), default=0) if record.lab is not None else 0
    calls = Counter((number, kind) for number, kind, _ in record.activations)
    return [
        seen
        for (number, kind, _), seen in record.activations.items()
        if not 0 < min(steps, MOST_CALLS) <= calls[number, kind]
    ]


def _early(seen: ActivationSeen) -> list[float]:
    return [size for step, size in seen.sizes if step == 0 and math.isfinite(size)]
