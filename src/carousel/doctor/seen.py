"""What a record holds of one module, parameter, activation, loss or optimizer."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = [
    "ActivationSeen",
    "Labels",
    "LayerGradient",
    "LossCalls",
    "ModuleSeen",
    "NonFinite",
    "ParameterSeen",
    "Updates",
]


@dataclass
class ModuleSeen:
    """A module that was called. What the rules ask is noted while it lives: at the end of a script it may be gone.

    Attributes:
        reference: the module, as long as the script keeps it.
        kind: the name of its class.
        number: how many modules were called before it.
        name: its path from the outermost module.
        noisy: "dropout" or "batch norm", if it is one that does something.
        learning, evaluating: how often it was called with gradients wanted, and without.
        learning_in_eval: of `learning`, in evaluation mode.
        evaluating_in_training: of `evaluating`, in training mode.
        repeated: of `evaluating`, on the same tensor as the call before.
        outermost: no other module was being called when it was first called.
        trainable: it has no parameters that want no gradient.
        bare: neither it nor a module inside it has parameters, as a loss.
        last_in_training: updates before its last call with gradients in training mode, -1 without one.
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
    """

    name: str
    owner: str
    shape: tuple[int, ...]
    wanted: bool
    called: bool = False
    gradients: int = 0
    pushed: bool = False
    held: bool = False


@dataclass
class LossCalls:
    """The calls of one kind of loss function with gradients wanted.

    Attributes:
        count: how often.
        looked: of these, how often the numbers were looked at.
        probabilities: of these, how often every row of the input was a distribution: none below zero, sum one.
        log_probabilities: the same of its exponential.
        columns: of these, how often there was one element in a row.
        classes: elements of a row, 0 where there are no rows.
        positive: of the looked-at calls, how often no element of the input was below zero.
        maker: the function that made the input, as PyTorch calls it in graphs ("Softplus").
        squashed: of the looked-at, how often a sigmoid or softmax had made the input of a loss that applies a sigmoid
            itself; with `binary_cross_entropy`, which applies none, how often two had.
        traced: how often that was asked.
        table: the sizes of input and target, where one is a column (n, 1) and the other a row (n).
        line: of the script, that made the first.
    """

    kind: str
    count: int = 0
    looked: int = 0
    probabilities: int = 0
    log_probabilities: int = 0
    columns: int = 0
    classes: int = 0
    positive: int = 0
    maker: str = ""
    squashed: int = 0
    traced: int = 0
    table: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    line: str | None = None

    @property
    def at(self) -> str:
        """The line, in parentheses."""
        return f" ({self.line})" if self.line else ""


@dataclass
class Labels:
    """Class labels of a loss function, batch by batch; one per sample, so that tokens of a text count as samples.

    Attributes:
        weighted: the loss was told weights of classes.
        batches: (step, samples of each class, how many of these were recognized), of the counted batches.
    """

    weighted: bool = False
    batches: list[tuple[int, Tensor, Tensor]] = field(default_factory=list)

    def totals(self, since: int = 0) -> tuple[Tensor, Tensor]:
        """Samples and recognized ones by class, from step `since` on."""
        chosen = [(seen, right) for step, seen, right in self.batches if step >= since]
        size = max((len(seen) for seen, _ in chosen), default=0)
        sums = torch.zeros(2, size, dtype=torch.long)
        for seen, right in chosen:
            sums[0, : len(seen)] += seen
            sums[1, : len(right)] += right
        return sums[0], sums[1]

    def entropy(self) -> float:
        """Of the classes, in nats: the loss of whoever knows their frequencies and nothing else."""
        counts, _ = self.totals()
        return float(torch.special.entr(counts / max(1, int(counts.sum()))).sum())


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
        unit = 1 if output.ndim in (2, 4, 5) else output.ndim - 1
        every = min(len(output) // LEAST_ROWS, output.numel() // MOST_VALUES)
        output = output[::every] if every > 1 else output
        values, units = max(1, output.numel()), max(1, output.shape[unit])
        others = [d for d in range(output.ndim) if d != unit]
        wide = torch.promote_types(output.dtype, torch.float32)
        self.sizes.append((step, float(torch.linalg.vector_norm(output, dtype=wide)) / values**0.5))
        if self.kind == "relu":
            living = torch.count_nonzero(output, others)
            self._live(step, values // units, (living > 0).cpu())
        elif self.kind in LIMITED:
            edge = (output if self.kind == "tanh" else 2 * output - 1).abs() > EDGE
            living = values // units - edge.sum(others)
            self.limits.append((step, 1 - int(living.sum()) / values))
        else:
            living = None
        if self.first is None or step >= 1.2 * self.last_at:
            self.last, self.last_at = _histogram(step, output), step
            self.idle = None if living is None else 1 - living.cpu() * units / values
            self.first = self.first or self.last

    def _live(self, step: int, count: int, mask: Tensor) -> None:
        if self.alive and len(self.alive[-1][2]) != len(mask):
            return
        self.alive.append((step, count, mask))
        if len(self.alive) > 64:
            joined = [(b[0], a[1] + b[1], a[2] | b[2]) for a, b in pairwise(self.alive)][::2]
            self.alive = joined if len(self.alive) % 2 == 0 else [*joined, self.alive[-1]]


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
    """

    kind: str
    held: list[Tensor] = field(default_factory=list)
    fresh: int = 0
    carried: int = 0
    used: bool = False
    line: str | None = None


@dataclass(frozen=True)
class NonFinite:
    """The first value that is no number, and what made it."""

    step: int
    where: str
    what: str
