"""What a record holds of one module, parameter, activation or optimizer."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = [
    "ActivationSeen",
    "DropoutSeen",
    "LayerGradient",
    "ModuleSeen",
    "ParameterSeen",
    "Updates",
    "see_all",
]


@dataclass
class ModuleSeen:
    """A module that was called. What the rules ask is noted while it lives: at the end of a script it may be gone.

    Attributes:
        reference: the module, as long as the script keeps it.
        kind: the name of its class.
        number: how many modules were called before it.
        name: its path from the outermost module.
        noisy: "dropout" or "batch norm", if it is one that does something, or calls a function that does.
        learning, evaluating: how often it was called with gradients wanted, and without.
        learning_in_eval: of `learning`, in evaluation mode.
        evaluating_in_training: of `evaluating`, in training mode.
        repeated: of `evaluating`, on the same tensor as the call before, with no update between.
        outermost: no other module was being called when it was first called.
        trainable: it has no parameters that want no gradient.
        bare: neither it nor a module inside it has parameters, as a loss.
        last_in_training: updates before its last call with gradients in training mode, -1 without one.
        own: it is one of PyTorch's.
    """

    reference: weakref.ref[nn.Module]
    kind: str
    number: int
    name: str
    noisy: str | None
    learning: int = 0
    evaluating: int = 0
    learning_in_eval: int = 0
    evaluating_in_training: int = 0
    repeated: int = 0
    outermost: bool = False
    trainable: bool = True
    bare: bool = False
    last_in_training: int = -1
    own: bool = False


@dataclass
class DropoutSeen:
    """Dropout at one place that no mode of a module turns off.

    Attributes:
        kind: the function, "made" if it is a layer made in the call.
        module: in which it is called.
        line: of the script.
        evaluating: how often it has dropped without gradients wanted, or with its module in evaluation mode.
    """

    kind: str
    module: ModuleSeen
    line: str | None
    evaluating: int = 0


@dataclass
class ParameterSeen:
    """A parameter that a called module has.

    Attributes:
        name: its path from the outermost module.
        owner: the class of that module.
        shape: its shape.
        wanted: whether it required a gradient, at the last look.
        gradients: before how many of the looked-into updates it had one.
        pushed: one of these gradients was not zero everywhere.
        held: an optimizer has it.
        called: its module was called to learn.
        loaded: it was given values that were kept, before the first look.
    """

    name: str
    owner: str
    shape: tuple[int, ...]
    wanted: bool
    called: bool = False
    gradients: int = 0
    pushed: bool = False
    held: bool = False
    loaded: bool = False


Histogram = tuple[int, float, float, list[int]]
BINS = 40
VALUES = 20_000
"""Of an output, that a histogram counts."""

EDGE = 0.9**0.5
"""Where the derivative of tanh, 1 - y², is a tenth of its greatest; for the sigmoid the same of 2 y - 1."""

LIMITED = ("sigmoid", "tanh")
"""Activations between two limits."""

MOST_VALUES, LEAST_ROWS = 2**18, 8
"""Of a large output every so many rows are looked at, so that there are no more numbers; but so many rows at least."""


def _histogram(step: int, rows: Tensor) -> Histogram | None:
    values = rows.flatten()
    values = values[:: max(1, len(values) // VALUES)].float()
    low, high = (float(v) for v in values.aminmax()) if len(values) else (0.0, math.nan)
    if not math.isfinite(high - low):
        values = values[values.isfinite()]
        if not len(values):
            return None
        low, high = float(values.min()), float(values.max())
    return step, low, high, [int(n) for n in torch.histc(values, BINS, low, high).tolist()]


@dataclass
class ActivationSeen:
    """One activation function at one place of the network.

    Attributes:
        kind: "relu", "sigmoid" or "tanh"; of others, as "elu" or "gelu", only sizes and histograms are kept.
        module: the module in which it is called, None outside of all.
        ordinal: which of the calls in it.
        alive: (step, samples, units that were not zero on all of them); neighbors are joined when there are many.
        sizes: (step, root mean square of the outputs).
        limits: (step, share of the outputs near a limit of the function, where its derivative is below a tenth of its
            greatest).
        first, last: (step, bounds, counts of the values between them in equal bins) of the first and of a late output.
        idle: of the same output, the share of samples for which each unit has next to no derivative.
        last_at: its step.
    """

    kind: str
    module: ModuleSeen | None
    ordinal: int
    alive: list[tuple[int, int, Tensor]] = field(default_factory=list)
    sizes: list[tuple[int, float]] = field(default_factory=list)
    limits: list[tuple[int, float]] = field(default_factory=list)
    first: Histogram | None = None
    last: Histogram | None = None
    idle: Tensor | None = None
    last_at: int = 0

    def see(self, step: int, output: Tensor) -> None:
        """Add one output."""
        every = min(len(output) // LEAST_ROWS, output.numel() // MOST_VALUES)
        see_all(step, [(self, output[::every] if every > 1 else output)])

    def _add(self, step: int, output: Tensor, size: float, living: Tensor | None) -> None:
        """An output: the root of its mean square; of its units, how many values were not zero, or not near a limit."""
        values, units = max(1, output.numel()), 1 if living is None else max(1, len(living))
        self.sizes.append((step, size))
        if living is not None and self.kind == "relu":
            self._live(step, values // units, living > 0)
        elif living is not None:
            self.limits.append((step, 1 - int(living.sum()) / values))
        if self.first is None or step >= 1.2 * self.last_at:
            self.last, self.last_at = _histogram(step, output), step
            self.idle = None if living is None else 1 - living * units / values
            self.first = self.first or self.last

    def _live(self, step: int, count: int, mask: Tensor) -> None:
        if self.alive and len(self.alive[-1][2]) != len(mask):
            return
        self.alive.append((step, count, mask))
        if len(self.alive) > 64:
            joined = [(b[0], a[1] + b[1], a[2] | b[2]) for a, b in pairwise(self.alive)][::2]
            self.alive = joined if len(self.alive) % 2 == 0 else [*joined, self.alive[-1]]


def see_all(step: int, of: list[tuple[ActivationSeen, Tensor]]) -> None:
    """Add outputs of one kind and of the same sizes: in one go, for many are small."""
    outputs, kind = torch.stack([output for _, output in of]), of[0][0].kind
    unit = 2 if outputs.ndim in (3, 5, 6) else outputs.ndim - 1
    others, all_of = [d for d in range(1, outputs.ndim) if d != unit], list(range(1, outputs.ndim))
    wide, values = torch.promote_types(outputs.dtype, torch.float32), max(1, outputs[0].numel())
    sizes = torch.linalg.vector_norm(outputs, dim=all_of, dtype=wide).tolist()
    living: list[Tensor | None] = [None] * len(of)
    if kind == "relu":
        living = list(torch.count_nonzero(outputs, others).cpu())
    elif kind in LIMITED:
        far = (outputs if kind == "tanh" else 2 * outputs - 1).abs() <= EDGE
        living = list(far.sum(others).cpu())
    for (seen, output), size, alive in zip(of, sizes, living, strict=True):
        seen._add(step, output, size / values**0.5, alive)


@dataclass
class LayerGradient:
    """The weight of a layer, in the order in which layers are called.

    Attributes:
        name: its path.
        owner: the class of the outermost module.
        order: the number of its module.
        units: rows of the weight.
        alike: at the first update all rows were the same, and not zero.
        scale: its root mean square at the first update over sqrt(2 / inputs), if seen.
        sizes: (step, root mean square of its gradient, of itself).
        changes: (step, length of the update over that of the weight).
    """

    name: str
    owner: str
    order: int
    units: int
    alike: bool
    scale: float | None
    sizes: list[tuple[int, float, float]] = field(default_factory=list)
    changes: list[tuple[int, float]] = field(default_factory=list)


@dataclass
class Updates:
    """Of one optimizer.

    Attributes:
        kind: its class.
        held: its parameters.
        fresh: updates whose gradients were made from nothing.
        carried: updates whose gradients were added to those that the update before had used.
        used: its gradients have been used, and are still there.
        line: of the script, that makes the first update.
        pushed: some of its parameters had a gradient, at some look.
        backwards: passes of the run before its last update.
    """

    kind: str
    held: list[Tensor] = field(default_factory=list)
    fresh: int = 0
    carried: int = 0
    used: bool = False
    line: str | None = None
    pushed: bool = False
    backwards: int = 0
