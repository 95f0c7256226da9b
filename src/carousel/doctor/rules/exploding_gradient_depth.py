"""The signal grows from layer to layer, and the gradient as much on its way back: the first loss is huge, no step fits.

Typical of deep sums without scaling, where each block adds as much as there is, and of weights that are too large. The
gradient of a weight is the product of the signal in front of it and the gradient behind it, and so may be the same in
all layers, and huge in all; so the growth is measured on the signal.

Behind tanh or sine the signal cannot grow, and what is too large shows on the way back alone: the first layers' weights
get gradients hundreds of times those of the last ones, and more at each layer between, and nothing is learned.

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
from .saturated_activations import at_limits

CODE = "exploding-gradient-depth"
EXPLAINS = ("bad-init", "too-deep-plain", "lr-too-high", "dead-relu", "saturated-activations", "non-finite")

LAYERS = 4
GROWTH = 1e3
"""Of the outputs, from the first activation to the last. Initialization that keeps the variance has about 1; chosen."""

DEEP, STEEP = 6, 100.0
"""Layers with weights, and the gradient of the first third of them over that of the last, relative to the weights.
Initialization that keeps the variance has about 1 where the layers are alike; chosen, far above what sizes make."""

UPDATES = 20
"""Of the start, in which this is so."""

LEARNED = 0.5
"""Of the loss at the start, or of chance: a run that comes below it was not hindered."""


def findings(record: Record) -> list[Finding]:
    """Where outputs or gradients grow by orders of magnitude through depth, at the start."""
    return _of_outputs(record) or _of_gradients(record)


def _of_outputs(record: Record) -> list[Finding]:
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


def _of_gradients(record: Record) -> list[Finding]:
    """Where the signal is bounded but not at its bounds, and nothing has been learned."""
    layers, sizes = record.layers_in_order(), record.gradients_in_order(0, UPDATES)
    begun = [value for _, value in record.course()[:10]]
    if len(layers) < DEEP or record.steps < UPDATES or not begun or at_limits(record):
        return []
    third = len(sizes) // 3
    first, between, last = median(sizes[:third]), median(sizes[third:-third]), median(sizes[-third:])
    learned = record.last_loss() < LEARNED * min(begun + record.criteria.chance())
    if not 0 < STEEP * last < first or not first > between > last or learned:
        return []
    return [
        Finding(
            CODE,
            "error",
            f"{layers[0].name} to {layers[-1].name}",
            f"Relative to the weights, the gradients of {len(layers)} layers in the first {UPDATES} updates were "
            f"{first:.2g} in the first third, {between:.2g} in the second and {last:.2g} in the last: they grow at "
            f"each layer on the way back. The loss was {begun[0]:.3g} at first and {record.last_loss():.3g} at last.",
            "Use smaller initial weights (nn.init.xavier_uniform_ with the gain of the activation, He for ReLU), "
            "normalize between the layers (nn.LayerNorm, nn.BatchNorm1d), or add skip connections.",
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
