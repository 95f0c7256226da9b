"""The window of truncated backpropagation is shorter than the dependency: no gradient ever links cause and effect.

Seen on the data. The recorded windows follow each other; over all of them, how well does the input k steps ago alone
predict the target? If lags beyond the window predict it far better than all lags within, the window is too short.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..findings import Finding
from ..lab import Lab
from ..record import Record
from ..tape import Slot, Tape
from ..through_time import LAYERS
from ..watch import LOSSES

CODE = "horizon-too-short"
EXPLAINS = ("vanishing-gradient-time",)

WINDOWS = 8
"""Lags are looked at up to so many windows."""

BETTER = 3.0
"""Of the explained shares of the target's variance, beyond the window over within it."""

LEAST = 0.05
"""Share that the lag beyond the window must explain by itself."""


@dataclass(frozen=True)
class Lags:
    """The window, and the best share of the target's variance that one lag explains, within and beyond it."""

    window: int
    within: float
    beyond: float
    lag: int
    samples: int


def findings(record: Record) -> list[Finding]:
    """Where the best lag lies beyond the window."""
    lab = record.lab
    if lab is None or not lab.tapes:
        return []
    found: Lags | None = lab.ask("lags", lambda in_time: experiment(lab, in_time))
    chance = 20.0 / found.samples if found else 0.0
    if found is None or found.beyond < LEAST + chance or found.beyond < BETTER * (found.within + chance):
        return []
    return [
        Finding(
            CODE,
            "error",
            f"the window of {found.window} steps",
            f"The input {found.lag} steps before explains {found.beyond:.0%} of the target's variance, the best of the "
            f"{found.window} lags within a window {found.within:.1%}: no gradient links the two.",
            f"Use windows of more than {found.lag} steps (2 to 4 times as many is better), and carry the detached "
            "state from one window to the next.",
        )
    ]


def experiment(lab: Lab, in_time: Callable[[], bool]) -> Lags | None:
    """How well inputs explain targets by their lag; None where a step is no window of one long sequence."""
    windows = [_window(tape) for tape in lab.recorder.tapes]
    if not all(windows) or len({w[0].shape for w in windows if w}) != 1 or len(windows) < WINDOWS:
        return None
    x = torch.cat([w[0] for w in windows if w])
    y = torch.cat([w[1] for w in windows if w])
    length = len(x) // len(windows)
    shares = []
    for lag in range(min(WINDOWS * length, len(x) // 2)):
        if not in_time():
            return None
        shares.append(_explained(x[: len(x) - lag], y[lag:]))
    within, beyond = max(shares[:length]), max(shares[length:], default=0.0)
    return Lags(length, within, beyond, length + shares[length:].index(beyond), y[..., 0].numel())


def _window(tape: Tape) -> tuple[Tensor, Tensor] | None:
    """Inputs (time, batch, features) and targets (time, batch, columns) of a recurrent layer's window."""
    layers = [call for call in tape.calls if call.name in LAYERS and len(call.args) == 9]
    losses = [call for call in tape.calls if call.name in LOSSES and len(call.args) > 1]
    if not layers or len(losses) != 1 or not isinstance(losses[0].args[1], Slot):
        return None
    batch_first = bool(layers[0].args[8])
    x, y = _given(tape, layers[0].args[0]), tape.given.get(losses[0].args[1].number)
    if x is None or y is None or x.ndim != 3:
        return None
    x = x.transpose(0, 1) if batch_first else x
    time, batch = x.shape[:2]
    if y.numel() % (time * batch):
        return None
    if y.shape[:2] == (batch, time) and (batch_first or batch != time):
        y = y.transpose(0, 1)
    elif y.shape[:2] != (time, batch):  # made flat
        y = y.reshape(batch, time, -1).transpose(0, 1) if batch_first else y.reshape(time, batch, -1)
    return x.double(), _columns(y.reshape(time, batch, -1), losses[0].name)


def _given(tape: Tape, slot: Slot) -> Tensor | None:
    """The data that a layer reads, or the identities of the tokens whose vectors it reads."""
    x = tape.given.get(slot.number)
    if x is not None:
        return None if x.requires_grad else x
    for call in tape.calls:
        if call.name == "embedding" and slot in call.outputs and isinstance(call.args[0], Slot):
            ids = tape.given.get(call.args[0].number)
            return None if ids is None else _columns(ids.unsqueeze(-1), "cross_entropy")
    return None


def _columns(y: Tensor, loss: str) -> Tensor:
    """Classes as columns of zeros and ones: the commonest sixteen."""
    if loss not in ("cross_entropy", "nll_loss") or y.is_floating_point():
        return y.double()
    classes, counts = y.unique(return_counts=True)
    common = classes[counts.argsort(descending=True)][:16]
    return (y == common).double()


def _explained(x: Tensor, y: Tensor) -> float:
    """The share of the variance of y that a linear function of x explains, at its best column."""
    x, y = x.flatten(0, 1), y.flatten(0, 1)
    x, y = x - x.mean(0), y - y.mean(0)
    solution = torch.linalg.lstsq(x, y).solution
    left = (y - x @ solution).square().sum(0)
    total = y.square().sum(0).clamp_min(1e-12)
    return float((1 - left / total).max())
