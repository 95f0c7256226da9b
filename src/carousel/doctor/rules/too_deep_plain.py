"""A deep plain network that trains worse than a shallower one would.

Many layers with neither skip connections nor normalization are a hint. The experiment decides: from the same start,
with most of the layers that keep the size taken out, as many updates get much further than the run did.

A shallow network has smaller gradients, and the learning rate of the deep one may be too small for it. So a few updates
are tried with a larger one: where the shallow network learns by it, and the deep one does not, it is the depth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..findings import Finding
from ..lab import UPDATES, Lab, far_below
from ..record import Record
from ..tape import Call, Change, Slot, Tape

CODE = "too-deep-plain"
EXPLAINS = ("dead-relu", "vanishing-gradient-depth", "underfitting")
"""Deep in such a network all samples have nearly the same values, so that a unit is zero on all of them or on none."""

REMOVABLE = 8
"""Layers that keep the size; with fewer, a network is not deep."""

LEFT = 2
"""Of them, in the experiment."""

LONGEST = 300
"""Updates of the experiment, which has as many as the run: a shallow network costs little."""

WORSE = 1.5
"""The run's loss at its end over that of the experiment."""

MORE = 4.0
"""Seconds for it beside the usual ones, where with a larger learning rate only the shallow network learns."""

FASTER = 10.0
"""Times the learning rate."""

HIGH = 0.1
"""The run's loss at its end over that at its start: below, it has learned what there is."""

NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm")
SUMS = ("add", "__add__", "__radd__", "__iadd__", "add_", "cat", "concat", "stack", "mul", "__mul__")


@dataclass(frozen=True)
class Shallow:
    """The experiment: held-out losses of the shallow network, at the start and behind the updates."""

    start: float
    after: float
    layers: int


@dataclass(frozen=True)
class Faster:
    """With a larger learning rate: held-out losses of the shallow network, at the start and behind the updates, and of
    the deep one.
    """

    start: float
    after: float
    deep: float
    layers: int


def findings(record: Record) -> list[Finding]:
    """Where a shallower network does far better."""
    lab = record.lab
    if lab is None or record.steps < UPDATES or not lab.tapes or len(_layers(lab.tapes[0])) < REMOVABLE:
        return []
    end, updates = record.last_loss(), min(record.steps, LONGEST)
    faster: Faster | None = lab.ask("shallow, faster", lambda in_time: experiment(lab, in_time))
    if faster is not None and all(far_below(faster.start, faster.after, deep) for deep in (faster.deep, end)):
        what = f"{UPDATES} updates from the same start with {FASTER:g} times the learning rate bring the loss from "
        what += f"{faster.start:.3g} to {faster.after:.3g}, and that of the whole network to {faster.deep:.3g}"
        return [_finding(record, faster.layers, what)]
    held_up = faster is not None and far_below(faster.start, faster.after, faster.deep) and faster.after * WORSE < end
    found: Shallow | None = lab.ask(
        "shallow", lambda in_time: _experiment(lab, in_time, updates), more=MORE if held_up else 0.0
    )
    if found is None or not 0 < found.after * WORSE < end or end < HIGH * found.start:
        return []
    what = f"{updates} updates from the same start bring the loss from {found.start:.3g} to {found.after:.3g}"
    return [_finding(record, found.layers, what)]


def _finding(record: Record, layers: int, what: str) -> Finding:
    return Finding(
        CODE,
        "error",
        f"the {layers} layers of equal size",
        f"There are neither skip connections nor normalization. With {layers - LEFT} of {layers} layers taken out, "
        f"{what} (on batches that were held out); the run, after {record.steps} updates, was at "
        f"{record.last_loss():.3g}.",
        "Add skip connections, x = x + layer(x), or normalization (nn.BatchNorm1d, nn.LayerNorm) behind each "
        "layer; or use fewer layers.",
    )


def experiment(lab: Lab, in_time: Callable[[], bool]) -> Faster | None:
    """None where the network is not deep and plain."""
    layers = _layers(lab.tapes[0])
    if len(layers) < REMOVABLE:
        return None
    change = _without(layers)
    lab.restore()
    start = lab.held_out_loss(change)
    after = lab.trial(in_time, factor=FASTER, change=change)
    if after is None or not far_below(start, after, start):
        return None
    deep = lab.trial(in_time, factor=FASTER)
    return None if deep is None else Faster(start, after, deep, len(layers))


def _experiment(lab: Lab, in_time: Callable[[], bool], updates: int) -> Shallow | None:
    layers = _layers(lab.tapes[0])
    change = _without(layers)
    lab.restore()
    start = lab.held_out_loss(change)
    after = lab.trial(in_time, change=change, updates=updates)
    return None if after is None else Shallow(start, after, len(layers))


def _without(layers: list[Any]) -> Change:
    """Leave out all but `LEFT` of the layers."""
    step = (len(layers) - 1) // (LEFT - 1)
    out = {id(weight) for number, weight in enumerate(layers) if number % step}

    def change(call: Call, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if not call.weighs or len(args) < 2 or id(args[1]) not in out:
            return None
        own = [a for a in args[1:3] if isinstance(a, Tensor)]  # they get gradients of zero, which may be clipped
        return args[0] + 0.0 * sum(a.sum() for a in own)

    return change


def _layers(tape: Tape) -> list[Any]:
    """The weights of a plain network's layers that keep the size, in order; none if it is not plain."""
    parameters, given = tape.parameters, tape.given
    weights, plain = [], True
    for call in _forward(tape):
        moving = [slot for slot in call.inputs if slot.number not in given]
        plain = plain and not any(norm in call.name for norm in NORMS)
        plain = plain and not (call.name in SUMS and len(set(moving)) > 1)
        if call.name in ("linear", "conv1d", "conv2d", "conv3d") and isinstance(call.args[1], Slot):
            weight = parameters.get(call.args[1].number)
            keeps = weight is not None and weight.shape[0] == weight.shape[1] and call.args[0].number not in given
            if keeps and (call.name == "linear" or _keeps_size(call, weight)):
                weights.append(weight)
    once = [w for w in weights if sum(w is other for other in weights) == len(_backwards(tape))]
    return list({id(w): w for w in once}.values()) if plain else []


def _forward(tape: Tape) -> list[Call]:
    """Without what is done with the gradients, as clipping, which sums over all layers."""
    last = max(at for at, entry in enumerate(tape.entries) if not isinstance(entry, Call))
    return [entry for entry in tape.entries[:last] if isinstance(entry, Call)]


def _backwards(tape: Tape) -> list[Any]:
    return [entry for entry in tape.entries if not isinstance(entry, Call)]


def _keeps_size(call: Call, weight: Any) -> bool:
    """A convolution with steps of one and padding for its kernel."""
    settings = [call.keywords.get(name, default) for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))]
    for at, value in enumerate(call.args[3:6]):
        settings[at] = value
    stride, padding, dilation = (v if isinstance(v, tuple | list) else [v] * (weight.ndim - 2) for v in settings)
    if isinstance(settings[1], str):
        return settings[1] == "same"
    sizes = weight.shape[2:]
    return all(s == 1 and 2 * p == d * (k - 1) for s, p, d, k in zip(stride, padding, dilation, sizes, strict=True))
