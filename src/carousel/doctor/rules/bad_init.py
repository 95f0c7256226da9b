"""Weights that start with all units of a layer the same: they get the same gradient and stay the same unit for ever.

Weights of zero are another matter: as the last layer, or as the end of a residual block, they are chosen on purpose,
and the layer before breaks the symmetry. Where the layers around are zero too, no gradient arrives. Weights that are
far too large let the outputs grow from layer to layer. Where they are far too small, signal and gradient shrink with
every layer; whether this is what holds the run up, an experiment tells that begins with the same numbers, enlarged.
Where they are nearly all of one sign, as those of `torch.rand`, all units add up much the same, and outputs grow with
every layer; the experiment begins with the same numbers, with their mean taken off and of He's size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..findings import Finding
from ..lab import UPDATES, Lab, far_below
from ..record import Record
from ..tape import Call, Slot, Tape

CODE = "bad-init"
EXPLAINS = (
    "saturated-activations", "exploding-gradient-depth", "vanishing-gradient-depth", "lr-too-high", "dead-relu",
    "underfitting",
)  # fmt: skip

UNITS = 4
LEAST = 5
"""Updates looked at."""

TIMES_HE = 3.0
"""Standard deviation of weights over sqrt(2 / inputs): the outputs of a layer are then three times its inputs."""

GROWTH = 30.0
"""Of the outputs, from the first activation to the last."""

ROUNDING = 0.01
"""Of how far weights have moved: units that are one move together, but for rounding."""

SMALL = 0.1
"""Of He's: PyTorch's own linear layers begin at 0.41 of it. With a tenth, five layers leave 1e-5 of a signal."""

LEAN = 0.7
"""The mean of a matrix over its root mean square: 0.87 of uniform numbers from 0 on, next to nothing around 0."""

RANDOM = (
    "Initialize with random numbers, as PyTorch does by itself: nn.init.kaiming_normal_ for ReLU, "
    "nn.init.xavier_uniform_ for tanh and sigmoid; constants are for biases."
)


PRODUCTS = {"linear": (0, 1), "matmul": (0, 1), "__matmul__": (0, 1), "mm": (0, 1), "addmm": (1, 2)}
"""Functions that multiply two matrices, and which of their arguments these are."""

TURNING = ("t", "transpose", "T", "mT")
"""Functions and properties that give a matrix with its axes exchanged."""


@dataclass(frozen=True)
class Mended:
    """The experiment: held-out losses at the start, and behind updates from other weights."""

    start: float
    after: float


def findings(record: Record) -> list[Finding]:
    """Where units begin alike, where weights of zero stay, or where weights are of one sign, huge or tiny."""
    return (
        _alike(record)
        or _alike_by_hand(record)
        or _zero(record)
        or _one_sided(record)
        or _huge(record)
        or _tiny(record)
    )


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


def _alike_by_hand(record: Record) -> list[Finding]:
    """Of matrices that no layer of PyTorch's holds: which axis is that of the units is seen from what stays alike."""
    if record.lab is None or record.steps < LEAST:
        return []
    names = {id(p): seen.name for p, seen in record.named()}
    for p, start in record.lab.weights:
        now = p.detach()
        if now.ndim != 2 or not bool((start != 0).any()) or id(p) in record.layers:
            continue
        moved = ROUNDING * float((now - start).norm()) / now.numel() ** 0.5
        if moved > 0 and any(_is_one(start, axis) and _is_one(now, axis, moved) for axis in (0, 1)):
            name = names.get(id(p), "a matrix")
            return [
                Finding(
                    CODE,
                    "error",
                    f"{name}, {tuple(now.shape)}",
                    f"At the start all units of this matrix had the same weights, and after {record.steps} updates, "
                    "which have changed them, they still have: they get the same gradient, and remain one unit.",
                    RANDOM,
                )
            ]
    return []


def _is_one(matrix: Tensor, axis: int, apart: float = 0.0) -> bool:
    """Whether the units along an axis have the same weights."""
    far = (matrix - matrix.narrow(axis, 0, 1)).abs().max()
    return matrix.shape[axis] >= UNITS and float(far) <= apart


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
    known = [(layer.name, layer.scale) for layer in record.layers.values()]
    known = known or [(f"a matrix of {a} by {b}", scale) for (a, b), scale in record.by_hand.scales]
    large = [(name, scale) for name, scale in known if scale is not None and scale > TIMES_HE]
    sizes = [seen.sizes[0][1] for seen in record.activations.values() if seen.sizes and seen.kind == "relu"]
    if 2 * len(large) < len(known) or len(large) < 2 or len(sizes) < 2 or sizes[-1] < GROWTH * sizes[0]:
        return []
    name, scale = max(large, key=lambda of: of[1])
    return [
        Finding(
            CODE,
            "error",
            ", ".join(name for name, _ in large[:3]),
            f"The weights of {name} began {scale:.3g} times as large as He's initialization, and those of "
            f"{len(large)} of {len(known)} layers more than {TIMES_HE:g} times: before the first update the "
            f"outputs grew from {sizes[0]:.2g} to {sizes[-1]:.2g} through {len(sizes)} activations.",
            "Initialize with a standard deviation of sqrt(2 / inputs) for ReLU (nn.init.kaiming_normal_), or leave it "
            "to PyTorch.",
        )
    ]


def _one_sided(record: Record) -> list[Finding]:
    """Nearly all positive, or all negative, in most matrices, and the same numbers around zero do far better."""
    lab = record.lab
    if lab is None or record.steps < UPDATES or record.has_learned():
        return []
    begun = {number: (layer.name, layer.scale) for number, layer in record.layers.items()}
    begun |= _by_hand(record) | _of_recurrent(record)
    scales = {number: (name, scale) for number, (name, scale) in begun.items() if scale}
    known = {id(p): (p, start.float()) for p, start in lab.weights if id(p) in scales}
    leans = {number: float(start.mean() / start.square().mean().sqrt()) for number, (_, start) in known.items()}
    centered = {
        number: ((start - start.mean()) / start.std() * start.square().mean().sqrt() / scales[number][1]).to(p.dtype)
        for number, (p, start) in known.items()
        if abs(leans[number]) > LEAN and start.numel() >= UNITS**2 and float(start.std()) > 0
    }
    if len(centered) < 2 or 2 * len(centered) < len(known):
        return []
    found: Mended | None = lab.ask("centered", lambda in_time: _experiment(lab, in_time, centered))
    end = record.last_loss()
    if found is None or not far_below(found.start, found.after, end):
        return []
    first, numbers = scales[next(iter(centered))][0], known[next(iter(centered))][1]
    return [
        Finding(
            CODE,
            "error",
            ", ".join(scales[number][0] for number in list(centered)[:3]),
            f"The weights of {len(centered)} of {len(known)} layers began nearly all with the same sign ({first}: mean "
            f"{float(numbers.mean()):.2g}, deviation {float(numbers.std()):.2g}). With their mean taken off, and "
            f"of the size of He's initialization, the same numbers bring the loss from {found.start:.3g} to "
            f"{found.after:.3g} in {UPDATES} updates (on batches that were held out); the run, after {record.steps} "
            f"updates, was at {end:.3g}.",
            "Draw weights around zero, of both signs: torch.randn in place of torch.rand, nn.init.uniform_ with limits "
            "-a and a, or leave it to PyTorch.",
        )
    ]


def _of_recurrent(record: Record) -> dict[int, tuple[str, float]]:
    """The matrices of PyTorch's recurrent layers: name, and scale at the start."""
    starts = {} if record.lab is None else {id(p): start for p, start in record.lab.weights}
    return {
        id(p): (seen.name, float(starts[id(p)].float().square().mean().sqrt()) * math.sqrt(p.shape[1] / 2))
        for p, seen in record.named()
        if ".weight_" in seen.name and p.ndim == 2 and id(p) in starts
    }


def _tiny(record: Record) -> list[Finding]:
    """Far below He's in most layers, and the same numbers enlarged do far better."""
    lab, scales = record.lab, {number: (layer.name, layer.scale) for number, layer in record.layers.items()}
    known = {number: (name, scale) for number, (name, scale) in (scales | _by_hand(record)).items() if scale}
    small = {number for number, (_, scale) in known.items() if scale < SMALL}
    if lab is None or len(small) < 2 or 2 * len(small) < len(known) or record.steps < UPDATES or record.has_learned():
        return []
    if any(seen.sizes and seen.sizes[0][1] == 0 for seen in record.activations.values()):
        return []  # units that are dead from the start are so by their biases
    enlarged = {id(p): start / known[id(p)][1] for p, start in lab.weights if id(p) in small}
    found: Mended | None = lab.ask("enlarged", lambda in_time: _experiment(lab, in_time, enlarged))
    end = record.last_loss()
    if found is None or not far_below(found.start, found.after, end):
        return []
    first, scale = min((known[number] for number in small), key=lambda of: of[1])
    return [
        Finding(
            CODE,
            "error",
            ", ".join([name for number, (name, _) in known.items() if number in small][:3]),
            f"The weights of {len(small)} of {len(known)} layers began below a tenth of He's initialization "
            f"({first}: {scale:.2g} of it). Enlarged to it, the same numbers bring the loss from "
            f"{found.start:.3g} to {found.after:.3g} in {UPDATES} updates (on batches that were held out); the run, "
            f"after {record.steps} updates, was at {end:.3g}.",
            "Initialize with a standard deviation of sqrt(2 / inputs) for ReLU (nn.init.kaiming_normal_), or leave it "
            "to PyTorch.",
        )
    ]


def _by_hand(record: Record) -> dict[int, tuple[str, float]]:
    """Of matrices that no layer of PyTorch's holds, and that the first step multiplies with: name and scale.

    A row of the data times a matrix has as many inputs as the matrix has rows, with `linear` as it has columns. A table
    that is looked up too has a scale of its own.
    """
    lab = record.lab
    if lab is None or not lab.tapes:
        return {}
    tape, starts = lab.tapes[0], {id(p): start for p, start in lab.weights}
    parameters = tape.parameters
    names = {id(p): seen.name for p, seen in record.named()}
    looked_up = {slot.number for call in tape.calls if call.name == "embedding" for slot in call.inputs}
    turned = _turned(tape)
    found = {}
    for call in tape.calls:
        pair = _factors(call)
        sides = [turned.get(slot.number, (slot.number, False)) for slot in pair]
        of = [(axis, *side) for axis, side in enumerate(sides) if side[0] in parameters]
        if len(of) != 1 or of[0][1] in looked_up:
            continue
        axis, number, is_turned = of[0]
        p = parameters[number]
        start = starts.get(id(p))
        if start is None or start.ndim != 2 or id(p) in record.layers:
            continue
        along = (axis == 0 or call.name == "linear") ^ is_turned  # whether the inputs lie along a row
        he = math.sqrt(2 / max(1, start.shape[int(along)]))
        name = names.get(id(p), f"a matrix of {tuple(start.shape)}")
        found[id(p)] = name, float(start.float().square().mean().sqrt()) / he
    return found


def _factors(call: Call) -> list[Slot]:
    """The two matrices that a call multiplies."""
    places = PRODUCTS.get(call.name, ())
    slots = [call.args[i] for i in places if i < len(call.args)]
    return [slot for slot in slots if isinstance(slot, Slot)] if len(slots) == 2 else []


def _turned(tape: Tape) -> dict[int, tuple[int, bool]]:
    """Slots that hold a parameter with its axes exchanged, and that parameter's."""
    return {
        call.result.number: (call.args[0].number, True)
        for call in tape.calls
        if _property(call) in TURNING and isinstance(call.result, Slot) and call.args and isinstance(call.args[0], Slot)
        if (p := tape.given.get(call.args[0].number)) is not None and p.requires_grad and p.ndim == 2
    }


def _property(call: Call) -> str:
    """The name of the function, or of the property that is asked for."""
    return getattr(getattr(call.function, "__self__", None), "__name__", "") if call.name == "__get__" else call.name


def _experiment(lab: Lab, in_time: Callable[[], bool], starts: dict[int, Tensor]) -> Mended | None:
    """The start is the lower of the run's own and that of the other weights: either may be huge."""
    lab.restore()
    own = lab.held_out_loss()
    start, after = (lab.trial(in_time, starts=starts, updates=updates) for updates in (0, UPDATES))
    return None if start is None or after is None else Mended(min(own, start), after)
